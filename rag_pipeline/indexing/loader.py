"""Contents that are new to the index: parsed, chunked, encoded and written at the same time, and then recorded.

Enters: the plan of a run, and parsers. Leaves: points, pictures, rows of the manifest, counts. Parsing, chunking and
encoding run ahead of writing, each in a thread and by a bounded number of documents or batches; everything that is
written is written by the thread that calls. A document that cannot be read goes into quarantine and stops nobody else.
This module knows nothing of formats, models and the engine.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from tenacity import Retrying

from rag_pipeline.documents.facts import facts_of
from rag_pipeline.documents.figures import picture_name, readable_name
from rag_pipeline.errors import InputError, MissingProgramError, UnavailableError
from rag_pipeline.indexing.attachments import AttachmentFolder
from rag_pipeline.indexing.jobs import BatchEncoder, Failed, Job, Share
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.indexing.records import FileRow, MadeBy, Version, shown
from rag_pipeline.indexing.report import Progress, Tally
from rag_pipeline.indexing.stages import Stages
from rag_pipeline.indexing.survey import Survey
from rag_pipeline.protocols import Store
from rag_pipeline.store.payload import fact_indexes, storable
from rag_pipeline.types import Chunk, Document, SourceFile

__all__ = ["FileChangedError", "Loader", "Parser", "Workshop"]


_MOST_UNFLUSHED = 2048
"""Points: a flush takes the engine a third of a second, whatever there is to write."""


class FileChangedError(InputError):
    """A file was written to while it was read; the next run reads it again."""


class Parser(Protocol):
    """What turns files into documents, several at a time, in whatever thread it is called."""

    def parse_all(
        self, sources: Iterable[SourceFile]
    ) -> Iterator[tuple[SourceFile, Document | InputError | UnavailableError]]:
        """Yield each file with its document, or with the reason why it has none (yet), as they are done."""

    @property
    def running(self) -> tuple[Path, ...]:
        """The files that are being parsed now."""

    def stop(self) -> None:
        """Make ``parse_all`` return soon; called from another thread."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a loader works with, the same for every run: where it writes, how it chunks and encodes.

    ``pipeline`` names the versions of parser and chunker; ``queue`` is how many documents or batches wait between two
    stages; ``flush_s`` is the time between two flushes; ``patiently`` repeats what may pass by itself.
    """

    store: Store
    manifest: Manifest
    batches: BatchEncoder
    chunk: Callable[[Document], list[Chunk]]
    figures_dir: Path
    attachments: AttachmentFolder
    reconcile: Callable[[], None]
    pipeline: str
    queue: int
    flush_s: float
    patiently: Retrying


class Loader:
    """Loads what the plan of a survey names, once."""

    def __init__(self, shop: Workshop, look: Survey, tally: Tally) -> None:
        self._shop = shop
        self._plan = look.plan
        self._tally = tally
        self._row_of = partial(FileRow.of, checked_ns=look.checked_ns)
        self._copies: dict[str, list[SourceFile]] = defaultdict(list)
        for source in look.plan.incoming:
            self._copies[source.content_hash].append(source)
        self._places = {source.document_id: self._places_of(source) for source in look.plan.parse}
        self._announced: set[Job] = set()
        self._written: list[Job] = []
        self._unflushed = 0
        self._flushed = time.monotonic()
        self._mails = {path.parent for path in look.known}
        self.unpacked = False
        """Whether a mail was read that has attachments, or had some: files that come or go."""

    def load(self, parser: Parser, on_progress: Callable[[Progress], None]) -> None:
        """Parse every content of the plan, and write what comes of it."""

        def tell() -> None:
            on_progress(self._tally.progress(parser.running))

        tell()
        with Stages(self._shop.queue, on_stop=parser.stop) as stages:
            # Largest first: one that came last would be parsed on one core, and encoded, while all else is done.
            largest_first = sorted(self._plan.parse, key=lambda source: -source.size)
            parsed = stages.ahead(parser.parse_all(largest_first))
            jobs = stages.ahead(self._jobs(parsed))
            for item in stages.ahead(self._shop.batches.batches(jobs), while_waiting=tell):
                if isinstance(item, Failed):
                    self._quarantine(item.source, item.error)
                else:
                    self._write(item)
                tell()
            self._commit()
        tell()

    def _places_of(self, source: SourceFile) -> dict[Path, str]:
        places = self._shop.manifest.places_of(source.document_id)
        places |= {copy.path: copy.sidecar for copy in self._copies[source.content_hash]}
        return {path: places[path] for path in sorted(places, key=os.fsencode)}

    # --------------------------------------------------------------- in a thread of its own

    def _jobs(
        self, parsed: Iterable[tuple[SourceFile, Document | InputError | UnavailableError]]
    ) -> Iterator[Job | Failed]:
        for source, outcome in parsed:
            try:
                if not isinstance(outcome, Document):
                    raise outcome
                job = self._job(source, outcome)
                del outcome  # it may be large, and the next one may be long in coming
                yield job
                del job
            except (InputError, UnavailableError) as exc:
                yield Failed(source, exc)

    def _job(self, source: SourceFile, document: Document) -> Job:
        _refuse_changed(source)
        chunks = self._shop.chunk(document)
        if not chunks:
            raise InputError("the file has neither text nor a picture to index; remove it, or exclude it")
        kinds = {hashlib.sha256(figure.image).hexdigest(): figure.media_type for figure in document.figures}
        name = readable_name(source.path) if document.named else ""
        paths, sidecars = shown(self._places[source.document_id])
        version = Version(
            document_id=source.document_id,
            fingerprint=str(MadeBy(self._shop.pipeline, document.lacking, name)),
            state="writing",
            paths=paths,
            point_ids=tuple(chunk.id for chunk in chunks),
            figures=tuple(
                picture_name(chunk.figure, kinds[chunk.figure]) for chunk in chunks if chunk.figure is not None
            ),
            language=document.language,
            media_type=document.media_type,
            title=storable(document.title),
            facts=document.facts,
            sidecars=sidecars,
        )
        pictures = dict(zip(kinds, (figure.image for figure in document.figures), strict=True))
        facts = facts_of(document.facts, sidecars)
        return Job(source, version, chunks, pictures, document.attachments, list(document.notes), facts)

    # ------------------------------------------------------------- in the thread that calls

    def _write(self, shares: Sequence[Share]) -> None:
        """Write a batch; commit the jobs that are whole, now and then."""
        for share in shares:
            self._announce(share.job)
            share.job.error = share.job.error or share.error
        self._upsert(shares)
        for share in shares:
            share.job.left -= share.chunks
            if share.job.left == 0:
                share.job.release()
                self._written.append(share.job)
            self._tally.written += len(share.points)
            self._unflushed += len(share.points)
        if time.monotonic() - self._flushed >= self._shop.flush_s or self._unflushed >= _MOST_UNFLUSHED:
            self._commit()

    def _commit(self) -> None:
        """Have the engine acknowledge what was written, then conclude the jobs that are whole."""
        if self._written:
            self._shop.patiently(self._shop.store.flush)
            self._conclude(self._written)
        self._written = []
        self._unflushed = 0
        self._flushed = time.monotonic()

    def _announce(self, job: Job) -> None:
        """Tell the manifest what is about to be written, and keep the files that come with it."""
        if job in self._announced:
            return
        self._announced.add(job)
        self._shop.manifest.announce(job.version)
        self._shop.store.index_payload(fact_indexes(job.facts))
        names = {Path(name).stem: name for name in job.version.figures}
        for digest, image in job.pictures.items():
            if digest in names:
                _keep(self._shop.figures_dir / names[digest], image)
        if job.attachments:
            self._shop.attachments.keep(job.source, job.attachments)

    def _upsert(self, shares: Sequence[Share]) -> None:
        good = [share for share in shares if share.job.error is None]
        points = [point for share in good for point in share.points]
        try:
            if points:
                self._shop.patiently(self._shop.store.upsert, points)
        except InputError as exc:
            if len(good) == 1:
                good[0].job.error = exc
            else:  # one of them spoils the batch for the others: find out which
                for share in good:
                    self._upsert([share])

    def _conclude(self, jobs: Sequence[Job]) -> None:
        """Record jobs that the engine has acknowledged; what they replace is removed only then."""
        self._announced.difference_update(jobs)
        done = [job for job in jobs if job.error is None]
        self._shop.manifest.settle(
            [
                self._row_of(copy, fingerprint=job.version.fingerprint, document_id=copy.document_id)
                for job in done
                for copy in self._copies[job.source.content_hash]
            ],
            ready=[job.version for job in done],
        )
        for job in jobs:
            if job.error is not None:
                self._shop.manifest.abandon([job.version])
                self._quarantine(job.source, job.error)
            else:
                copies = self._copies[job.source.content_hash]
                self.unpacked |= bool(job.attachments) or any(copy.path in self._mails for copy in copies)
                self._tally.finish(job.source)
                self._tally.figures += len(job.version.figures)
                self._tally.chunks += len(job.version.point_ids) - len(job.version.figures)
                self._tally.note(job.source.path, job.notes)
        self._shop.patiently(self._shop.reconcile)

    def _quarantine(self, source: SourceFile, exc: InputError | UnavailableError) -> None:
        """Record why a content cannot be indexed, for every file that has it."""
        error = type(exc).__name__
        lacking = (exc.program,) if isinstance(exc, MissingProgramError) else ()
        made = str(MadeBy(self._shop.pipeline, lacking))
        rows = []
        for copy in self._copies[source.content_hash]:
            good = self._shop.manifest.document_of(copy.path)
            reason = storable(f"{exc}; the last good version stays searchable" if good else str(exc))
            row = self._row_of(copy, fingerprint=made, document_id=good, error=error, reason=reason)
            # Without a hash the file is new to the next run; with one, it is left alone until its content changes.
            passing = isinstance(exc, FileChangedError | UnavailableError)
            rows.append(replace(row, content_hash=None) if passing else row)
            self._tally.quarantine(copy.path, error, reason)
        self._tally.finish(source)
        self._shop.manifest.settle(rows)


def _refuse_changed(source: SourceFile) -> None:
    # Its hash would name a content that was not the one parsed.
    try:
        status = source.location.stat()
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
