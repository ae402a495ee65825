"""Several ranked lists -> one, with what each leg put in.

Enters: each leg's hits: its own best first, then, ranks going on beyond ``depth``, its true scores of what only other
legs found. Leaves: every candidate once, in a total order (score, then id); a score is the sum of what the legs add.
This module knows nothing of engines, vectors or languages. Of the legs it knows two by name: ``sparse``, whose score of
a point that it does not list is 0 (no common term), and ``image``, which has a rule of its own (:func:`with_pictures`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from rag_pipeline.types import FusedHit, Hit, LegRank

__all__ = [
    "FORMULAS",
    "FUSIONS",
    "Method",
    "chance",
    "convex_fusion",
    "distribution_based_fusion",
    "reciprocal_rank_fusion",
    "relative_score_fusion",
    "with_pictures",
]

Method = Literal["auto", "rrf", "dbsf", "relative", "convex"]
Legs = Mapping[str, Sequence[Hit]]
Weights = Mapping[str, float]
Scores = npt.NDArray[np.float64]
Adds = Mapping[str, Mapping[str, float]]


def reciprocal_rank_fusion(
    legs: Legs, *, weights: Weights | None = None, depth: int | None = None, k: float = 60.0
) -> list[FusedHit]:
    """Fuse by ``score(d) = sum over legs of w / (k + rank(d))``, ranks from 1; without weights, w = 1.

    Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning
    methods", SIGIR 2009, with its k = 60 and its ranks from 1. A leg adds nothing to what it did not find.

    Args:
        legs: Each leg's hits by leg name; their order within a leg does not matter, their ``rank`` does.
        weights: What each leg counts, 0 or more; a leg that is not named counts 0.
        depth: A hit of a higher rank was found by another leg only; None: there are none such.
        k: The paper's constant, above 0. Larger values flatten the advantage of the first ranks.

    Raises:
        ValueError: ``k`` is not positive, a weight is negative, or one leg lists the same id twice.
    """
    if k <= 0:
        raise ValueError(f"k must be positive, got {k}; the paper's value is 60")
    share = _weights(legs, weights, 1.0)
    within = math.inf if depth is None else depth
    return _summed(
        legs,
        {
            leg: {hit.id: share[leg] / (k + hit.rank) if hit.rank <= within else 0.0 for hit in hits}
            for leg, hits in legs.items()
        },
    )


def convex_fusion(legs: Legs, *, weights: Weights | None = None, depth: int | None = None) -> list[FusedHit]:
    """Fuse by ``score(d) = sum over legs of w * (s(d) - mean) / sd``; without weights, each leg counts the same.

    Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 42(1), 2023: a convex
    combination of normalised scores, with the z-score as the normalisation and true scores of every candidate in every
    leg. Mean and population standard deviation are those of one query's candidates. A leg whose scores are all equal
    says nothing; a candidate that a dense leg has no vector for gets 0 from it, which is its mean. A sparse leg counts
    from 0 instead of from its mean, which moves all candidates alike.

    Args and errors are those of :func:`reciprocal_rank_fusion`; candidates beyond ``depth`` of every leg are scored,
    and do not count in mean and deviation.
    """
    return _normalised(legs, weights, depth, lambda scores: (scores.mean(), scores.std()))


def relative_score_fusion(legs: Legs, *, weights: Weights | None = None, depth: int | None = None) -> list[FusedHit]:
    """Fuse by ``score(d) = sum over legs of w * (s(d) - min) / (max - min)``; without weights, legs count the same.

    "CC" with the min-max of Bruch, Gai and Ingber 2023; Weaviate calls it relativeScoreFusion. One candidate far off
    the others stretches its leg's scale. The rest is as in :func:`convex_fusion`.
    """
    return _normalised(legs, weights, depth, lambda scores: (scores.min(), np.ptp(scores)))


def distribution_based_fusion(
    legs: Legs, *, weights: Weights | None = None, depth: int | None = None
) -> list[FusedHit]:
    """Fuse by ``score(d) = sum over legs of w * (s(d) - low) / (high - low)``, low and high = mean -+ 3 sd.

    Mazzeschi, "Distribution-Based Score Fusion (DBSF)", 2023, as Qdrant has it: the sample's deviation, nothing is cut
    off at low and high. Where every candidate has a score in every leg, it orders them as :func:`convex_fusion` does.
    The rest is as there.
    """

    def scale(scores: Scores) -> tuple[float, float]:
        deviation = float(scores.std(ddof=1))
        return float(scores.mean()) - 3 * deviation, 6 * deviation

    return _normalised(legs, weights, depth, scale)


FUSIONS: Mapping[str, Callable[..., list[FusedHit]]] = {
    "dbsf": distribution_based_fusion,
    "relative": relative_score_fusion,
    "convex": convex_fusion,
}
"""Those that go by scores, by their names in the settings."""

FORMULAS: Mapping[Method, str] = {
    "auto": "score = sum over legs of weight * (score - mean) / sd",
    "rrf": "score = sum over legs of weight / ({k:g} + rank)",
    "dbsf": "score = sum over legs of weight * (score - mean + 3 sd) / 6 sd",
    "relative": "score = sum over legs of weight * (score - min) / (max - min)",
    "convex": "score = sum over legs of weight * (score - mean) / sd",
}
"""What a trace says of each method."""


def chance(count: int) -> float:
    """Return ``sqrt(2 ln n)``: how many standard deviations the best of n values that mean nothing stays below.

    Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81(3), 1994.
    """
    return math.sqrt(2 * math.log(max(1, count)))


def with_pictures(fused: Sequence[FusedHit], pictures: Sequence[Hit], depth: int | None = None) -> list[FusedHit]:
    """Put the image leg's hits into a list that :func:`convex_fusion` made of the legs of text.

    An image encoder gives every picture some likeness to every question, so a picture counts only where it stands out:
    its likeness z, in standard deviations of the pictures found, is above t = :func:`chance` of their number. Of fewer
    than four pictures none stands out.

    - A picture with text (a caption, what stands around it) keeps its score, and gets ``z - t`` on top where it stands
      out.
    - A picture without any text, of which the other legs know nothing, has the score z where it stands out, and comes
      behind all that has text where it does not.

    So what has no picture keeps its score and its order, and only a picture that stands out can pass it.
    """
    if not pictures:
        return list(fused)
    found = [hit for hit in pictures if depth is None or hit.rank <= depth]
    likeness = np.array([hit.score for hit in found], dtype=np.float64)
    mean, deviation = (likeness.mean(), likeness.std()) if found and np.ptp(likeness) > 0 else (0.0, 0.0)
    least = chance(len(found))
    floor = min((hit.score for hit in fused), default=0.0)
    totals = {hit.id: hit.score for hit in fused}
    legs = {hit.id: hit.legs for hit in fused}
    for hit in pictures:
        z = float((hit.score - mean) / deviation) if deviation else 0.0
        above = z - least
        alone = z if above > 0 else min(0.0, floor) + above
        adds = max(0.0, above) if hit.id in totals else alone
        totals[hit.id] = totals.get(hit.id, 0.0) + adds
        legs[hit.id] = {**legs.get(hit.id, {}), "image": LegRank(hit.rank, hit.score, adds)}
    return _ranked(totals, legs)


# ------------------------------------------------------------------------------------ the parts


def _normalised(
    legs: Legs,
    weights: Weights | None,
    depth: int | None,
    scale: Callable[[Scores], tuple[float, float]],
) -> list[FusedHit]:
    """Add up the legs' scores as ``w * (score - origin) / unit``; ``scale`` gives origin and unit of a leg's scores."""
    share = _weights(legs, weights, 1.0 / max(1, len(legs)))
    within = math.inf if depth is None else depth
    core = sorted({hit.id for hits in legs.values() for hit in hits if hit.rank <= within})
    adds: dict[str, dict[str, float]] = {}
    for leg, hits in legs.items():
        scores = {hit.id: hit.score for hit in hits}
        # In the order of ids: a mean depends on it in its last bits, and an order of legs must not.
        basis = [scores.get(id_, 0.0) for id_ in core if id_ in scores or leg == "sparse"]
        origin, unit = scale(np.array(basis, dtype=np.float64)) if basis and np.ptp(basis) > 0 else (0.0, 0.0)
        if leg == "sparse":
            origin = 0.0
        factor = share[leg] / float(unit) if unit else 0.0
        adds[leg] = {id_: (score - float(origin)) * factor for id_, score in scores.items()}
    return _summed(legs, adds)


def _weights(legs: Legs, weights: Weights | None, default: float) -> Weights:
    if weights is None:
        return dict.fromkeys(legs, default)
    if any(weight < 0 for weight in weights.values()):
        raise ValueError(f"weights must be 0 or more, got {dict(weights)}")
    return {leg: weights.get(leg, 0.0) for leg in legs}


def _summed(legs: Legs, adds: Adds) -> list[FusedHit]:
    found: dict[str, dict[str, LegRank]] = {}
    totals: dict[str, float] = {}
    # Legs are added up in the order of their names: float addition is not associative, and the caller's order of
    # legs must not move a tie.
    for leg in sorted(legs):
        added = adds[leg]
        for id_, rank, score in legs[leg]:
            places = found.setdefault(id_, {})
            if leg in places:
                raise ValueError(f"leg {leg!r} lists {id_} twice; give each point one rank")
            places[leg] = LegRank(rank, score, added[id_])
            totals[id_] = totals.get(id_, 0.0) + added[id_]
    return _ranked(totals, found)


def _ranked(totals: Mapping[str, float], legs: Mapping[str, Mapping[str, LegRank]]) -> list[FusedHit]:
    ordered = sorted((-total, id_) for id_, total in totals.items())
    return [FusedHit(id_, rank, -total, legs[id_]) for rank, (total, id_) in enumerate(ordered, start=1)]
