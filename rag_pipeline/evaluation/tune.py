"""An index and questions whose answers are known -> how much its legs should count and how to rerank, with evidence.

Enters: the engine, the models, questions (:mod:`~rag_pipeline.evaluation.known_items`, or judged ones). Leaves: shares
of the dense leg by language, a :class:`Reranking`, and a row for everything that was tried. This module knows nothing
of files and settings.

What is best on one half of the questions replaces the default only if it is better on the other half, too, by a paired
sign-flip test (p < .05, 10,000 flips; Smucker, Allan and Carterette, CIKM 2007). Made questions share more words with
their answers than people's do, so that they speak for the sparse leg: by them alone its weight grows by one step at
most, however good it looks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import nDCG
from llama_index.core.schema import MetadataMode

from rag_pipeline.protocols import Reranker, Store, TextEncoder
from rag_pipeline.retrieval.calibration import Reranking
from rag_pipeline.retrieval.fusion import convex_fusion
from rag_pipeline.retrieval.leg_weights import LegWeights, leg_shares, sparse_evidence
from rag_pipeline.retrieval.rerank import blended
from rag_pipeline.store.payload import node_of
from rag_pipeline.types import FusedHit, Hit

__all__ = ["Asked", "Question", "Trial", "Tuned", "tune_fusion", "tune_reranking"]

SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
DEPTHS = (5, 10, 20)
BLENDS = (0.1, 0.2, 0.3, 0.5)
_STEP = 0.1
_LEAST_QUESTIONS = 40
"""Of one language; with fewer, no difference worth having is significant."""
_SIGNIFICANT = 0.05
_FLIPS = 10_000
_BATCH = 32

Progress = Callable[[str, int, int], None]
Values = npt.NDArray[np.float64]
Way = TypeVar("Way", float, Reranking)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, in which language, and the grade of each answer by its name."""

    text: str
    language: str
    grades: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions, and the names of points that are not their ids. ``made``: of chunks, not by people."""

    questions: Sequence[Question]
    names: Mapping[str, str] = field(default_factory=dict)
    made: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that was tried: its mean nDCG@10 over so many questions, and what became of it."""

    what: str
    language: str
    questions: int
    ndcg: float
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What differs from the defaults, and every trial."""

    dense: Mapping[str, float]
    trials: Sequence[Trial]
    candidates: Sequence[Sequence[FusedHit]]


def tune_fusion(
    store: Store,
    encoder: TextEncoder,
    asked: Asked,
    rule: LegWeights,
    *,
    depth: int,
    exact: bool,
    on_progress: Progress = lambda stage, done, total: None,
) -> Tuned:
    """Try :data:`SHARES` of the dense leg for each language with 40 questions or more.

    ``rule`` gives the default, ``depth`` the hits of each leg. ``Tuned.candidates`` are the fused hits of each question
    by the shares that were found best.
    """
    legs = _legs(store, encoder, asked.questions, rule, depth, exact, on_progress)
    dense: dict[str, float] = {}
    trials: list[Trial] = []
    for language in sorted({question.language for question in asked.questions}):
        group = [number for number, question in enumerate(asked.questions) if question.language == language]
        default = rule.share(language)[0]
        tried = {
            share: _fused([legs[n] for n in group], share, depth)
            for share in _nearest_first({*SHARES, default}, default)
        }
        values = {share: _ndcg(asked, group, hits) for share, hits in tried.items()}
        allowed = [share for share in values if not asked.made or share >= default - _STEP - 1e-9]
        chosen, why = default, "too few questions"
        if len(group) >= _LEAST_QUESTIONS:
            chosen, why = _best({share: values[share] for share in allowed}, default)
        if chosen != default:
            dense[language] = chosen
        trials += [
            Trial(
                _words(share), language, len(group), float(values[share].mean()), _verdict(share, default, chosen, why)
            )
            for share in sorted(values)
        ]
    shares = {
        question.language: dense.get(question.language, rule.share(question.language)[0])
        for question in asked.questions
    }
    candidates = [
        _fused([found], shares[question.language], depth)[0]
        for found, question in zip(legs, asked.questions, strict=True)
    ]
    return Tuned(dense, trials, candidates)


def tune_reranking(
    store: Store,
    asked: Asked,
    candidates: Sequence[Sequence[FusedHit]],
    readers: Mapping[int, Reranker],
    default: Reranking,
    on_progress: Progress = lambda stage, done, total: None,
) -> tuple[Reranking, list[Trial]]:
    """Try :data:`DEPTHS`, the windows of ``readers`` and :data:`BLENDS`, and not to rerank at all.

    Not reranking costs nothing, so it wins where the best way to rerank is no better on the other half.
    """
    depths = sorted({*DEPTHS, default.depth} - {0})
    logits: dict[int, list[Values]] = {}
    for window, reader in readers.items():
        logits[window] = []
        for done, (question, hits) in enumerate(zip(asked.questions, candidates, strict=True), start=1):
            logits[window].append(_logits(store, reader, question.text, hits[: depths[-1]]))
            on_progress(f"rerank, windows of {window}", done, len(candidates))
    everyone = range(len(candidates))
    values: dict[Reranking, Values] = {Reranking(0, default.window, default.blend): _ndcg(asked, everyone, candidates)}
    for window, read in logits.items():
        for depth in depths:
            for blend in sorted({*BLENDS, default.blend}):
                orders = [_reread(hits, found, depth, blend) for hits, found in zip(candidates, read, strict=True)]
                values[Reranking(depth, window, blend)] = _ndcg(asked, everyone, orders)
    off = next(way for way in values if way.depth == 0)
    chosen, why = _best(values, default) if len(candidates) >= _LEAST_QUESTIONS else (default, "too few questions")
    if why != "too few questions" and chosen.depth and values[chosen][1::2].mean() <= values[off][1::2].mean():
        chosen, why = off, "reranking does not pay"
    trials = [
        Trial(_words(way), "", len(candidates), float(found.mean()), _verdict(way, default, chosen, why))
        for way, found in values.items()
    ]
    return chosen, trials


# ------------------------------------------------------------------------------------ the parts


def _legs(
    store: Store,
    encoder: TextEncoder,
    questions: Sequence[Question],
    rule: LegWeights,
    depth: int,
    exact: bool,
    on_progress: Progress,
) -> list[Mapping[str, Sequence[Hit]]]:
    found: list[Mapping[str, Sequence[Hit]]] = []
    for start in range(0, len(questions), _BATCH):
        batch = [question.text for question in questions[start : start + _BATCH]]
        vectors = encoder.encode_queries(batch, rule.documents)
        asked = [vectors.legs(row) for row in range(len(batch))]
        for legs, terms in zip(asked, vectors.sparse, strict=True):
            if not len(terms.indices):
                del legs["sparse"]
        found += store.search_batch(asked, depth, exact=exact)
        on_progress("search", len(found), len(questions))
    return found


def _fused(legs: Sequence[Mapping[str, Sequence[Hit]]], share: float, depth: int) -> list[list[FusedHit]]:
    return [
        convex_fusion(found, weights=leg_shares(found, share, sparse_evidence(found, depth)), depth=depth)
        for found in legs
    ]


def _logits(store: Store, reader: Reranker, question: str, hits: Sequence[FusedHit]) -> Values:
    """Return (n,) logits; NaN where there is no text to read."""
    records = {record.id: record for record in store.retrieve([hit.id for hit in hits])}
    texts = {id_: node_of(id_, record.payload).get_content(MetadataMode.EMBED) for id_, record in records.items()}
    read = [hit.id for hit in hits if texts.get(hit.id, "").strip()]
    scores = dict(zip(read, reader.score(question, [texts[id_] for id_ in read]).tolist(), strict=True))
    return np.array([scores.get(hit.id, np.nan) for hit in hits], dtype=np.float64)


def _reread(hits: Sequence[FusedHit], logits: Values, depth: int, blend: float) -> list[FusedHit]:
    head = hits[:depth]
    scores = blended(np.array([hit.score for hit in head]), logits[:depth], blend)
    order = sorted(range(len(head)), key=lambda place: (-scores[place], head[place].id))
    return [*(head[place] for place in order), *hits[depth:]]


def _ndcg(asked: Asked, numbers: Sequence[int], found: Sequence[Sequence[FusedHit]]) -> Values:
    """Return nDCG@10 of each question; of hits that answer to one name, the first counts."""
    run: dict[str, dict[str, float]] = {}
    for number, hits in zip(numbers, found, strict=True):
        names = dict.fromkeys(asked.names.get(hit.id, hit.id) for hit in hits)
        run[str(number)] = {name: float(-rank) for rank, name in enumerate(names)} or {"": 0.0}
    judged = {str(number): dict(asked.questions[number].grades) for number in numbers}
    values = {one.query_id: one.value for one in ir_measures.iter_calc([nDCG @ 10], judged, run)}
    return np.array([values.get(str(number), 0.0) for number in numbers], dtype=np.float64)


def _nearest_first(shares: Collection[float], default: float) -> list[float]:
    return sorted(shares, key=lambda share: (round(abs(share - default), 9), share))


def _best(values: Mapping[Way, Values], default: Way) -> tuple[Way, str]:
    """Return the way that is best on the even questions where the odd ones bear it out, else the default; and why.

    Of equally good ones the default is best, then the first.
    """
    first = {way: float(found[0::2].mean()) for way, found in values.items()}
    best = max(first, key=lambda way: (first[way], way == default))
    if best == default:
        return default, "the default is best"
    gains = values[best][1::2] - values[default][1::2]
    chance = _p_value(gains)
    told = f"{gains.mean():+.4f} on the other half, p = {chance:.3f}"
    return (best, told) if chance < _SIGNIFICANT else (default, f"the best, {_words(best)}, is not proved: {told}")


def _p_value(gains: Values) -> float:
    """Return how often chance gives as much: the share of random signs whose sum is no smaller."""
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(_FLIPS, len(gains)))
    return float((signs @ gains >= gains.sum() - 1e-12).mean())


def _words(way: float | Reranking) -> str:
    if not isinstance(way, Reranking):
        return f"dense {way:.2g}"
    return f"depth {way.depth}, window {way.window}, blend {way.blend:g}" if way.depth else "no reranking"


def _verdict(way: object, default: object, chosen: object, why: str) -> str:
    if way == chosen:
        return f"default; {why}" if way == default else f"chosen: {why}"
    return "default" if way == default else ""
