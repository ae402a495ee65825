"""Files in, documents out, each parsed in a process of its own kind: warm, confined, and replaceable.

A file that hangs, eats memory or kills its worker costs that worker and is reported; the others never notice. The
parent imports no vendor, and takes from a worker only data of known types. Workers are plain subprocesses with one
socket and not ``multiprocessing.Process``: a spawned process would run the caller's main module again, and break every
script that has no ``__main__`` guard.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType

from rag_pipeline.documents.messages import Busy, Inbox, OutOfMemory, Parsed, Ready, Task, decode_reply, encode, send
from rag_pipeline.documents.options import DEFAULTS, ParseOptions
from rag_pipeline.documents.sandbox import Sandbox
from rag_pipeline.documents.scratch import Scratch, empty
from rag_pipeline.errors import InputError, MissingProgramError, UnavailableError
from rag_pipeline.types import Document, SourceFile

__all__ = ["Outcome", "ParsePool"]

logger = logging.getLogger(__name__)

Outcome = Document | InputError | UnavailableError
"""What comes of a file: its document, why it has none, or that it could not be read this time."""

_FILES_OF_ONE_WORKER = 200
"""Then it is replaced: parsers and the allocator keep what they once took."""
_STARTUP_S = 120.0
_SLICE_S = 0.25
"""How long :meth:`ParsePool.stop` may go unnoticed."""
_FROM_OUTSIDE = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM})
"""Signals that no parser sends to itself: the kernel out of memory, or a person."""


class ParsePool:
    """Parsing processes, started when they are needed and ended with the ``with`` block.

    ``workers`` run at most; each file has ``timeout_s`` seconds, and each process ``memory_mb`` of address space.
    ``options`` go to the parsers with every file.
    """

    def __init__(self, workers: int, timeout_s: float, memory_mb: int, options: ParseOptions = DEFAULTS) -> None:
        self._size = workers
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._options = options
        self._workers: list[_Worker] = []
        self._scratch: Scratch | None = None
        self._stopped = threading.Event()

    def __enter__(self) -> ParsePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(list(self._workers))
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    @property
    def running(self) -> tuple[Path, ...]:
        """The files that are being parsed; any thread may ask."""
        sources = [worker.source for worker in tuple(self._workers)]
        return tuple(source.path for source in sources if source is not None)

    def stop(self) -> None:
        """Let :meth:`parse_all`, in whatever thread it runs, end within half a second, and for good."""
        self._stopped.set()

    def parse_all(self, sources: Iterable[SourceFile]) -> Iterator[tuple[SourceFile, Outcome]]:
        """Yield each file with what comes of it, as they are done.

        ``sources`` is read no faster than files are parsed. A file whose worker is killed from outside is tried once
        more; one that cannot be read this time has been tried three times.

        Raises:
            UnavailableError: a worker cannot be started at all.
        """
        waiting = iter(sources)
        again: deque[SourceFile] = deque()
        killed: set[SourceFile] = set()
        try:
            while not self._stopped.is_set():
                busy = [worker for worker in self._workers if worker.source is not None]
                while len(busy) < self._size:
                    source = again.popleft() if again else next(waiting, None)
                    if source is None:
                        break
                    busy.append(self._assigned(source))
                if not busy:
                    return
                ready = _wait(busy)
                for worker in busy:
                    source = worker.current
                    try:
                        outcome = worker.receive() if worker.line in ready else worker.overdue()
                    except _KilledError as exc:
                        outcome = InputError(str(exc)) if source in killed else None
                        if outcome is None:
                            killed.add(source)
                            again.append(source)
                    if worker.finished:
                        self._end([worker])
                    if outcome is not None:
                        yield source, outcome
                        outcome = None  # it may be large, and the next one may be long in coming
        finally:
            self._end([worker for worker in self._workers if worker.source is not None])

    def _assigned(self, source: SourceFile) -> _Worker:
        """Hand a file to a worker that waits for one, or to a new one."""
        worker = next((worker for worker in self._workers if worker.source is None), None)
        if worker is None:
            if self._scratch is None:
                self._scratch = Scratch()
            worker = _Worker(self._timeout_s, self._memory_mb, self._scratch.make())
            self._workers.append(worker)
        worker.assign(Task(source, self._options))
        return worker

    def _end(self, workers: Iterable[_Worker]) -> None:
        for worker in workers:
            worker.kill()
            # A second Ctrl-C ends the block while parse_all, in its thread, is still ending what it was at.
            with contextlib.suppress(ValueError):
                self._workers.remove(worker)


def _wait(busy: Iterable[_Worker]) -> set[object]:
    """Return the lines on which something has arrived, before long."""
    remaining = min(worker.deadline for worker in busy) - time.monotonic()
    return set(wait([worker.line for worker in busy], timeout=min(max(remaining, 0.0), _SLICE_S)))


class _KilledError(Exception):
    """The worker was killed, but not by us and hardly by its file."""


class _Worker:
    """One process and the file that it is working on."""

    def __init__(self, timeout_s: float, memory_mb: int, folder: Path) -> None:
        self.source: SourceFile | None = None
        self.deadline = time.monotonic() + _STARTUP_S
        self.finished = False
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._folder = folder
        self._ready = False
        self._files = 0
        self.line, theirs = socket.socketpair()
        self._inbox = Inbox(self.line)
        with theirs:
            self._sandbox = Sandbox(
                [sys.executable, "-P", "-m", "rag_pipeline.documents.process", str(theirs.fileno()), str(folder)],
                folder=folder,
                memory_mb=memory_mb,
                pass_fds=[theirs.fileno()],
            )

    @property
    def current(self) -> SourceFile:
        """The file; only a worker that has one is waited for."""
        if self.source is None:
            raise AssertionError("only a worker with a file is waited for")
        return self.source

    def assign(self, task: Task) -> None:
        self.source = task.source
        self._files += 1
        if self._ready:
            self.deadline = time.monotonic() + self._timeout_s
        with contextlib.suppress(BlockingIOError, ConnectionError):  # the clock, or the end of the line, then tells
            send(self.line, encode(task))

    def receive(self) -> Outcome | None:
        """Take what has arrived: that the worker is ready, a document, a reason; or see that it has died.

        Raises:
            UnavailableError: it died before it was ready.
            _KilledError: it was killed from outside.
        """
        try:
            message = self._inbox.take()
            if message is None:
                return self.overdue()
            reply = decode_reply(message, self.current)
        except EOFError:
            return self._died()
        except InputError as exc:
            logger.warning("parsing worker %d sent what is no document", self._sandbox.pid)
            self.finished = True
            return exc
        if isinstance(reply, Ready):
            self._ready = True
            self.deadline = time.monotonic() + self._timeout_s
            return None
        self.source = None
        self.finished = self._files >= _FILES_OF_ONE_WORKER
        if isinstance(reply, Parsed):
            return reply.document
        if isinstance(reply, OutOfMemory):
            self.finished = True
            return InputError(
                f"parsing needs more than {self._memory_mb} MB of memory; raise ingest.memory_mb, or split the file"
            )
        if isinstance(reply, Busy):
            return UnavailableError(reply.message)
        return MissingProgramError(reply.message, reply.program) if reply.program else InputError(reply.message)

    def overdue(self) -> InputError | None:
        """Give up on the file if its time is over."""
        if time.monotonic() < self.deadline:
            return None
        if not self._ready:
            raise self._unavailable(f"was not ready after {_STARTUP_S:.0f} s")
        self.finished = True
        return InputError(f"parsing took longer than {self._timeout_s:g} s; raise ingest.timeout_s, or split the file")

    def kill(self) -> None:
        """End the process and what it has started, and remove what they have written."""
        self._sandbox.kill()
        self.line.close()
        empty(self._folder)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _died(self) -> InputError:
        code = self._sandbox.ended(1.0)  # None: it has closed its line, and lives
        self.finished = True
        if not self._ready:
            raise self._unavailable(f"ended with code {code} while starting")
        logger.warning("parsing worker %d ended with code %s", self._sandbox.pid, code)
        message = (
            f"the file brought its parser down (exit code {code}, limit {self._memory_mb} MB); convert it to PDF, or "
            "raise ingest.memory_mb"
        )
        if code is not None and -code in _FROM_OUTSIDE:
            raise _KilledError(message)
        return InputError(message)

    def _unavailable(self, what: str) -> UnavailableError:
        return UnavailableError(
            f"a parsing process {what} (ingest.memory_mb: {self._memory_mb}); raise that limit, or run `rag doctor`"
        )
