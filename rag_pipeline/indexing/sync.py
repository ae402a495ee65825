"""What has to be done to make the index true to the folder. Pure: it reads no file and writes nothing.

Enters: the files of a folder with their hashes, and what the manifest knows. Leaves: a :class:`Plan`. This module knows
nothing of parsing, of the engine and of SQLite.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rag_pipeline.documents.discover import Found
from rag_pipeline.indexing.records import FileRow
from rag_pipeline.types import SourceFile

__all__ = ["Plan", "make_plan", "needs_reading"]

_CLOCK_TICK_NS = 2_000_000_000
"""The coarsest time stamp of a file system in use (FAT): a later write within it can leave the time stamp as it was."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Every file is in exactly one of ``added``, ``changed``, ``unchanged``, ``renamed`` (from, to) and ``quarantined``
    (unusable before, and not touched since); ``deleted`` are those that are gone. ``parse`` holds one file for each
    content that is not in the index yet; all others need no parsing and no encoding.
    """

    added: tuple[SourceFile, ...] = ()
    changed: tuple[SourceFile, ...] = ()
    unchanged: tuple[SourceFile, ...] = ()
    renamed: tuple[tuple[Path, SourceFile], ...] = ()
    quarantined: tuple[SourceFile, ...] = ()
    deleted: tuple[Path, ...] = ()
    parse: tuple[SourceFile, ...] = ()

    @property
    def incoming(self) -> tuple[SourceFile, ...]:
        """The files whose place or content is new to the index."""
        return (*self.added, *self.changed, *(source for _, source in self.renamed))


def needs_reading(found: Found | SourceFile, row: FileRow | None) -> bool:
    """Return whether a file must be hashed: time stamp and size do not show that it is what it was."""
    if row is None or row.content_hash is None:
        return True
    if (found.size, found.mtime_ns) != (row.size, row.mtime_ns):
        return True
    return found.mtime_ns > row.checked_ns - _CLOCK_TICK_NS


def make_plan(
    sources: Iterable[SourceFile],
    rows: Mapping[Path, FileRow],
    ready: Collection[str],
    *,
    fingerprint: str,
    complete_roots: Collection[Path],
    kept: Collection[Path] = (),
) -> Plan:
    """Compare a folder with the manifest.

    ``ready`` are the documents that the engine holds as made by ``fingerprint``, the parser and chunker in use.
    ``kept`` are paths that are there but could not be read; they, and whatever is outside ``complete_roots``, are not
    taken as deleted.
    """
    found = sorted(sources, key=lambda source: os.fsencode(source.path))
    present = {source.path for source in found} | set(kept)
    gone = sorted(
        (path for path in rows if path not in present and any(path.is_relative_to(root) for root in complete_roots)),
        key=os.fsencode,
    )
    movable: dict[str | None, list[Path]] = defaultdict(list)
    for path in reversed(gone):
        if not rows[path].error:
            movable[rows[path].content_hash].append(path)

    added: list[SourceFile] = []
    changed: list[SourceFile] = []
    unchanged: list[SourceFile] = []
    quarantined: list[SourceFile] = []
    renamed: list[tuple[Path, SourceFile]] = []
    for source in found:
        row = rows.get(source.path)
        if row is None and movable[source.content_hash]:
            renamed.append((movable[source.content_hash].pop(), source))
        elif row is None:
            added.append(source)
        elif row.content_hash != source.content_hash:
            changed.append(source)
        elif row.error:
            (quarantined if row.fingerprint == fingerprint else changed).append(source)
        else:
            (unchanged if source.document_id in ready else changed).append(source)

    moved = {path for path, _ in renamed}
    plan = Plan(
        added=tuple(added),
        changed=tuple(changed),
        unchanged=tuple(unchanged),
        renamed=tuple(renamed),
        quarantined=tuple(quarantined),
        deleted=tuple(path for path in gone if path not in moved),
    )
    parse: dict[str, SourceFile] = {}
    for source in sorted(plan.incoming, key=lambda source: os.fsencode(source.path)):
        if source.document_id not in ready:
            parse.setdefault(source.content_hash, source)
    return replace(plan, parse=tuple(parse.values()))
