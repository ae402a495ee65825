"""What the manifest keeps: values, without SQLite.

This module knows nothing of how they are stored, compared or carried out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rag_pipeline.types import Facts, SourceFile

__all__ = ["FileRow", "MadeBy", "Run", "Summary", "Version", "VersionState", "shown"]

VersionState = Literal["writing", "ready", "moved", "removing"]
"""``moved`` is ready, but its points do not yet show its present paths."""


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What an outcome depends on besides the bytes of the file; its text is the ``fingerprint`` of rows and versions.

    ``pipeline`` names the versions of parser and chunker; ``lacking`` the programs that were not there and would have
    read more; ``name`` is the file's name in words, where the text was taken from it.

    >>> str(MadeBy("parser 1")), str(MadeBy("parser 1", ("tesseract",)))
    ('parser 1', '["parser 1", ["tesseract"], ""]')
    """

    pipeline: str
    lacking: tuple[str, ...] = ()
    name: str = ""

    def __str__(self) -> str:
        if not self.lacking and not self.name:
            return self.pipeline
        return json.dumps([self.pipeline, list(self.lacking), self.name])

    @classmethod
    def parse(cls, fingerprint: str) -> MadeBy:
        """Read what ``str`` wrote."""
        if not fingerprint.startswith("["):
            return cls(fingerprint)
        pipeline, lacking, name = json.loads(fingerprint)
        return cls(pipeline, tuple(lacking), name)

    def holds(self, pipeline: str, available: Callable[[str], object]) -> bool:
        """Tell whether the same file, under the same name, would give the same outcome again."""
        return self.pipeline == pipeline and not any(map(available, self.lacking))


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file as it was last looked at.

    ``document_id`` is what a search finds under this path: the document of ``content_hash``, or, in quarantine
    (``error`` is not empty), the last good version or None. ``fingerprint`` is the text of the :class:`MadeBy` that
    gave this outcome. ``content_hash`` is None where the file could not be read. Times are in ns since 1970.
    ``sidecar`` is the text of the file beside it.
    """

    path: Path
    content_hash: str | None
    size: int
    mtime_ns: int
    checked_ns: int
    fingerprint: str
    document_id: str | None
    error: str = ""
    reason: str = ""
    sidecar: str = ""

    @classmethod
    def of(
        cls,
        source: SourceFile,
        *,
        checked_ns: int,
        fingerprint: str,
        document_id: str | None,
        error: str = "",
        reason: str = "",
    ) -> FileRow:
        """Return the row of a file that was hashed."""
        place = (source.path, source.content_hash, source.size, source.mtime_ns)
        return cls(*place, checked_ns, fingerprint, document_id, error, reason, source.sidecar)


@dataclass(frozen=True, slots=True)
class Version:
    """A document as one parser and chunker saw it, and what the engine holds of it.

    ``fingerprint`` is the text of a :class:`MadeBy`; ``figures`` names the picture file of each figure point;
    ``paths`` are those that the points show, sorted, and ``sidecars`` the texts of the sidecars that they show, in the
    order of their files; ``facts`` is what the document says of itself.
    """

    document_id: str
    fingerprint: str
    state: VersionState
    paths: tuple[Path, ...]
    point_ids: tuple[str, ...]
    figures: tuple[str, ...] = ()
    language: str = ""
    media_type: str = ""
    title: str = ""
    facts: Facts = field(default_factory=Facts)
    sidecars: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One ingestion. ``started`` in seconds since 1970; ``seconds`` and ``report`` are None if it did not finish."""

    started: float
    seconds: float | None
    report: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole index in numbers. ``quarantined`` counts files by the kind of error."""

    indexed: int
    quarantined: Mapping[str, int]
    duplicates: int
    documents: int
    chunks: int
    figures: int
    last_run: Run | None


def shown(places: Mapping[Path, str]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return what points show of files and the texts of their sidecars: all paths, and the texts that say something."""
    return tuple(places), tuple(filter(None, places.values()))
