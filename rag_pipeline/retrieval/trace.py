"""What happened to one query: the time of each step, how much each leg found, and the fusion arithmetic.

Enters: steps, as the parts run them under :func:`tracing`. Leaves: JSON values for `--explain` and `timings_ms`.
This module knows nothing of what a step does. It holds ids, ranks and scores, never text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from rag_pipeline.types import FusedHit, Hit

__all__ = ["Trace", "current_trace", "step", "tracing"]

# A context variable, not an argument: between the retriever and the answer lie LlamaIndex's own classes, whose
# signatures have no room for a trace. It follows `asyncio.to_thread`, and concurrent queries each see their own.
_CURRENT: ContextVar[Trace | None] = ContextVar("rag_pipeline_trace", default=None)


@dataclass(slots=True)
class Trace:
    """The record of one query, filled as it runs; an empty one before.

    ``timings_ms`` adds up the steps of one name; ``rrf_k`` is None where a single leg was asked for.
    """

    timings_ms: dict[str, float] = field(default_factory=dict)
    legs: dict[str, int] = field(default_factory=dict)
    exact: bool = False
    rrf_k: float | None = None
    fused: tuple[FusedHit, ...] = ()

    def record_search(
        self,
        legs: Mapping[str, Sequence[Hit]],
        fused: Sequence[FusedHit],
        *,
        rrf_k: float | None,
        exact: bool,
    ) -> None:
        """Keep how many hits each leg gave, and the finalists with their ranks in every leg."""
        self.legs = {leg: len(hits) for leg, hits in legs.items()}
        self.fused, self.rrf_k, self.exact = tuple(fused), rrf_k, exact

    def add_time(self, name: str, ms: float) -> None:
        """Add ``ms`` to the step of this name."""
        self.timings_ms[name] = self.timings_ms.get(name, 0.0) + ms

    def to_dict(self) -> dict[str, object]:
        """Return JSON values: ``timings_ms``, ``legs``, ``exact``, ``formula``, and a row per finalist in ``fused``."""
        return {
            "timings_ms": {name: round(ms, 3) for name, ms in self.timings_ms.items()},
            "legs": self.legs,
            "exact": self.exact,
            "formula": None if self.rrf_k is None else f"score = sum over legs of 1 / ({self.rrf_k:g} + rank)",
            "fused": [self._row(hit) for hit in self.fused],
        }

    def _row(self, hit: FusedHit) -> dict[str, object]:
        legs: dict[str, dict[str, float]] = {}
        for leg, place in hit.legs.items():
            legs[leg] = {"rank": place.rank, "score": place.score}
            if self.rrf_k is not None:
                legs[leg]["adds"] = 1.0 / (self.rrf_k + place.rank)
        return {"id": hit.id, "rank": hit.rank, "score": hit.score, "legs": legs}


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Make ``trace`` the one that :func:`step` writes to, until the block ends."""
    token = _CURRENT.set(trace)
    try:
        yield trace
    finally:
        _CURRENT.reset(token)


def current_trace() -> Trace | None:
    """Return the trace of the query that is running, or None where nobody asked for one."""
    return _CURRENT.get()


@contextmanager
def step(name: str) -> Iterator[None]:
    """Add the wall-clock time of the block, in ms, to the running trace; a failed step is timed too."""
    started = time.perf_counter()
    try:
        yield
    finally:
        trace = _CURRENT.get()
        if trace is not None:
            trace.add_time(name, (time.perf_counter() - started) * 1000)
