"""Iterators that run ahead of whoever takes from them, each in a thread of its own, through bounded queues.

Enters: an iterator and how far it may run ahead. Leaves: an iterator over the same items in the same order; what the
first one raises is raised there. This module knows nothing of documents.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["Stages"]

T = TypeVar("T")

_POLL_S = 0.2
"""How soon a stage that waits notices that the others have been stopped."""
_END = object()


class _StoppedError(Exception):
    """The run is over; a stage that waits for another gives up."""


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Stages:
    """The stages of one run. They end with the ``with`` block, whatever they were doing; ``on_stop`` is called first.

    >>> with Stages(depth=2) as stages:
    ...     print(list(stages.ahead(n * n for n in range(4))))
    [0, 1, 4, 9]
    """

    def __init__(self, depth: int, on_stop: Callable[[], None] | None = None) -> None:
        self._depth = depth
        self._on_stop = on_stop
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def ahead(self, items: Iterable[T], while_waiting: Callable[[], None] | None = None) -> Iterator[T]:
        """Start to run ``items`` in a thread, at most ``depth`` items ahead of the iterator that is returned.

        ``while_waiting`` is called several times a second, in the thread that takes, while there is nothing to take.
        """
        queue: Queue[Any] = Queue(self._depth)
        thread = threading.Thread(target=self._run, args=(items, queue), daemon=True)
        self._threads.append(thread)
        thread.start()
        return self._taken(queue, while_waiting)

    def _run(self, items: Iterable[T], queue: Queue[Any]) -> None:
        try:
            for item in items:
                self._put(queue, item)
                del item  # it may be large, and the next one may be long in coming
            self._put(queue, _END)
        except _StoppedError:
            return
        except BaseException as exc:  # the thread that takes raises it
            self._fail(queue, exc)
        finally:
            # Here and now, not when its last reference goes: what a generator cleans up is still there.
            if isinstance(items, Generator):
                items.close()

    def _fail(self, queue: Queue[Any], error: BaseException) -> None:
        try:
            self._put(queue, _Failure(error))
        except _StoppedError:
            return

    def _put(self, queue: Queue[Any], item: object) -> None:
        while not self._stopped.is_set():
            try:
                return queue.put(item, timeout=_POLL_S)
            except Full:
                continue
        raise _StoppedError

    def _taken(self, queue: Queue[Any], while_waiting: Callable[[], None] | None) -> Iterator[Any]:
        while True:
            try:
                item = queue.get(timeout=_POLL_S)
            except Empty:
                if self._stopped.is_set():
                    raise _StoppedError from None
                if while_waiting is not None:
                    while_waiting()
                continue
            if item is _END:
                return
            if isinstance(item, _Failure):
                raise item.error
            yield item
            del item

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._on_stop is not None:
            self._on_stop()
        for thread in self._threads:
            thread.join()
