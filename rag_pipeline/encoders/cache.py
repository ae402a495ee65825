"""Vectors on disk, in SQLite: what was encoded once is read back by whoever encodes the same text again.

Enters: keys and the bytes to keep under them. Leaves: the bytes that were kept under a key, or nothing; never others.
The file holds hashes of texts and vectors, and no text; as vectors tell something of what they were made of, it is its
owner's alone (mode 0600). This module knows nothing of models and of encoding.

A cache is a convenience, so it raises nothing. A value that is not as it was written is a miss. A damaged file is made
anew. Where the file cannot be opened or written (a read-only or full disk, a process that holds it too long), that is
said once, as a warning, and done without until :meth:`EmbeddingCache.close`. Threads and processes may share one file.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rag_pipeline.encoders.cache_file import (
    connect,
    in_use,
    is_damage,
    make_file,
    remove,
    return_space,
    transaction,
)

__all__ = ["CacheStats", "EmbeddingCache"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_KEPT_SHARE = 0.9
_LEAST_FREE_BYTES = 512 * 2**20
"""The engine refuses to write below 256 MiB: the cache stops before it takes them."""
_BUSY_S = 10.0
"""Longer than any transaction here; the longest, throwing out 100 MB at once, takes 2.5 seconds."""
_KEYS_AT_ONCE = 512
"""In one question; old builds of SQLite take 999."""
_USES_AT_ONCE = 4096
"""That wait to be noted, with the next value or without one."""
_SEAL = 8
"""Bytes of the checksum before a value; the key goes into it, so that a value under another key is none."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache file holds, and how often it helped: in texts, since it was made and in the last run."""

    entries: int = 0
    bytes: int = 0
    hits: int = 0
    misses: int = 0
    last_hits: int = 0
    last_misses: int = 0


