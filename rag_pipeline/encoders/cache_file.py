"""The file of an embedding cache: its tables, how it is opened, and what SQLite says of it.

Enters: a path. Leaves: a connection on which statements wait for other processes. This module knows nothing of keys
and values.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["connect", "in_use", "is_damage", "make_file", "remove", "return_space", "transaction"]

# Apart from the vectors, so that a use is noted in a page of a hundred entries, not in one of two vectors.
_TABLES = """
CREATE TABLE entries (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, used INTEGER NOT NULL);
CREATE INDEX entries_by_use ON entries (used);
CREATE TABLE vectors (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE runs (started INTEGER PRIMARY KEY, hits INTEGER NOT NULL, misses INTEGER NOT NULL);
"""
_LAYOUT = 1
"""SQLite's ``user_version`` of a file with these tables; one with another is made anew."""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""ERROR is a table or column that is missing: the statements are right where the file is."""


class _OtherLayoutError(sqlite3.DatabaseError):
    """The file was written by another version of this module."""


def make_file(file: Path) -> None:
    """Make an empty file, and its folder, where there is none; its owner alone may read it.

    Raises:
        OSError: the folder cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # A file that is there is not opened: closing it again would take away the locks that this process has on it as a
    # database.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def connect(file: Path, busy_s: float) -> sqlite3.Connection:
    """Open a file, and make the tables where it has none; other processes are waited for ``busy_s`` seconds.

    Raises:
        sqlite3.Error: it cannot be opened, or is damaged.
    """
    db = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=busy_s)
    try:
        db.text_factory = bytes  # a damaged value may say that it is text
        _configure(db, busy_s)
        _make_tables(db)
    except BaseException:
        db.close()
        raise
    return db


def _configure(db: sqlite3.Connection, busy_s: float) -> None:
    until = time.monotonic() + busy_s
    while True:
        try:
            # Nothing is lost when this process is killed. The last values may be at a power cut, which is no harm.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA journal_size_limit = 16777216")
            return
        except sqlite3.Error as exc:
            # The one statement that does not wait while another process opens the file for the first time.
            if _code(exc) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _make_tables(db: sqlite3.Connection) -> None:
    if _number(db, "user_version") == 0:
        with transaction(db):
            if _number(db, "user_version") == 0:  # nobody was faster
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_LAYOUT}")
    elif (layout := _number(db, "user_version")) != _LAYOUT:
        raise _OtherLayoutError(f"its layout is {layout}, not {_LAYOUT}")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what is written in the block, or none of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def in_use(db: sqlite3.Connection) -> int:
    """Return the bytes of the file without its free pages, which are filled before it grows."""
    return (_number(db, "page_count") - _number(db, "freelist_count")) * _number(db, "page_size")


def return_space(db: sqlite3.Connection) -> None:
    """Make the file smaller where much of it is free: its limit was lowered."""
    if _number(db, "freelist_count") > _number(db, "page_count") // 4:
        with contextlib.suppress(sqlite3.OperationalError):  # others are writing: some other time
            db.executescript("PRAGMA incremental_vacuum")  # execute() would take its first step only, one page


def is_damage(exc: Exception) -> bool:
    """Tell whether a file must be made anew, rather than done without."""
    # The last three are a number that is none, or too large for one, and a name that is no text.
    strange = isinstance(exc, _OtherLayoutError | ArithmeticError | TypeError | ValueError)
    return strange or (isinstance(exc, sqlite3.Error) and _code(exc) in _DAMAGE)


def remove(file: Path) -> None:
    """Remove a file with its log, and the log first: it would be taken for that of the next file of this name.

    Raises:
        OSError: it cannot be removed.
    """
    for suffix in ("-wal", "-shm", ""):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _code(exc: sqlite3.Error) -> int:
    """Return SQLite's primary error code; what Python's own part of the driver raises has none."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])
