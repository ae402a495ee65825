"""What the manifest keeps: values, without SQLite.

This module knows nothing of how they are stored, compared or carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rag_pipeline.types import SourceFile

__all__ = ["FileRow", "Run", "Summary", "Version", "VersionState"]

VersionState = Literal["writing", "ready", "moved", "removing"]
"""``moved`` is ready, but its points do not yet show its present paths."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file as it was last looked at.

    ``document_id`` is what a search finds under this path: the document of ``content_hash``, or, in quarantine
    (``error`` is not empty), the last good version or None. ``fingerprint`` is that of the parser and chunker that
    gave this outcome. ``content_hash`` is None where the file could not be read. Times are in ns since 1970.
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
        return cls(*place, checked_ns, fingerprint, document_id, error, reason)


@dataclass(frozen=True, slots=True)
class Version:
    """A document as one parser and chunker saw it, and what the engine holds of it.

    ``figures`` names the picture file of each figure point; ``paths`` are those that the points show, sorted.
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


@dataclass(frozen=True, slots=True)
class Run:
    """One ingestion. ``started`` in seconds since 1970; ``seconds`` and ``report`` are None if it did not finish."""

    started: float
    seconds: float | None
    report: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole index in numbers."""

    indexed: int
    quarantined: int
    documents: int
    chunks: int
    figures: int
    last_run: Run | None
