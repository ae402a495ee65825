"""One process holds an index: a lock that the kernel releases when its holder dies, and a note of who that is.

Enters: the folder of an index. Leaves: an exclusive hold, or an error that names the holder. This module knows
nothing of what the index contains.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from rag_pipeline.errors import UnavailableError

__all__ = ["IndexLock"]


class IndexLock:
    """An exclusive hold on an index folder, taken at once or not at all."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            UnavailableError: another process (or this one, elsewhere) holds the index.
        """
        self._note = folder / "holder.json"
        # Not thread-local: a server opens the index in one thread and closes it in another.
        self._lock = FileLock(folder / "lock", timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout as exc:
            raise UnavailableError(
                f"index {folder} is held by {_holder(self._note)}; wait for it or use another --index"
            ) from exc
        note = {"pid": os.getpid(), "command": _command(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        self._note.write_text(json.dumps(note), encoding="utf-8")

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._lock.is_locked:
            self._note.unlink(missing_ok=True)
            self._lock.release()


def _holder(note: Path) -> str:
    try:
        values = json.loads(note.read_text(encoding="utf-8"))
        since = str(values["since"]).removeprefix(time.strftime("%Y-%m-%d "))
        return f"process {values['pid']} ({values['command']}, since {since})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it took the lock an instant ago and has not written its note yet


def _command() -> str:
    # Only the program and its subcommand: what follows may be a question, which is nobody else's business.
    program, *arguments = sys.argv or ["python"]
    stem = Path(program).stem
    name = Path(program).parent.name if stem == "__main__" else stem
    return f"{name} {arguments[0]}" if arguments and arguments[0].isidentifier() else name or "python"
