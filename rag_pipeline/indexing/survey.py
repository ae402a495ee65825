"""What is there, what was known, and so what is to be done: the first half of a run.

Enters: what discovery has found, and the manifest. Leaves: a :class:`Survey`. Files are hashed where time stamp and
size do not show that they are what they were; nothing is written. This module knows nothing of parsing and the engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rag_pipeline.documents.discover import Discovery, Refused, read_source
from rag_pipeline.documents.facts import SIDECAR, read_facts
from rag_pipeline.errors import InputError
from rag_pipeline.indexing.attachments import AttachmentFolder
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.indexing.records import FileRow, MadeBy
from rag_pipeline.indexing.sync import Plan, make_plan, needs_reading
from rag_pipeline.store.payload import display_path, storable
from rag_pipeline.types import SourceFile

__all__ = ["Survey", "survey"]


@dataclass(frozen=True, slots=True)
class Survey:
    """The plan, what was refused, what was known before, when looking began (ns since 1970), and remarks."""

    plan: Plan
    refused: tuple[Refused, ...]
    known: Mapping[Path, FileRow]
    checked_ns: int
    notes: tuple[str, ...] = ()


def survey(
    discovery: Discovery,
    manifest: Manifest,
    attachments: AttachmentFolder | None,
    *,
    pipeline: str,
    available: Callable[[str], object],
    retry_quarantined: bool = False,
    on_read: Callable[[int, int], None] = lambda done, total: None,
) -> Survey:
    """Hash what may have changed, and compare it with the manifest.

    ``attachments`` is None where what is attached to mails is no document; ``on_read`` hears of (files looked at, all).
    """
    known = manifest.files()
    checked_ns = manifest.now_ns()
    unpacked = attachments.hashes() if attachments else ()
    sources: list[SourceFile] = []
    notes: list[str] = []
    refused = [replace(item, reason=storable(item.reason)) for item in discovery.refused]
    waiting = deque(discovery.files)
    while waiting:
        found = waiting.popleft()
        row = known.get(found.path)
        try:
            if row is not None and row.content_hash is not None and not needs_reading(found, row):
                place = (found.path, found.root, found.size, found.mtime_ns)
                source = SourceFile(*place, row.content_hash, found.unpacked, found.sidecar)
            else:
                source = read_source(found)
                on_read(len(sources), len(sources) + len(waiting) + 1)
        except InputError as exc:
            refused.append(Refused(found.path, storable(str(exc))))
            continue
        sources.append(source)
        if source.sidecar and (row is None or row.sidecar != source.sidecar):
            notes += _unread(source)
        if attachments and source.content_hash in unpacked:
            waiting.extend(attachments.found_in(source))
    plan = make_plan(
        sources,
        known,
        {version.document_id: MadeBy.parse(version.fingerprint) for version in manifest.versions("ready", "moved")},
        pipeline=pipeline,
        available=available,
        complete_roots=discovery.complete_roots,
        kept=[item.path for item in refused],
        retry_quarantined=retry_quarantined,
    )
    return Survey(plan, tuple(refused), known, checked_ns, tuple(notes))


def _unread(source: SourceFile) -> list[str]:
    try:
        read_facts(source.sidecar)
    except InputError as exc:
        return [f"{display_path(source.path)}{SIDECAR} is left out: {exc}"]
    return []
