"""Contents that are new to the index: parsed, chunked, written, and recorded when the engine has them.

Enters: the plan of a run, and parsers. Leaves: points, pictures, rows of the manifest, counts. A document that cannot
be read goes into quarantine and stops nobody else. This module knows nothing of formats, models and the engine.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.indexing.records import FileRow, Version
from rag_pipeline.indexing.report import Progress, Tally
from rag_pipeline.indexing.sync import Plan
from rag_pipeline.indexing.writer import Job, PointWriter
from rag_pipeline.store.payload import storable
from rag_pipeline.types import Chunk, Document, SourceFile

__all__ = ["FileChangedError", "Loader", "Parser"]


class FileChangedError(InputError):
    """A file was written to while it was read; the next run reads it again."""


class Parser(Protocol):
    """What turns files into documents, several at a time."""

    def parse_all(self, sources: Iterable[SourceFile]) -> Iterator[tuple[SourceFile, Document | InputError]]:
        """Yield each file with its document, or with the reason why it has none, as they are done."""


class Loader:
    """Loads what ``plan.parse`` names, once."""

    def __init__(
        self,
        plan: Plan,
        tally: Tally,
        *,
        writer: PointWriter,
        manifest: Manifest,
        reconcile: Callable[[], None],
        figures_dir: Path,
        chunk: Callable[[Document], list[Chunk]],
        checked_ns: int,
        fingerprint: str,
    ) -> None:
        self._plan = plan
        self._tally = tally
        self._writer = writer
        self._manifest = manifest
        self._reconcile = reconcile
        self._figures_dir = figures_dir
        self._chunk = chunk
        self._fingerprint = fingerprint
        self._row_of = partial(FileRow.of, checked_ns=checked_ns, fingerprint=fingerprint)
        self._copies: dict[str, list[SourceFile]] = defaultdict(list)
        for source in plan.incoming:
            self._copies[source.content_hash].append(source)

    def load(self, parser: Parser, on_progress: Callable[[Progress], None]) -> None:
        """Parse every content of the plan, and write what comes of it; ``on_progress`` hears of it file by file."""
        current = None
        on_progress(self._tally.progress(current))
        for source, outcome in parser.parse_all(self._plan.parse):
            try:
                if isinstance(outcome, InputError):
                    raise outcome
                job = self._begin(source, outcome)
            except InputError as exc:
                self._quarantine(source, exc)
            else:
                self._conclude(self._writer.add(job))
            self._tally.done += 1
            current = source.path
            on_progress(self._tally.progress(current))
        self._conclude(self._writer.finish())
        on_progress(self._tally.progress(current))

    def _begin(self, source: SourceFile, document: Document) -> Job:
        """Chunk a document, announce it to the manifest, and keep its pictures."""
        _refuse_changed(source)
        chunks = self._chunk(document)
        if not chunks:
            raise InputError("the file has neither text nor a picture to index; remove it, or exclude it")
        pictures = {hashlib.sha256(figure.image).hexdigest(): figure for figure in document.figures}
        names = {
            digest: digest + (mimetypes.guess_extension(figure.media_type) or ".bin")
            for digest, figure in pictures.items()
        }
        paths = {*self._manifest.paths_of(source.document_id)}
        paths |= {copy.path for copy in self._copies[source.content_hash]}
        version = Version(
            document_id=source.document_id,
            fingerprint=self._fingerprint,
            state="writing",
            paths=tuple(sorted(paths, key=os.fsencode)),
            point_ids=tuple(chunk.id for chunk in chunks),
            figures=tuple(names[chunk.figure] for chunk in chunks if chunk.figure is not None),
            language=document.language,
            media_type=document.media_type,
            title=storable(document.title),
        )
        self._manifest.announce(version)
        for digest, figure in pictures.items():
            _keep(self._figures_dir / names[digest], figure.image)
        self._tally.note(source.path, document.notes)
        return Job(source, version, chunks, {digest: figure.image for digest, figure in pictures.items()})

    def _conclude(self, jobs: Sequence[Job]) -> None:
        """Record jobs that the engine has acknowledged; what they replace is removed only then."""
        if not jobs:
            return
        done = [job for job in jobs if job.error is None]
        self._manifest.settle(
            [
                self._row_of(copy, document_id=copy.document_id)
                for job in done
                for copy in self._copies[job.source.content_hash]
            ],
            ready=[job.version for job in done],
        )
        for job in jobs:
            if job.error is not None:
                self._manifest.abandon([job.version])
                self._quarantine(job.source, job.error)
            else:
                self._tally.figures += len(job.version.figures)
                self._tally.chunks += len(job.chunks) - len(job.version.figures)
                self._tally.note(job.source.path, job.notes)
        self._reconcile()

    def _quarantine(self, source: SourceFile, exc: InputError) -> None:
        """Record why a content cannot be indexed, for every file that has it."""
        error = type(exc).__name__
        rows = []
        for copy in self._copies[source.content_hash]:
            good = self._manifest.document_of(copy.path)
            reason = storable(f"{exc}; the last good version stays searchable" if good else str(exc))
            row = self._row_of(copy, document_id=good, error=error, reason=reason)
            # Without a hash the file is new to the next run; with one, it is left alone until its content changes.
            rows.append(replace(row, content_hash=None) if isinstance(exc, FileChangedError) else row)
            self._tally.quarantine(copy.path, error, reason)
        self._manifest.settle(rows)


def _refuse_changed(source: SourceFile) -> None:
    # Its hash would name a content that was not the one parsed.
    try:
        status = source.path.stat()
    except OSError as exc:
        raise FileChangedError(f"the file went away while it was read: {exc.strerror}; run again") from exc
    if (status.st_size, status.st_mtime_ns) != (source.size, source.mtime_ns):
        raise FileChangedError("the file changed while it was read; run again")


def _keep(file: Path, image: bytes) -> None:
    if file.exists():
        return
    aside = file.with_suffix(".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(image)
        aside.replace(file)
    except OSError as exc:
        raise UnavailableError(f"cannot write {file}: {exc.strerror}; check disk and permissions, run again") from exc
