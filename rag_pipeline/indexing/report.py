"""What a run tells: how far it is, and in the end what it did.

Enters: the plan of a run and what became of each file. Leaves: :class:`Progress` and :class:`IngestReport`. This module
does nothing to an index.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rag_pipeline.indexing.sync import Plan
from rag_pipeline.store.payload import display_path
from rag_pipeline.types import SourceFile

__all__ = ["Change", "IngestReport", "Progress", "Quarantined", "Tally"]

_TELLING_SHARE = 0.05
"""Of the bytes; before that a guess of the time left is none."""
_OUTCOMES = ("added", "changed", "unchanged", "renamed", "deleted", "duplicate", "quarantined")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file that is not searchable as it now is; ``reason`` is for a person to act on."""

    path: str
    error: str
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """One file that is not as it was: ``action`` is "added", "changed", ...; a renamed one was at ``before``."""

    action: str
    path: str
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    While it reads the folder, ``done`` of ``total`` files are looked at; while it indexes, ``done`` of the ``total``
    that are new are finished, ``running`` are being parsed, ``chunks`` (and figures) are written. ``seconds_left`` is a
    guess from the bytes that are done, None at first. In the end the engine optimizes itself for searching, which takes
    no time below 50,000 chunks.
    """

    stage: Literal["reading", "indexing", "optimizing"]
    done: int
    total: int
    chunks: int = 0
    quarantined: int = 0
    running: tuple[str, ...] = ()
    chunks_per_second: float = 0.0
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What a run did, or with ``dry_run`` would do.

    ``files`` counts each file once, and ``changes`` lists those that are not as they were; ``chunks`` and ``figures``
    are those written in this run.
    """

    files: Mapping[str, int]
    chunks: int
    figures: int
    seconds: float
    quarantine: tuple[Quarantined, ...]
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the report as ``rag ingest --json`` prints it; a dry run has the list of changes as its plan."""
        plan = {"plan": [asdict(change) for change in self.changes]} if self.dry_run else {}
        return {
            "files": dict(self.files),
            "chunks": self.chunks,
            "figures": self.figures,
            "seconds": round(self.seconds, 3),
            "quarantine": [asdict(item) for item in self.quarantine],
        } | plan


@dataclass(slots=True)
class Tally:
    """The counts of a run while it runs. Every file has one outcome, which quarantine overrides.

    ``chunks`` and ``figures`` are those of finished files, ``written`` all points that the engine was given.
    """

    clock: Callable[[], float] = time.monotonic
    done: int = 0
    total: int = 0
    chunks: int = 0
    figures: int = 0
    written: int = 0
    notes: list[str] = field(default_factory=list)
    _outcomes: dict[Path, str] = field(default_factory=dict)
    _before: dict[Path, Path] = field(default_factory=dict)
    _quarantine: dict[Path, Quarantined] = field(default_factory=dict)
    _started: float = field(init=False)
    _indexing: float | None = None
    _bytes_done: int = 0
    _bytes: int = 0

    def __post_init__(self) -> None:
        self._started = self.clock()

    def plan(self, plan: Plan) -> None:
        """Start from what is planned for each file; of one that an earlier plan had, that plan's outcome stays."""
        for name in ("added", "duplicate", "changed", "unchanged", "quarantined"):
            for source in getattr(plan, name):
                self._outcomes.setdefault(source.path, name)
        for before, source in plan.renamed:
            self._outcomes.setdefault(source.path, "renamed")
            self._before.setdefault(source.path, before)
        for path in plan.deleted:
            self._outcomes.setdefault(path, "deleted")
        self.total += len(plan.parse)
        self._bytes += sum(source.size for source in plan.parse)
        self._indexing = self._indexing or self.clock()

    def finish(self, source: SourceFile) -> None:
        """Count a file that is parsed and written, or given up."""
        self.done += 1
        self._bytes_done += source.size

    def quarantine(self, path: Path, error: str, reason: str) -> None:
        """Count a file as quarantined."""
        self._outcomes[path] = "quarantined"
        self._quarantine[path] = Quarantined(display_path(path), error, reason)

    def note(self, path: Path, notes: Iterable[str]) -> None:
        """Keep remarks on a file."""
        self.notes += [f"{display_path(path)}: {note}" for note in notes]

    def progress(self, running: Sequence[Path] = ()) -> Progress:
        """Return how far the indexing is."""
        now = self.clock()
        seconds = now - (self._indexing or now)
        share = self._bytes_done / self._bytes if self._bytes else 0.0
        left = seconds * (1 / share - 1) if share >= _TELLING_SHARE else None
        return Progress(
            "indexing",
            self.done,
            self.total,
            self.written,
            len(self._quarantine),
            tuple(map(display_path, running)),
            self.written / seconds if seconds > 0 else 0.0,
            left,
        )

    def report(self, *, dry_run: bool) -> IngestReport:
        """Return what the run did."""
        counts = Counter(self._outcomes.values())
        changes = [
            Change(action, display_path(path), display_path(before) if (before := self._before.get(path)) else None)
            for path, action in self._outcomes.items()
            if action != "unchanged"
        ]
        return IngestReport(
            files={name: counts[name] for name in _OUTCOMES},
            chunks=self.chunks,
            figures=self.figures,
            seconds=self.clock() - self._started,
            quarantine=tuple(self._quarantine[path] for path in sorted(self._quarantine, key=os.fsencode)),
            notes=tuple(self.notes),
            changes=tuple(sorted(changes, key=lambda change: change.path)),
            dry_run=dry_run,
        )
