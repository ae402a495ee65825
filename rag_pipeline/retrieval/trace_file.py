"""Traces -> lines of a file beside the index, and back: what was asked, kept where the owner wants it kept.

Enters: finished traces. Leaves: JSON lines in ``queries.jsonl``, which makes room for a new one at half of the allowed
size, so that no more than that is ever on disk; and the last of them, read again. Several processes may write. Files
are readable by their owner alone, for questions tell much about who asks. This module knows nothing of an index.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from rag_pipeline.retrieval.trace import Trace

__all__ = ["TraceFile"]

logger = logging.getLogger(__name__)

_PATIENCE_S = 5.0


class TraceFile:
    """The traces in ``folder``, of at most ``max_mb`` MiB; the oldest half goes when there are more."""

    def __init__(self, folder: Path, max_mb: float = 16.0) -> None:
        self.folder = folder
        self._current = folder / "queries.jsonl"
        self._older = folder / "queries.1.jsonl"
        self._most = int(max_mb * 2**20) // 2

    def append(self, trace: Trace) -> None:
        """Write a trace as one line. Where that fails, the log says so: an answer is not lost for its trace."""
        line = json.dumps(trace.to_dict(), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # An append of any length is whole on most file systems, not on all, and the rotation is two steps.
            with FileLock(self.folder / "lock", timeout=_PATIENCE_S):
                self._write(line)
        except (OSError, Timeout) as exc:
            logger.warning("cannot keep the trace of a query in %s (%s)", self.folder, exc)

    def read(self, last: int) -> list[Trace]:
        """Return the ``last`` traces, oldest first; a line that is no trace, such as a torn one, is left out."""
        found = []
        for place, line in deque(self._lines(), maxlen=last):
            try:
                found.append(Trace.from_dict(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as exc:
                logger.warning("%s is no trace (%s): left out", place, type(exc).__name__)
        return found

    def _write(self, line: bytes) -> None:
        if self._current.exists() and self._current.stat().st_size + len(line) > self._most:
            self._current.replace(self._older)
        descriptor = os.open(self._current, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            if stream.seek(0, os.SEEK_END):
                stream.seek(-1, os.SEEK_END)
                # A line that a power cut has torn must not take the next one with it.
                line = line if stream.read(1) == b"\n" else b"\n" + line
            stream.write(line)

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        for file in (self._older, self._current):
            if file.exists():
                with file.open("rb") as stream:
                    yield from ((f"{file}:{number}", line) for number, line in enumerate(stream, start=1))
