"""One run that makes the index true to folders, and can be cut off at any moment.

Enters: roots. Leaves: an :class:`IngestReport`, and an index whose documents are those of the folders. The order
makes it safe: intent into the manifest, points into the engine, flush, outcome into the manifest, old points out of the
engine, and then out of the manifest. What was searchable stays so until its successor is. This module knows nothing of
formats, of models and of the engine; it is given them.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from rag_pipeline.documents.discover import Discovery
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.indexing.attachments import AttachmentFolder
from rag_pipeline.indexing.jobs import BatchEncoder
from rag_pipeline.indexing.loader import Loader, Parser, Workshop
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.indexing.reconcile import reconcile
from rag_pipeline.indexing.records import FileRow
from rag_pipeline.indexing.report import Change, IngestReport, Progress, Quarantined, Tally
from rag_pipeline.indexing.survey import Survey, survey
from rag_pipeline.indexing.sync import needs_reading
from rag_pipeline.protocols import ImageEncoder, Store, TextEncoder
from rag_pipeline.types import Chunk, Document

__all__ = ["Change", "IngestReport", "Ingestor", "Parser", "Progress", "Quarantined"]

log = logging.getLogger(__name__)

_BATCH = 64
"""Chunks encoded and written together: enough to fill the encoder's token budget, little enough to repeat."""
_DEEPEST_MAIL = 5
"""Mails attached to mails that are unpacked; what is nested deeper stays inside."""


class Ingestor:
    """Parses, chunks, encodes and writes what has changed, and removes what is gone.

    ``index`` is the folder of pictures and attachments. ``parse_pool`` opens the parsers, and is called only where
    there is something to parse. ``pipeline`` names the versions of parser and chunker: where a document's points were
    made by another, its files count as changed. ``queue`` documents or batches wait between two stages; what is
    written is committed every ``flush_s`` seconds. ``available`` tells whether an outside program is there. ``retry``
    repeats what failed for a reason that may pass.
    """

    def __init__(
        self,
        *,
        store: Store,
        manifest: Manifest,
        encoder: TextEncoder,
        image_encoder: ImageEncoder | None,
        index: Path,
        parse_pool: Callable[[], AbstractContextManager[Parser]],
        chunk: Callable[[Document], list[Chunk]],
        pipeline: str,
        attachments: bool = False,
        batch: int = _BATCH,
        queue: int = 2,
        flush_s: float = 5.0,
        available: Callable[[str], object] = shutil.which,
        retry: Retrying | None = None,
    ) -> None:
        self._manifest = manifest
        self._store = store
        self._parse_pool = parse_pool
        self._attachments = AttachmentFolder(index / "attachments")
        self._unpacks = attachments
        self._available = lambda name: attachments if name == "attachments" else available(name)
        self._reconcile = partial(reconcile, store, manifest, index / "figures")
        self._shop = Workshop(
            store=store,
            manifest=manifest,
            batches=BatchEncoder(encoder, image_encoder, batch),
            chunk=chunk,
            figures_dir=index / "figures",
            attachments=self._attachments,
            reconcile=self._reconcile,
            pipeline=pipeline,
            queue=queue,
            flush_s=flush_s,
            patiently=retry
            or Retrying(
                retry=retry_if_exception_type(UnavailableError),
                stop=stop_after_attempt(4),
                wait=wait_exponential(multiplier=0.5),
                reraise=True,
            ),
        )

    def run(
        self,
        roots: Sequence[Path],
        *,
        discover: Callable[[Sequence[Path]], Discovery],
        dry_run: bool = False,
        retry_quarantined: bool = False,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> IngestReport:
        """Make the index true to ``roots``; with ``dry_run``, only say what would be done.

        Raises:
            InputError: a root does not exist.
            UnavailableError: the engine failed or the disk is full; the next run goes on from there.
        """
        tally = Tally()
        discovery = discover(roots)
        look = partial(
            survey,
            discovery,
            self._manifest,
            self._attachments if self._unpacks else None,
            pipeline=self._shop.pipeline,
            available=self._available,
            on_read=lambda done, total: on_progress(Progress("reading", done, total)),
        )
        if dry_run:
            self._count(tally, look(retry_quarantined=retry_quarantined))
            return tally.report(dry_run=True)
        number = self._manifest.begin_run()
        tally.notes += self._recover()
        for depth in range(_DEEPEST_MAIL + 1):
            seen = look(retry_quarantined=retry_quarantined and depth == 0)
            self._count(tally, seen)
            self._settle(seen)
            if not self._load(seen, tally, on_progress):
                break
        if tally.written:
            on_progress(Progress("optimizing", 0, 1))
            self._store.optimize()
        self._attachments.sweep(self._manifest.content_hashes() if self._unpacks else ())
        report = tally.report(dry_run=False)
        self._manifest.end_run(number, report.seconds, report.to_json())
        return report

    def _recover(self) -> list[str]:
        """Undo what a run that was cut off had half written, and finish what it had decided."""
        half = self._manifest.versions("writing")
        if half:
            log.info("the last run was cut off while it wrote %s documents", len(half))
            self._manifest.abandon(half)
        self._reconcile()
        held = self._manifest.versions("ready")
        points = sum(len(version.point_ids) for version in held)
        if (count := self._store.count()) >= points:
            return []
        self._manifest.distrust()
        return [f"the engine holds {count} of {points} points; every document is written again"]

    def _load(self, look: Survey, tally: Tally, on_progress: Callable[[Progress], None]) -> bool:
        """Parse and write what is new; return whether that brought files to light which are to be looked at."""
        if not look.plan.parse:
            return False
        loader = Loader(self._shop, look, tally)
        with self._parse_pool() as parser:
            loader.load(parser, on_progress)
        return self._unpacks and loader.unpacked

    def _count(self, tally: Tally, look: Survey) -> None:
        tally.plan(look.plan)
        tally.notes += look.notes
        for source in look.plan.quarantined:
            row = look.known[source.path]
            tally.quarantine(source.path, row.error, row.reason)
        for item in look.refused:
            tally.quarantine(item.path, InputError.__name__, item.reason)

    def _settle(self, look: Survey) -> None:
        """Record what needs no parsing: copies, renames, deletions, refusals, and new time stamps."""
        plan, known = look.plan, look.known
        pending = {source.content_hash for source in plan.parse}
        row_of = partial(FileRow.of, checked_ns=look.checked_ns)
        made = self._shop.pipeline
        rows = [
            row_of(one, fingerprint=made, document_id=one.document_id)
            for one in plan.incoming
            if one.content_hash not in pending
        ]
        # A renamed file that must be parsed anew stays searchable in its old version meanwhile.
        rows += [
            row_of(to, fingerprint=made, document_id=known[old].document_id)
            for old, to in plan.renamed
            if to.content_hash in pending
        ]
        for source in (*plan.unchanged, *plan.quarantined):
            row = known[source.path]
            if needs_reading(source, row) or source.sidecar != row.sidecar:
                seen = row_of(source, fingerprint=row.fingerprint, document_id=row.document_id)
                rows.append(replace(seen, error=row.error, reason=row.reason))
        for item in look.refused:
            before = known.get(item.path)
            if before is None or before.reason != item.reason:
                good = before.document_id if before else None
                unread = FileRow(item.path, None, 0, 0, look.checked_ns, made, good)
                rows.append(replace(unread, error=InputError.__name__, reason=item.reason))
        self._manifest.settle(rows, [*plan.deleted, *(old for old, _ in plan.renamed)])
        self._reconcile()
