"""Several ranked lists -> one, with where each list had put a point.

Enters: each leg's hits. Leaves: fused hits in a total order. This module knows nothing of engines, vectors or what
a score means: only ranks are used, because the legs' scores have different units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag_pipeline.types import FusedHit, Hit, LegRank

__all__ = ["reciprocal_rank_fusion"]


def reciprocal_rank_fusion(
    legs: Mapping[str, Sequence[Hit]], *, k: float = 60.0, limit: int | None = None
) -> list[FusedHit]:
    """Fuse ranked lists by ``score(d) = sum over legs of 1 / (k + rank(d))``, ranks from 1.

    Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning
    methods", SIGIR 2009, with its k = 60 and its ranks from 1. A leg that did not find a point adds nothing.
    The order is total: score descending, then id ascending.

    Args:
        legs: Each leg's hits by leg name; their order within a leg does not matter, their ``rank`` does.
        k: The paper's constant, above 0. Larger values flatten the advantage of the first ranks.
        limit: How many fused hits to return; None: all.

    Returns:
        Fused hits, ranks from 1, each with its ``LegRank`` in every leg that found it.

    Raises:
        ValueError: ``k`` is not positive, or one leg lists the same id twice.
    """
    if k <= 0:
        raise ValueError(f"k must be positive, got {k}; the paper's value is 60")
    found: dict[str, dict[str, LegRank]] = {}
    # Legs are added up in the order of their names: float addition is not associative, and the caller's order of
    # legs must not move a tie.
    for leg in sorted(legs):
        for hit in legs[leg]:
            places = found.setdefault(hit.id, {})
            if leg in places:
                raise ValueError(f"leg {leg!r} lists {hit.id} twice; give each point one rank")
            places[leg] = LegRank(hit.rank, hit.score)
    scored = [(sum(1.0 / (k + place.rank) for place in places.values()), id_) for id_, places in found.items()]
    scored.sort(key=lambda entry: (-entry[0], entry[1]))
    return [FusedHit(id_, rank, score, found[id_]) for rank, (score, id_) in enumerate(scored[:limit], start=1)]