class EmbeddingCache:
    """Bytes under keys, at most ``max_bytes`` of them on disk; those not used for longest go first.

    The file is made when something is first put, and written while its disk has ``least_free`` bytes free. Another
    process is waited for ``busy_s`` seconds. ``clock`` gives ns since 1970.
    """

    def __init__(
        self,
        file: Path,
        max_bytes: int,
        *,
        least_free: int = _LEAST_FREE_BYTES,
        busy_s: float = _BUSY_S,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._least_free = least_free
        self._busy_s = busy_s
        self._clock = clock
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._renewed = False
        self._reset()

    def _reset(self) -> None:
        self._given_up = False
        self._started: int | None = None
        self._hits = self._misses = 0
        self._used: set[int] = set()
        self._damaged: set[int] = set()

    @staticmethod
    def read_stats(file: Path) -> CacheStats:
        """Read what a file holds, without making it; one that cannot be read holds nothing."""
        if not file.is_file():
            return CacheStats()
        try:
            # Not "ro": such a connection leaves a log behind that it was not allowed to remove.
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=1)) as db:
                (entries,) = db.execute("SELECT count(*) FROM entries").fetchone()
                hits, misses = db.execute("SELECT total(hits), total(misses) FROM runs").fetchone()
                last = db.execute("SELECT hits, misses FROM runs ORDER BY started DESC LIMIT 1").fetchone()
                return CacheStats(entries, in_use(db), int(hits), int(misses), *(last or (0, 0)))
        except (sqlite3.Error, ArithmeticError, TypeError, ValueError) as exc:
            logger.debug("cannot read the embedding cache %s: %s", file, exc)
            return CacheStats()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return what is kept under these keys; what is missing, or damaged, is left out."""

        def read(db: sqlite3.Connection) -> dict[bytes, bytes]:
            found: dict[bytes, bytes] = {}
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                some = keys[start : start + _KEYS_AT_ONCE]
                marks = ", ".join("?" * len(some))
                query = f"SELECT id, key, value FROM entries JOIN vectors USING (id) WHERE key IN ({marks})"  # noqa: S608
                for id_, key, value in db.execute(query, some):
                    if _is_whole(key, value):
                        found[key] = value[_SEAL:]
                        self._used.add(id_)
                    else:
                        self._damaged.add(id_)
            if len(self._used) > _USES_AT_ONCE:
                with self._noting(db):
                    pass
            return found

        return self._try(read, {})

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep these values; what is there already stays as it is."""

        def write(db: sqlite3.Connection) -> None:
            free = shutil.disk_usage(self._file.parent).free
            if free < self._least_free:
                self._give_up(f"its disk has {free // 2**20} MiB free, and the index needs them")
                return
            with self._noting(db):
                now = _next_use(db)
                for key, value in values.items():
                    row = db.execute("INSERT OR IGNORE INTO entries (key, used) VALUES (?, ?)", (key, now))
                    if row.rowcount:
                        sealed = (row.lastrowid, _seal(key, value) + value)
                        db.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?)", sealed)
                self._evict(db)

        self._try(write, None, create=True)

    def count(self, *, hits: int, misses: int) -> None:
        """Count texts that were found, and that had to be encoded; they are written with what is next written."""
        with self._lock:
            self._hits += hits
            self._misses += misses

    def close(self) -> None:
        """Write what is counted and close the file. The next use opens it again, and counts as another run."""

        def settle(db: sqlite3.Connection) -> None:
            if self._used or self._damaged or self._hits or self._misses:
                with self._noting(db):
                    pass
            return_space(db)

        if self._db is not None:
            self._try(settle, None)
        with self._lock:
            self._disconnect()
            self._renewed = False
            self._reset()

    # ------------------------------------------------------------------------ within the lock

    def _try(self, work: Callable[[sqlite3.Connection], T], otherwise: T, *, create: bool = False) -> T:
        """Return what ``work`` makes of the open file; ``otherwise`` where there is none, or it fails."""
        with self._lock:
            if self._given_up:
                return otherwise
            try:
                db = self._connected(create=create)
                return otherwise if db is None else work(db)
            except (sqlite3.Error, OSError, ArithmeticError, TypeError, ValueError) as exc:
                self._recover(exc)
                return otherwise

    def _connected(self, *, create: bool) -> sqlite3.Connection | None:
        if self._db is not None:
            return self._db
        if create:
            make_file(self._file)
        elif not self._file.exists():
            return None
        self._inode = self._file.stat().st_ino
        self._db = connect(self._file, self._busy_s)
        if self._started is None:
            self._started = self._clock()
        return self._db

    @contextmanager
    def _noting(self, db: sqlite3.Connection) -> Iterator[None]:
        """Write within one transaction, and with it what was used, counted and found damaged since the last one."""
        with transaction(db):
            damaged = [(id_,) for id_ in self._damaged]
            db.executemany("DELETE FROM vectors WHERE id = ?", damaged)
            db.executemany("DELETE FROM entries WHERE id = ?", damaged)
            now = _next_use(db)
            db.executemany("UPDATE entries SET used = ? WHERE id = ?", [(now, id_) for id_ in sorted(self._used)])
            if self._hits or self._misses:
                db.execute(
                    "INSERT INTO runs VALUES (?, ?, ?) ON CONFLICT (started) "
                    "DO UPDATE SET hits = hits + excluded.hits, misses = misses + excluded.misses",
                    (self._started, self._hits, self._misses),
                )
            yield
        self._used.clear()
        self._damaged.clear()
        self._hits = self._misses = 0

    def _evict(self, db: sqlite3.Connection) -> None:
        """Throw out the entries that were not used for longest, where the file has become too large."""
        if in_use(db) <= self._max_bytes:
            return
        while (excess := in_use(db) - self._max_bytes * _KEPT_SHARE) > 0:
            oldest = db.execute("SELECT id, length(value) FROM entries JOIN vectors USING (id) ORDER BY used, id")
            # An entry takes up to twice its length, as a page holds whole ones only: so half, and then look again.
            gone = list(_until(oldest, excess / 2))
            oldest.close()
            if not gone:
                return
            db.executemany("DELETE FROM vectors WHERE id = ?", gone)
            db.executemany("DELETE FROM entries WHERE id = ?", gone)

    def _recover(self, exc: Exception) -> None:
        self._disconnect()
        if not is_damage(exc) or self._renewed:
            self._give_up(str(exc))
            return
        self._renewed = True
        self._reset()
        logger.warning("the embedding cache %s is damaged (%s); it is made anew", self._file, exc)
        try:
            # Another process may have made it anew already.
            if self._file.stat().st_ino == self._inode:
                remove(self._file)
        except FileNotFoundError:
            return
        except OSError as cause:
            self._give_up(str(cause))

    def _give_up(self, reason: str) -> None:
        self._given_up = True
        self._disconnect()
        logger.warning("going on without the embedding cache %s: %s", self._file, reason)

    def _disconnect(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):  # what it could still write is not missed
                self._db.close()
            self._db = None


def _until(rows: Iterable[tuple[int, int]], length: float) -> Iterator[tuple[int]]:
    """Yield ids, at least one, until their lengths are enough."""
    for id_, own in rows:
        yield (id_,)
        length -= own
        if length <= 0:
            return


def _next_use(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(used), 0) + 1 FROM entries").fetchone()[0])


def _is_whole(key: object, value: object) -> bool:
    return isinstance(key, bytes) and isinstance(value, bytes) and value[:_SEAL] == _seal(key, value[_SEAL:])


def _seal(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_SEAL, key=key).digest()
