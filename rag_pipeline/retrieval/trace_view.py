"""A trace -> what a person reads: a few facts, and one table with a row for each candidate.

Enters: a Trace. Leaves: plain texts, which a terminal, a notebook and a plot show in their own ways. This module knows
nothing of how a query runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rag_pipeline.retrieval.trace import Candidate, Trace

__all__ = ["facts", "summary", "table"]

_MOST_CUT = 10
"""Rows shown of what was cut; the rest is counted by its reason."""


def facts(trace: Trace) -> dict[str, str]:
    """Return, name by name, what holds for the whole query; what does not apply is left out."""
    found = {
        "query": f"{trace.query} [and a picture]" if trace.picture else trace.query,
        "asked": ", ".join(part for part in (trace.started, trace.mode, _search(trace)) if part),
        "legs": ", ".join(f"{leg} {_found(count, trace.leg_depth)}" for leg, count in trace.legs.items()),
        "fusion": trace.formula or "",
        "weights": ", ".join(f"{leg} {weight:.3g}" for leg, weight in trace.weights.items()),
        "reranking": trace.reranking,
        "context": trace.context,
        "cut": ", ".join(f"{count} {why}" for why, count in _reasons(trace).items()),
        "time": ", ".join(f"{name} {ms:.1f} ms" for name, ms in trace.timings_ms.items()),
    }
    return {name: value for name, value in found.items() if value}


def table(trace: Trace, most_cut: int = _MOST_CUT) -> list[dict[str, str]]:
    """Return a row of texts for each candidate: first what was returned, then the best ``most_cut`` of what was not.

    A leg's cell is its rank, its score and what it added to the fused score; a rank in brackets lies beyond what the
    leg was asked for.
    """
    ranked = trace.ranked()
    returned = [candidate for candidate in ranked if candidate.final is not None]
    cut = [candidate for candidate in ranked if candidate.final is None]
    read = any(candidate.logit is not None for candidate in ranked)
    return [_row(candidate, trace, read) for candidate in [*returned, *cut[:most_cut]]]


def summary(trace: Trace) -> dict[str, str]:
    """Return one query as one row: when (UTC), how long in ms, what, how many hits, and the first of them."""
    returned = [candidate for candidate in trace.ranked() if candidate.final is not None]
    total = trace.timings_ms.get("total") or sum(trace.timings_ms.values())
    return {
        "asked": trace.started[:19],
        "ms": f"{total:.0f}",
        "mode": trace.mode,
        "hits": str(len(returned)),
        "query": facts(trace).get("query", ""),
        "first": _short(returned[0]) if returned else "",
    }


def _row(candidate: Candidate, trace: Trace, read: bool) -> dict[str, str]:
    row = {"": "" if candidate.final is None else str(candidate.final), "place": _short(candidate)}
    for leg in trace.legs:
        row[leg] = _leg(candidate, leg, trace)
    if trace.formula:
        row["fused"] = f"{candidate.rank}. {candidate.score:.4f}" if candidate.legs else ""
    if read:
        row["logit"] = "" if candidate.logit is None else f"{candidate.logit:.2f}"
        row["reranked"] = "" if candidate.blended is None else f"{candidate.reranked}. {candidate.blended:.4f}"
    return row | {"cut": candidate.cut}


def _leg(candidate: Candidate, leg: str, trace: Trace) -> str:
    at = candidate.legs.get(leg)
    if at is None:
        return ""
    rank = f"{at.rank}." if at.rank <= trace.leg_depth else f"({at.rank}.)"
    return f"{rank} {at.score:.4f} {at.adds:+.4f}" if trace.formula else f"{rank} {at.score:.4f}"


def _short(candidate: Candidate) -> str:
    """Return the file's name and the page; the id of what was never fetched."""
    return candidate.place.rpartition("/")[2] or candidate.id


def _search(trace: Trace) -> str:
    if not trace.legs:
        return ""
    return "exact search" if trace.exact else "approximate search (HNSW)"


def _found(count: int, depth: int) -> str:
    return f"{count} and more below" if depth and count >= depth else str(count)


def _reasons(trace: Trace) -> Mapping[str, int]:
    cut: Sequence[str] = [c.cut for c in trace.ranked() if c.final is None and c.cut]
    return Counter(cut)
