"""What happened to one query: where each leg put each candidate, how that became one score, what was cut and why.

Enters: what the parts record while they run under :func:`tracing`. Leaves: a :class:`Trace`, and from it JSON values
and back. This module knows nothing of what a part does. It holds the question, ids, paths, ranks and scores; never the
text of a document.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from rag_pipeline.retrieval.evidence import legs_metadata
from rag_pipeline.types import FusedHit, Hit, LegRank

__all__ = ["Candidate", "Trace", "current_trace", "step", "tracing"]

# A context variable, not an argument: between the retriever and the answer lie LlamaIndex's own classes, whose
# signatures have no room for a trace. It follows `asyncio.to_thread`, and concurrent queries each see their own.
_CURRENT: ContextVar[Trace | None] = ContextVar("rag_pipeline_trace", default=None)


@dataclass(slots=True)
class Candidate:
    """What became of one point that a leg found. Ranks count from 1.

    ``rank`` and ``score`` are those of fusion, ``legs`` where each leg had put it; ``logit`` is the reranker's, and
    ``reranked`` the rank and ``blended`` the score after it. ``final`` is its rank in what was returned, or None, and
    then ``cut`` says why. ``place`` is the file, with the page, of those that were fetched.
    """

    id: str
    rank: int
    score: float
    legs: Mapping[str, LegRank] = field(default_factory=dict)
    place: str = ""
    logit: float | None = None
    blended: float | None = None
    reranked: int | None = None
    final: int | None = None
    cut: str = ""


@dataclass(slots=True)
class Trace:
    """The record of one query, filled as it runs; an empty one before. Of several searches under it, the last stays.

    ``timings_ms`` adds up the steps of one name. ``legs`` counts what each leg found by itself, of ``leg_depth`` that
    it was asked for: where both are equal, there is more below. ``formula`` says how fusion scored, with ``weights``
    by leg; it is None where a single leg was asked for. ``reranking`` says how the reranker scored, or why it did not,
    and ``context`` how many tokens were returned.
    """

    query: str = ""
    picture: bool = False
    mode: str = ""
    started: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict)
    legs: dict[str, int] = field(default_factory=dict)
    leg_depth: int = 0
    exact: bool = False
    formula: str | None = None
    weights: dict[str, float] = field(default_factory=dict)
    reranking: str = ""
    context: str = ""
    candidates: dict[str, Candidate] = field(default_factory=dict)

    def record_query(self, query: str, mode: str, *, picture: bool = False) -> None:
        """Keep what was asked, and when (UTC, to the millisecond)."""
        self.query, self.mode, self.picture = query, mode, picture
        self.started = datetime.now(UTC).isoformat(timespec="milliseconds")

    def record_search(
        self,
        legs: Mapping[str, Sequence[Hit]],
        fused: Sequence[FusedHit],
        *,
        depth: int,
        exact: bool,
        formula: str | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """Keep every candidate, best first, with its ranks, and how many each leg found within ``depth``."""
        # Beyond the depth a leg only gives its score of what another leg found.
        self.legs = {leg: sum(hit.rank <= depth for hit in hits) for leg, hits in legs.items()}
        self.leg_depth, self.exact = depth, exact
        self.formula, self.weights = formula, dict(weights or {})
        self.reranking = self.context = ""
        self.candidates = {hit.id: Candidate(hit.id, hit.rank, hit.score, dict(hit.legs)) for hit in fused}

    def record_places(self, places: Mapping[str, str]) -> None:
        """Keep where the points that were fetched come from, such as "report.pdf, page 3"."""
        for id_, place in places.items():
            self._of(id_).place = place

    def record_reranking(self, how: str, scores: Mapping[str, tuple[float, float]]) -> None:
        """Keep (logit, score) of the nodes that were read, best first, and in words how the score is made."""
        self.reranking = how
        for rank, (id_, (logit, score)) in enumerate(scores.items(), start=1):
            candidate = self._of(id_)
            candidate.logit, candidate.blended, candidate.reranked = logit, score, rank

    def record_context(self, how: str) -> None:
        """Keep in words what was added to the hits, and how many tokens all of it has."""
        self.context = how

    def record_cut(self, ids: Iterable[str], why: str) -> None:
        """Keep why these go no further; the first reason stays."""
        for id_ in ids:
            candidate = self._of(id_)
            candidate.cut = candidate.cut or why

    def record_result(self, ids: Sequence[str], rest: str) -> None:
        """Keep what a stage returned, best first, and why the ``rest`` went no further; the last stage's word stays."""
        for candidate in self.candidates.values():
            candidate.final = None
        for rank, id_ in enumerate(ids, start=1):
            candidate = self._of(id_)
            candidate.final, candidate.cut = rank, ""
        self.record_cut([id_ for id_, candidate in self.candidates.items() if candidate.final is None], rest)

    def add_time(self, name: str, ms: float) -> None:
        """Add ``ms`` to the step of this name."""
        self.timings_ms[name] = self.timings_ms.get(name, 0.0) + ms

    def ranked(self) -> list[Candidate]:
        """Return what was returned, in its order, then what was cut, in the order of reranking and fusion."""

        def place(candidate: Candidate) -> tuple[float, float, int]:
            after = candidate.reranked or float("inf")
            return (candidate.final or float("inf"), after, candidate.rank)

        return sorted(self.candidates.values(), key=place)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``fused`` has a row for each candidate, in the order of :meth:`ranked`."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "candidates"}
        values["timings_ms"] = {name: round(ms, 3) for name, ms in self.timings_ms.items()}
        return values | {"fused": [asdict(one) | {"legs": legs_metadata(one.legs)} for one in self.ranked()]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trace:
        """Read what :meth:`to_dict` returned.

        Raises:
            KeyError, TypeError: the values are no trace.
        """
        rest = {name: value for name, value in values.items() if name != "fused"}
        rows = [
            Candidate(**row | {"legs": {leg: LegRank(**at) for leg, at in row["legs"].items()}})
            for row in values["fused"]
        ]
        return cls(**rest, candidates={row.id: row for row in rows})

    def _repr_html_(self) -> str:
        from rag_pipeline.display import trace_html

        return trace_html(self)

    def _of(self, id_: str) -> Candidate:
        # Nodes may come from another retriever, which records nothing: they are ranked as they arrive.
        return self.candidates.setdefault(id_, Candidate(id_, len(self.candidates) + 1, 0.0))


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Make ``trace`` the one that the parts write to, until the block ends."""
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
