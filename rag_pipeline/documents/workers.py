"""Files in, documents out, each parsed in a process of its own kind: warm, limited, and replaceable.

A file that hangs, eats memory or kills its worker costs that worker and is reported; the others never notice. The
parent imports no vendor. Workers are plain subprocesses with one socket and not ``multiprocessing.Process``: a spawned
process would run the caller's main module again, and break every script that has no ``__main__`` guard.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from types import TracebackType

from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.types import Document, SourceFile

__all__ = ["ParsePool"]

logger = logging.getLogger(__name__)

_FILES_OF_ONE_WORKER = 200
"""Then it is replaced: parsers and the allocator keep what they once took."""
_STARTUP_S = 120.0


class ParsePool:
    """Parsing processes, started when they are needed and ended with the ``with`` block.

    ``workers`` run at most; each file has ``timeout_s`` seconds, and each process ``memory_mb`` of address space.
    """

    def __init__(self, workers: int, timeout_s: float, memory_mb: int) -> None:
        self._size = workers
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._workers: list[_Worker] = []

    def __enter__(self) -> ParsePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def parse_all(self, sources: Iterable[SourceFile]) -> Iterator[tuple[SourceFile, Document | InputError]]:
        """Yield each file with its document, or with the reason why there is none, as they are done.

        ``sources`` is read no faster than files are parsed.

        Raises:
            UnavailableError: a worker cannot be started at all.
        """
        waiting = iter(sources)
        exhausted = False
        while True:
            busy = [worker for worker in self._workers if worker.source is not None]
            while not exhausted and len(busy) < self._size:
                source = next(waiting, None)
                if source is None:
                    exhausted = True
                else:
                    busy.append(self._assigned(source))
            if not busy:
                return
            remaining = min(worker.deadline for worker in busy) - time.monotonic()
            ready = wait([worker.connection for worker in busy], timeout=max(remaining, 0.0))
            for worker in busy:
                outcome = worker.receive() if worker.connection in ready else worker.overdue()
                if outcome is not None:
                    yield outcome
                if worker.finished:
                    worker.kill()
                    self._workers.remove(worker)

    def _assigned(self, source: SourceFile) -> _Worker:
        """Hand a file to a worker that waits for one, or to a new one."""
        worker = next((worker for worker in self._workers if worker.source is None), None)
        if worker is None:
            worker = _Worker(self._timeout_s, self._memory_mb)
            self._workers.append(worker)
        worker.assign(source)
        return worker


class _Worker:
    """One process and the file that it is working on."""

    def __init__(self, timeout_s: float, memory_mb: int) -> None:
        self.source: SourceFile | None = None
        self.deadline = time.monotonic() + _STARTUP_S
        self.finished = False
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._ready = False
        self._files = 0
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: nothing in the folder where the program was started can pose as a module.
            self._process = subprocess.Popen(  # noqa: S603 - our own module, by the running interpreter
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), str(memory_mb)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the parent's to handle, and a kill takes pandoc along
            )
        self.connection = Connection(ours.detach())

    def assign(self, source: SourceFile) -> None:
        self.source = source
        self._files += 1
        if self._ready:
            self.deadline = time.monotonic() + self._timeout_s
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # receive() then meets the end and reports it
            self.connection.send(source)

    def receive(self) -> tuple[SourceFile, Document | InputError] | None:
        """Take the worker's message: that it is ready, a document, or a reason; or see that it has died."""
        source = self._current()
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return self._died(source)
        if message is None:
            self._ready = True
            self.deadline = time.monotonic() + self._timeout_s
            return None
        self.source = None
        self.finished = self._files >= _FILES_OF_ONE_WORKER
        if isinstance(message, MemoryError):
            self.finished = True
            return source, InputError(
                f"parsing needs more than {self._memory_mb} MB of memory; raise ingest.memory_mb, or split the file"
            )
        return source, message

    def overdue(self) -> tuple[SourceFile, InputError] | None:
        """Give up on the file if its time is over."""
        if time.monotonic() < self.deadline:
            return None
        source = self._current()
        if not self._ready:
            raise self._unavailable(f"was not ready after {_STARTUP_S:.0f} s")
        self.finished = True
        return source, InputError(
            f"parsing took longer than {self._timeout_s:g} s; raise ingest.timeout_s, or split the file"
        )

    def kill(self) -> None:
        """End the process and what it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.connection.close()

    def _died(self, source: SourceFile) -> tuple[SourceFile, InputError]:
        code = self._process.wait()
        self.finished = True
        if not self._ready:
            raise self._unavailable(f"ended with code {code} while starting")
        logger.warning("parsing worker %d ended with code %d", self._process.pid, code)
        return source, InputError(
            f"the file brought its parser down (exit code {code}, limit {self._memory_mb} MB); convert it to PDF, or "
            "raise ingest.memory_mb"
        )

    def _unavailable(self, what: str) -> UnavailableError:
        return UnavailableError(
            f"a parsing process {what} (ingest.memory_mb: {self._memory_mb}); raise that limit, or run `rag doctor`"
        )

    def _current(self) -> SourceFile:
        if self.source is None:
            raise AssertionError("only a worker with a file is waited for")
        return self.source


def _serve(connection: Connection, memory_mb: int) -> None:
    """Parse what comes through the connection until it closes. Runs in the worker."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limit on this system: the clock remains
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20, memory_mb * 2**20))
    # spaCy's thinc would import torch if it could: two seconds and 180 MB in every worker, for nothing.
    sys.modules["torch"] = None  # type: ignore[assignment]
    from rag_pipeline.documents.parse import parse, warm_up

    warm_up()
    # pdfminer makes many small objects and few cycles: looking for those takes a fifth of its time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    connection.send(None)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            source = connection.recv()
            try:
                outcome: Document | InputError | MemoryError = parse(source)
            except InputError as exc:
                outcome = InputError(str(exc))
            except MemoryError:
                outcome = MemoryError()
            connection.send(outcome)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
