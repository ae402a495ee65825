"""What is known of every file and of every document written to the engine, in SQLite beside the shard.

Enters: what a run has found and done. Leaves: what the next run compares with the folder, and what ``rag status``
shows. It also is the journal of the run: a version of a document is recorded as ``writing`` before its first point goes
to the engine, as ``ready`` after the engine has acknowledged all of them, and is dropped after the engine has
acknowledged that they are gone, so that after a crash the next run knows what to finish. This module knows nothing of
the engine, of parsing and of models.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rag_pipeline.errors import UnavailableError
from rag_pipeline.indexing.records import FileRow, Run, Summary, Version, VersionState, shown
from rag_pipeline.types import Facts

__all__ = ["Manifest"]

# Paths are bytes: names on disk need not be valid Unicode.
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, content_hash TEXT, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    checked_ns INTEGER NOT NULL, fingerprint TEXT NOT NULL, document_id TEXT, error TEXT NOT NULL, reason TEXT NOT NULL,
    sidecar TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_of_document ON files (document_id);
CREATE TABLE IF NOT EXISTS versions (
    document_id TEXT, fingerprint TEXT, state TEXT NOT NULL, paths TEXT NOT NULL, point_ids TEXT NOT NULL,
    figures TEXT NOT NULL, language TEXT NOT NULL, media_type TEXT NOT NULL, title TEXT NOT NULL,
    facts TEXT NOT NULL DEFAULT '', sidecars TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (document_id, fingerprint)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS versions_by_state ON versions (state);
CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, started REAL NOT NULL, seconds REAL, report TEXT);
"""
_LATER = (
    ("files", "sidecar", "TEXT NOT NULL DEFAULT ''"),
    ("versions", "facts", "TEXT NOT NULL DEFAULT ''"),
    ("versions", "sidecars", "TEXT NOT NULL DEFAULT '[]'"),
)
"""Columns that manifests of earlier versions lack; they stand at the end of their tables."""


