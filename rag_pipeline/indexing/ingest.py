"""One run that makes the index true to folders, and can be cut off at any moment.

Enters: roots. Leaves: an :class:`IngestReport`, and an index whose documents are those of the folders. The order
makes it safe: intent into the manifest, points into the engine, flush, outcome into the manifest, old points out of the
engine, and then out of the manifest. What was searchable stays so until its successor is. This module knows nothing of
formats, of models and of the engine; it is given them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rag_pipeline.documents.discover import Discovery, Refused, read_source
from rag_pipeline.errors import InputError
from rag_pipeline.indexing.loader import Loader, Parser
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.indexing.reconcile import reconcile
from rag_pipeline.indexing.records import FileRow
from rag_pipeline.indexing.report import IngestReport, Progress, Quarantined, Tally
from rag_pipeline.indexing.sync import Plan, make_plan, needs_reading
from rag_pipeline.indexing.writer import PointWriter
from rag_pipeline.protocols import ImageEncoder, Store, TextEncoder
from rag_pipeline.store.payload import storable
from rag_pipeline.types import Chunk, Document, SourceFile

__all__ = ["IngestReport", "Ingestor", "Parser", "Progress", "Quarantined"]

log = logging.getLogger(__name__)

_BATCH = 64
"""Chunks encoded and written together: enough to fill the encoder's token budget, little enough to repeat."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What a run has found: the plan, what was refused, and what was known before."""

    plan: Plan
    refused: tuple[Refused, ...]
    known: Mapping[Path, FileRow]
    checked_ns: int


class Ingestor:
    """Parses, chunks, encodes and writes what has changed, and removes what is gone.

    ``parse_pool`` opens the parsers, and is called only where there is something to parse. ``pipeline_fingerprint``
    names the versions of parser and chunker: where it is not that of a document's points, its files count as changed.
    """

    def __init__(
        self,
        *,
        store: Store,
        manifest: Manifest,
        encoder: TextEncoder,
        image_encoder: ImageEncoder | None,
        figures_dir: Path,
        parse_pool: Callable[[], AbstractContextManager[Parser]],
        chunk: Callable[[Document], list[Chunk]],
        pipeline_fingerprint: str,
        batch: int = _BATCH,
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._encoder = encoder
        self._image_encoder = image_encoder
        self._figures_dir = figures_dir
        self._reconcile = partial(reconcile, store, manifest, figures_dir)
        self._parse_pool = parse_pool
        self._chunk = chunk
        self._fingerprint = pipeline_fingerprint
        self._batch = batch

    def run(
        self,
        roots: Sequence[Path],
        *,
        discover: Callable[[Sequence[Path]], Discovery],
        dry_run: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Make the index true to ``roots``; with ``dry_run``, only say what would be done.

        Raises:
            InputError: a root does not exist.
            UnavailableError: the engine failed or the disk is full; the next run goes on from there.
        """
        started = time.monotonic()
        discovery = discover(roots)
        if dry_run:
            return self._tally(self._look(discovery)).report(time.monotonic() - started, dry_run=True)
        number = self._manifest.begin_run()
        notes = self._recover()
        look = self._look(discovery)
        tally = self._tally(look)
        tally.notes += notes
        self._settle(look)
        if look.plan.parse:
            loader = Loader(
                look.plan,
                tally,
                writer=PointWriter(self._store, self._encoder, self._image_encoder, self._batch),
                manifest=self._manifest,
                reconcile=self._reconcile,
                figures_dir=self._figures_dir,
                chunk=self._chunk,
                checked_ns=look.checked_ns,
                fingerprint=self._fingerprint,
            )
            with self._parse_pool() as parser:
                loader.load(parser, on_progress or (lambda progress: None))
        report = tally.report(time.monotonic() - started, dry_run=False)
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

    def _look(self, discovery: Discovery) -> _Look:
        """Hash what may have changed, and compare it with the manifest."""
        known = self._manifest.files()
        checked_ns = self._manifest.now_ns()
        sources, refused = [], [replace(item, reason=storable(item.reason)) for item in discovery.refused]
        for found in discovery.files:
            row = known.get(found.path)
            if row is not None and row.content_hash is not None and not needs_reading(found, row):
                sources.append(SourceFile(found.path, found.root, found.size, found.mtime_ns, row.content_hash))
                continue
            try:
                sources.append(read_source(found))
            except InputError as exc:
                refused.append(Refused(found.path, storable(str(exc))))
        held = self._manifest.versions("ready", "moved")
        plan = make_plan(
            sources,
            known,
            {version.document_id for version in held if version.fingerprint == self._fingerprint},
            fingerprint=self._fingerprint,
            complete_roots=discovery.complete_roots,
            kept=[item.path for item in refused],
        )
        return _Look(plan, tuple(refused), known, checked_ns)

    def _tally(self, look: _Look) -> Tally:
        tally = Tally.of(look.plan)
        for source in look.plan.quarantined:
            row = look.known[source.path]
            tally.quarantine(source.path, row.error, row.reason)
        for item in look.refused:
            tally.quarantine(item.path, InputError.__name__, item.reason)
        return tally

    def _settle(self, look: _Look) -> None:
        """Record what needs no parsing: copies, renames, deletions, refusals, and new time stamps."""
        plan, known = look.plan, look.known
        pending = {source.content_hash for source in plan.parse}
        row_of = partial(FileRow.of, checked_ns=look.checked_ns, fingerprint=self._fingerprint)
        rows = [row_of(one, document_id=one.document_id) for one in plan.incoming if one.content_hash not in pending]
        # A renamed file that must be parsed anew stays searchable in its old version meanwhile.
        rows += [
            row_of(to, document_id=known[old].document_id) for old, to in plan.renamed if to.content_hash in pending
        ]
        for source in (*plan.unchanged, *plan.quarantined):
            row = known[source.path]
            if needs_reading(source, row):
                rows.append(row_of(source, document_id=row.document_id, error=row.error, reason=row.reason))
        for item in look.refused:
            before = known.get(item.path)
            if before is None or before.reason != item.reason:
                good = before.document_id if before else None
                unread = FileRow(item.path, None, 0, 0, look.checked_ns, self._fingerprint, good)
                rows.append(replace(unread, error=InputError.__name__, reason=item.reason))
        self._manifest.settle(rows, [*plan.deleted, *(old for old, _ in plan.renamed)])
        self._reconcile()
