"""Folders for the temporary files of parsers: one for each process, emptied file by file, gone in the end.

A run that is killed cannot clean up. Each run therefore holds a lock on its folder, which dies with it, and the next
one removes the folders that nobody holds. This module knows nothing of processes and documents.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

__all__ = ["Scratch", "empty"]

_PREFIX = "rag-parse-"


class Scratch:
    """A folder of this run inside ``parent`` (default: where the system keeps temporary files)."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        _sweep(parent)
        self._lock = -1
        while self._lock < 0:
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            lock = _locked(self.folder)  # a sweep in another run may have come between the two
            self._lock = -1 if lock is None else lock
        self._made = 0

    def make(self) -> Path:
        """Make an empty folder."""
        self._made += 1
        folder = self.folder / str(self._made)
        folder.mkdir()
        return folder

    def close(self) -> None:
        """Remove everything."""
        if self._lock >= 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def empty(folder: Path) -> None:
    """Remove what is in a folder, as far as the system allows."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _sweep(parent: Path) -> None:
    """Remove what earlier runs of this user have left behind."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """Return a descriptor that holds the folder's lock, or None where another run holds it or it is gone."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.lstat(folder)):
            return lock
    except OSError:
        pass
    os.close(lock)
    return None