class Manifest:
    """An open manifest. One process writes (it holds the index's lock); others may read meanwhile."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._db = connection
        self._clock = clock

    @classmethod
    def open(cls, file: Path, clock: Callable[[], float] = time.time) -> Manifest:
        """Open the manifest, made where the index folder has none; ``clock`` gives seconds since 1970.

        Raises:
            UnavailableError: there is no index folder, or the file is not a manifest.
        """
        try:
            # The retriever asks for languages from whatever thread it runs in; SQLite serialises the calls.
            connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=10)
            # FULL: an intent must be on disk before the points that it announces.
            connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {_TABLES}")
            _add_columns(connection)
        except sqlite3.Error as exc:
            raise UnavailableError(
                f"cannot open manifest {file} ({exc}); run rag ingest FOLDER, or restore it"
            ) from exc
        return cls(connection, clock)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._db.close()

    def now_ns(self) -> int:
        """Return the clock's time in ns since 1970."""
        return int(self._clock() * 1e9)

    # ------------------------------------------------------------------------------- reading

    def files(self) -> dict[Path, FileRow]:
        """Return what is known of every file."""
        rows = self._db.execute("SELECT * FROM files")
        return {row.path: row for row in map(_file_row, rows)}

    def versions(self, *states: VersionState) -> list[Version]:
        """Return the versions in these states, ordered by document."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT * FROM versions WHERE state IN ({marks}) ORDER BY document_id, fingerprint"  # noqa: S608
        return [_version(row) for row in self._db.execute(query, states)]

    def versions_of(self, document_id: str) -> list[Version]:
        """Return every version of a document, whatever its state."""
        return [
            _version(row) for row in self._db.execute("SELECT * FROM versions WHERE document_id = ?", (document_id,))
        ]

    def places_of(self, document_id: str) -> dict[Path, str]:
        """Return the files under which a document is found, sorted, each with the text of its sidecar."""
        rows = self._db.execute("SELECT path, sidecar FROM files WHERE document_id = ? ORDER BY path", (document_id,))
        return {Path(os.fsdecode(path)): sidecar for path, sidecar in rows}

    def content_hashes(self) -> set[str]:
        """Return the content hashes of all files that could be read."""
        return {found for (found,) in self._db.execute("SELECT content_hash FROM files") if found is not None}

    def document_of(self, path: Path) -> str | None:
        """Return the document that a search finds under a path, or None."""
        row = self._db.execute("SELECT document_id FROM files WHERE path = ?", (os.fsencode(path),)).fetchone()
        return row[0] if row else None

    def languages(self) -> tuple[str, ...]:
        """Return the languages of the documents, the most frequent first."""
        rows = self._db.execute(
            "SELECT language FROM versions WHERE state IN ('ready', 'moved') AND language <> '' "
            "GROUP BY language ORDER BY count(*) DESC, language"
        )
        return tuple(language for (language,) in rows)

    def summary(self) -> Summary:
        """Count files, documents, chunks and figures."""
        errors = Counter(error for (error,) in self._db.execute("SELECT error FROM files"))
        (copies,) = self._db.execute(
            "SELECT count(*) - count(DISTINCT document_id) FROM files WHERE error = '' AND document_id IS NOT NULL"
        ).fetchone()
        versions = self.versions("ready", "moved")
        figures = sum(len(version.figures) for version in versions)
        points = sum(len(version.point_ids) for version in versions)
        last = self._db.execute("SELECT started, seconds, report FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        return Summary(
            indexed=errors.pop("", 0),
            quarantined=dict(errors.most_common()),
            duplicates=copies,
            documents=len(versions),
            chunks=points - figures,
            figures=figures,
            last_run=Run(last[0], last[1], json.loads(last[2]) if last[2] else None) if last else None,
        )

    # ------------------------------------------------------------------------------- writing

    def announce(self, version: Version) -> None:
        """Record that the points of ``version`` are about to be written."""
        with self._transaction():
            self._put(version)

    def settle(self, rows: Iterable[FileRow] = (), gone: Iterable[Path] = (), ready: Collection[Version] = ()) -> None:
        """Record, at once: what files now are, which are gone, and which announced versions the engine now holds.

        Documents that lose their last path, and versions replaced by a ready one, become ``removing``; documents
        whose points show other paths than they now have become ``moved``.
        """
        with self._transaction():
            touched: set[str | None] = {version.document_id for version in ready}
            for path in gone:
                touched.add(self.document_of(path))
                self._db.execute("DELETE FROM files WHERE path = ?", (os.fsencode(path),))
            for row in rows:
                touched |= {self.document_of(row.path), row.document_id}
                values = _file_values(row)
                self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            for version in ready:
                self._db.execute(
                    "UPDATE versions SET state = 'removing' WHERE document_id = ? AND fingerprint <> ?",
                    (version.document_id, version.fingerprint),
                )
                self._mark(version, "ready")
            for document in touched:
                if document is not None:
                    self._review(document)

    def abandon(self, versions: Iterable[Version]) -> None:
        """Record that announced versions will not be finished: what was written of them is to be removed."""
        with self._transaction():
            for version in versions:
                self._mark(version, "removing")

    def show(self, version: Version, places: Mapping[Path, str]) -> None:
        """Record that the engine has acknowledged the present ``places`` of a moved version."""
        paths, sidecars = shown(places)
        with self._transaction():
            self._db.execute(
                "UPDATE versions SET paths = ?, sidecars = ?, state = 'ready' "
                "WHERE document_id = ? AND fingerprint = ?",
                (_paths_json(paths), json.dumps(sidecars), version.document_id, version.fingerprint),
            )

    def drop(self, versions: Iterable[Version]) -> None:
        """Record that the engine has acknowledged the removal of these versions."""
        with self._transaction():
            self._db.executemany(
                "DELETE FROM versions WHERE document_id = ? AND fingerprint = ?",
                [(version.document_id, version.fingerprint) for version in versions],
            )

    def distrust(self) -> None:
        """Record that the engine may not hold what it acknowledged: every ready document counts as made by nobody."""
        with self._transaction():
            self._db.execute("UPDATE versions SET fingerprint = '' WHERE state = 'ready'")

    def begin_run(self) -> int:
        """Record the start of an ingestion, and return its number."""
        with self._transaction():
            number = self._db.execute("INSERT INTO runs (started) VALUES (?)", (self._clock(),)).lastrowid
        assert number is not None
        return number

    def end_run(self, number: int, seconds: float, report: Mapping[str, Any]) -> None:
        """Record the end of an ingestion and its report, JSON values."""
        with self._transaction():
            self._db.execute(
                "UPDATE runs SET seconds = ?, report = ? WHERE id = ?", (seconds, json.dumps(report), number)
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as exc:
            raise UnavailableError(f"cannot write the manifest ({exc}); check disk and permissions, run again") from exc

    def _review(self, document: str) -> None:
        places = self.places_of(document)
        for version in self.versions_of(document):
            if version.state in ("ready", "moved"):
                same = shown(places) == (version.paths, version.sidecars)
                self._mark(version, "removing" if not places else "ready" if same else "moved")

    def _mark(self, version: Version, state: VersionState) -> None:
        self._db.execute(
            "UPDATE versions SET state = ? WHERE document_id = ? AND fingerprint = ?",
            (state, version.document_id, version.fingerprint),
        )

    def _put(self, version: Version) -> None:
        values = (
            version.document_id, version.fingerprint, version.state, _paths_json(version.paths),
            json.dumps(version.point_ids), json.dumps(version.figures), version.language, version.media_type,
            version.title, json.dumps(asdict(version.facts)), json.dumps(version.sidecars),
        )  # fmt: skip
        self._db.execute("INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def _add_columns(connection: sqlite3.Connection) -> None:
    for table, column, kind in _LATER:
        if column not in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


def _paths_json(paths: tuple[Path, ...]) -> str:
    return json.dumps([os.fsencode(path).decode("latin-1") for path in paths])  # latin-1 carries any byte


def _version(row: tuple[Any, ...]) -> Version:
    document, fingerprint, state, paths, point_ids, figures, language, media_type, title, facts, sidecars = row
    return Version(
        document,
        fingerprint,
        state,
        tuple(Path(os.fsdecode(path.encode("latin-1"))) for path in json.loads(paths)),
        tuple(json.loads(point_ids)),
        tuple(json.loads(figures)),
        language,
        media_type,
        title,
        _facts(facts),
        tuple(json.loads(sidecars)),
    )


def _facts(text: str) -> Facts:
    if not text:
        return Facts()
    said = json.loads(text)
    meta = {key: tuple(value) if isinstance(value, list) else value for key, value in said["meta"].items()}
    return Facts(said["date"], tuple(said["tags"]), meta)


def _file_row(row: tuple[Any, ...]) -> FileRow:
    path, *rest = row
    return FileRow(Path(os.fsdecode(path)), *rest)


def _file_values(row: FileRow) -> tuple[Any, ...]:
    return (
        os.fsencode(row.path), row.content_hash, row.size, row.mtime_ns, row.checked_ns,
        row.fingerprint, row.document_id, row.error, row.reason, row.sidecar,
    )  # fmt: skip
