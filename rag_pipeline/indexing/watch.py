"""When to look at folders again: at once, and whenever something in them has changed and then been quiet.

Enters: folders. Leaves: one ``None`` for every time to look. This module does not say what has changed: the next run
finds out, and would find it out also if no word of it had come.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from watchfiles import watch

__all__ = ["changes"]

_TICK_MS = 1_000
_LONGEST_MS = 60_000
"""So long may changes go on before it is time to look anyway."""
_LOOK_ANYWAY_S = 600.0
"""Network drives send no word of changes: it is time to look after so long."""


def changes(
    roots: Sequence[Path], index: Path, stop: threading.Event | None = None, *, quiet_s: float = 2.0
) -> Iterator[None]:
    """Yield now, and after every change below ``roots`` that is not in ``index``, until ``stop`` is set.

    A copy of many files is one change: nothing must happen for ``quiet_s`` seconds. What changes while the caller works
    is not missed.
    """
    folder = Path(os.path.abspath(index))
    stream = watch(
        *roots,
        watch_filter=lambda _, path: not Path(path).is_relative_to(folder),
        debounce=_LONGEST_MS,
        step=round(quiet_s * 1000),
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        stop_event=stop,
        ignore_permission_denied=True,
    )
    next(stream, None)  # from here on the kernel tells of changes
    looked = time.monotonic()
    yield
    for seen in stream:
        if seen or time.monotonic() - looked > _LOOK_ANYWAY_S:
            looked = time.monotonic()
            yield
