"""What a run tells: how far it is, and in the end what it did.

Enters: the plan of a run and what became of each file. Leaves: :class:`Progress` and :class:`IngestReport`. This module
does nothing to an index.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rag_pipeline.indexing.sync import Plan
from rag_pipeline.store.payload import display_path

__all__ = ["IngestReport", "Progress", "Quarantined", "Tally"]

_OUTCOMES = ("added", "changed", "unchanged", "renamed", "deleted", "quarantined")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file that is not searchable as it now is; ``reason`` is for a person to act on."""

    path: str
    error: str
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: files parsed of those to parse, points written, and the file that was parsed last, or ""."""

    done: int
    total: int
    chunks: int
    figures: int
    quarantined: int
    current: str


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What a run did. ``files`` counts each file once; ``chunks`` and ``figures`` are those written in this run."""

    files: Mapping[str, int]
    chunks: int
    figures: int
    seconds: float
    quarantine: tuple[Quarantined, ...]
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the report as ``rag ingest --json`` prints it."""
        return {
            "files": dict(self.files),
            "chunks": self.chunks,
            "figures": self.figures,
            "seconds": round(self.seconds, 3),
            "quarantine": [asdict(item) for item in self.quarantine],
        }


@dataclass(slots=True)
class Tally:
    """The counts of a run while it runs. Every file has one outcome, which quarantine overrides."""

    outcomes: dict[Path, str]
    done: int = 0
    total: int = 0
    chunks: int = 0
    figures: int = 0
    notes: list[str] = field(default_factory=list)
    _quarantine: dict[Path, Quarantined] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan) -> Tally:
        """Start from what is planned for each file."""
        outcomes: dict[Path, str] = {}
        for name in ("added", "changed", "unchanged", "quarantined"):
            outcomes |= {source.path: name for source in getattr(plan, name)}
        outcomes |= {source.path: "renamed" for _, source in plan.renamed}
        outcomes |= dict.fromkeys(plan.deleted, "deleted")
        return cls(outcomes, total=len(plan.parse))

    def quarantine(self, path: Path, error: str, reason: str) -> None:
        """Count a file as quarantined."""
        self.outcomes[path] = "quarantined"
        self._quarantine[path] = Quarantined(display_path(path), error, reason)

    def note(self, path: Path, notes: Iterable[str]) -> None:
        """Keep remarks on a file."""
        self.notes += [f"{display_path(path)}: {note}" for note in notes]

    def progress(self, current: Path | None) -> Progress:
        """Return how far the run is; ``current`` is the file that was parsed last."""
        name = display_path(current) if current else ""
        return Progress(self.done, self.total, self.chunks, self.figures, len(self._quarantine), name)

    def report(self, seconds: float, *, dry_run: bool) -> IngestReport:
        """Return what the run did."""
        counts = Counter(self.outcomes.values())
        return IngestReport(
            files={name: counts[name] for name in _OUTCOMES},
            chunks=self.chunks,
            figures=self.figures,
            seconds=seconds,
            quarantine=tuple(self._quarantine[path] for path in sorted(self._quarantine, key=os.fsencode)),
            notes=tuple(self.notes),
            dry_run=dry_run,
        )
