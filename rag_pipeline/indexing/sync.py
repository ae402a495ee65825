"""What has to be done to make the index true to the folder. Pure: it reads no file and writes nothing.

Enters: the files of a folder with their hashes, and what the manifest knows. Leaves: a :class:`Plan`. This module knows
nothing of parsing, of the engine and of SQLite.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rag_pipeline.documents.discover import Found
from rag_pipeline.documents.figures import readable_name
from rag_pipeline.indexing.records import FileRow, MadeBy
from rag_pipeline.types import SourceFile

__all__ = ["Plan", "make_plan", "needs_reading"]

_CLOCK_TICK_NS = 2_000_000_000
"""The coarsest time stamp of a file system in use (FAT): a later write within it can leave the time stamp as it was."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Every file is in exactly one of ``added``, ``duplicate`` (new, with the content of another), ``changed``,
    ``unchanged``, ``renamed`` (from, to) and ``quarantined`` (unusable before, and not touched since); ``deleted`` are
    those that are gone. A file whose sidecar changed is ``changed``, too. ``parse`` holds one file for each content
    that is not in the index yet; all others need no parsing and no encoding.
    """

    added: tuple[SourceFile, ...] = ()
    duplicate: tuple[SourceFile, ...] = ()
    changed: tuple[SourceFile, ...] = ()
    unchanged: tuple[SourceFile, ...] = ()
    renamed: tuple[tuple[Path, SourceFile], ...] = ()
    quarantined: tuple[SourceFile, ...] = ()
    deleted: tuple[Path, ...] = ()
    parse: tuple[SourceFile, ...] = ()

    @property
    def incoming(self) -> tuple[SourceFile, ...]:
        """The files whose place or content is new to the index."""
        return (*self.added, *self.duplicate, *self.changed, *(source for _, source in self.renamed))


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
    made: Mapping[str, MadeBy],
    *,
    pipeline: str,
    available: Callable[[str], object],
    complete_roots: Collection[Path],
    kept: Collection[Path] = (),
    retry_quarantined: bool = False,
) -> Plan:
    """Compare a folder with the manifest.

    ``made`` tells of each document that the engine holds how its points were made; they are good if ``pipeline``, the
    parser and chunker in use, would make them again with the programs that are ``available``. ``kept`` are paths that
    are there but could not be read; they, what came out of them, and whatever is outside ``complete_roots``, are not
    taken as deleted.
    """
    found = sorted(sources, key=lambda source: os.fsencode(source.path))
    present = {source.path for source in found} | set(kept)
    inside = {path for path in rows if any(path.is_relative_to(root) for root in complete_roots)}
    ready = _ready(found, [row for path, row in rows.items() if path not in inside], made, pipeline, available)
    # What is attached to a mail is found only where the mail has been read.
    unread = {source.path for source in found if source.document_id not in ready} | set(kept)
    gone = sorted(
        (path for path in inside if path not in present and not any(parent in unread for parent in path.parents)),
        key=os.fsencode,
    )
    movable: dict[str | None, list[Path]] = defaultdict(list)
    for path in reversed(gone):
        if not rows[path].error:
            movable[rows[path].content_hash].append(path)

    new: list[SourceFile] = []
    changed: list[SourceFile] = []
    unchanged: list[SourceFile] = []
    quarantined: list[SourceFile] = []
    renamed: list[tuple[Path, SourceFile]] = []
    for source in found:
        row = rows.get(source.path)
        if row is None and movable[source.content_hash]:
            renamed.append((movable[source.content_hash].pop(), source))
        elif row is None:
            new.append(source)
        elif row.content_hash != source.content_hash:
            changed.append(source)
        elif row.error:
            same = MadeBy.parse(row.fingerprint).holds(pipeline, available)
            (quarantined if same and not retry_quarantined else changed).append(source)
        else:
            same = source.document_id in ready and row.sidecar == source.sidecar
            (unchanged if same else changed).append(source)

    going = set(gone)
    held: set[str | None] = {source.content_hash for source in (*changed, *unchanged, *(one for _, one in renamed))}
    held |= {row.content_hash for path, row in rows.items() if path not in present and path not in going}
    added: list[SourceFile] = []
    duplicate: list[SourceFile] = []
    for source in new:
        (duplicate if source.content_hash in held else added).append(source)
        held.add(source.content_hash)

    moved = {path for path, _ in renamed}
    plan = Plan(
        added=tuple(added),
        duplicate=tuple(duplicate),
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


def _ready(
    found: Iterable[SourceFile],
    elsewhere: Iterable[FileRow],
    made: Mapping[str, MadeBy],
    pipeline: str,
    available: Callable[[str], object],
) -> set[str]:
    """Return the documents whose points are as they would be made now."""
    ready = {document for document, by in made.items() if by.holds(pipeline, available)}
    named = {document for document in ready if made[document].name}
    # Their text is a file's name: that of the first path among those found, or among all that are known.
    here: dict[str, Path] = {}
    for source in found:
        if source.document_id in named:
            here.setdefault(source.document_id, source.path)
    known = dict(here)
    for row in elsewhere:
        if row.document_id in named:
            known[row.document_id] = min(row.path, known.get(row.document_id, row.path), key=os.fsencode)
    renamed = {
        document
        for document in named
        if made[document].name not in {readable_name(paths[document]) for paths in (here, known) if document in paths}
    }
    return ready - renamed
