"""A question and its hits -> how much each leg counts, and why.

Enters: a question, the languages of the documents and of the model, what `rag tune` found, and the hits of the legs.
Leaves: weights by leg that add up to 1. This module knows nothing of vectors.

One weight does not fit all. With .7 in place of .3 for the dense leg, nDCG@10 is .04 to .07 worse where its model does
not know the language, and .04 to .06 better where the question is in its language and the documents are not. And of two
sets in one language, BM25 is right in the one, whose questions have a rare word or two, and in the way in the other,
whose questions are long (adrs/0023).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rag_pipeline.language import detect_language, plausible_languages
from rag_pipeline.retrieval.fusion import chance
from rag_pipeline.types import Hit

__all__ = ["LegWeights", "Weighing", "knows", "leg_shares", "question_language", "sparse_evidence"]

_KNOWN, _UNSURE, _UNKNOWN, _FOREIGN = 0.5, 0.4, 0.3, 0.7
"""What the dense leg counts beside the sparse one: where its model was trained on the language; where nobody can say;
where it was not; and where it was, but the documents are in another one, with which the question shares few words."""

_NOTHING, _ALL = 0.9, 1.4
"""How far the best sparse hit stands out, in multiples of chance, for the leg to count nothing, and fully."""

_FEW = 10
"""Of fewer candidates none can stand out by 1.4 times what chance gives."""


def question_language(question: str, documents: Collection[str], model: Collection[str] | None) -> str:
    """Return the ISO 639-1 code of a question's language, ``""`` where it cannot be told.

    It is looked for among those of the documents. Where the model has others, it may be one of those: a question that
    is plausible in none of the documents' is foreign.
    """
    spoken, trained = set(documents), set(model or ())
    if spoken and trained - spoken:
        plausible = plausible_languages(question, spoken | trained)
        if plausible and spoken.isdisjoint(plausible):
            return detect_language(question, spoken | trained)
    return detect_language(question, spoken or None)


def knows(model: Collection[str] | None, languages: Collection[str]) -> bool | None:
    """Whether a model was trained on all of these languages; None: on some of them, or nobody can say.

    >>> knows(["en", "de"], ["de"]), knows(["en"], ["de"]), knows(["en"], ["de", "en"]), knows(None, ["en"])
    (True, False, None, None)
    """
    if model is None or not languages:
        return None
    known = [language in model for language in languages]
    return known[0] if len(set(known)) == 1 else None


@dataclass(frozen=True, slots=True)
class Weighing:
    """What each leg counts, adding up to 1, and the reason in words."""

    weights: Mapping[str, float]
    why: str


@dataclass(frozen=True, slots=True)
class LegWeights:
    """How much the legs of text count for a question.

    ``documents`` and ``model`` are languages, ISO 639-1; of the model None: unknown. ``tuned`` is the dense leg's share
    by the language of the question, as `rag tune` found it, and goes before the rule.
    """

    documents: Collection[str] = ()
    model: Collection[str] | None = None
    tuned: Mapping[str, float] = field(default_factory=dict)

    def weigh(self, question: str, legs: Mapping[str, Sequence[Hit]], depth: int) -> Weighing:
        """Return the weights of these legs, ``dense``, ``sparse`` and ``late``, each asked for ``depth`` hits."""
        asked = bool(self.tuned) or self.model is not None  # else the language would make no difference
        share, why = self.share(question_language(question, self.documents, self.model) if asked else "")
        evidence = sparse_evidence(legs, depth)
        if evidence < 1:
            why += f"; the best sparse hit stands out little: that leg counts {evidence:.2f} of its share"
        return Weighing(leg_shares(legs, share, evidence), why)

    def share(self, language: str) -> tuple[float, str]:
        """Return what a leg of the dense model counts beside the sparse one for a question in ``language``, and why."""
        if language in self.tuned:
            return self.tuned[language], f"as rag tune found for {language or 'any language'}"
        asked = [language] if language else sorted(self.documents)
        told, known = ", ".join(asked), knows(self.model, asked)
        if language and self.documents and language not in self.documents:
            if known:
                return _FOREIGN, f"the dense model was trained on {told}, and no document is in it"
            return _KNOWN, f"no document is in {told}, on which the dense model was not trained"
        if known is None:
            return _UNSURE, "nobody says whether the dense model was trained on the language"
        if known:
            return _KNOWN, f"the dense model was trained on {told}"
        return _UNKNOWN, f"the dense model was not trained on {told}"


def sparse_evidence(legs: Mapping[str, Sequence[Hit]], depth: int) -> float:
    """Return from 0 to 1 how far the sparse leg is to be believed, by how far its best hit stands out.

    With z of the best hit, in standard deviations above the mean of all candidates, and what chance gives,
    ``sqrt(2 ln n)``: 0 up to .9 times that, 1 from 1.4 times, in between a line. Where a passage has the rare words of
    a question, BM25 sets it far apart; where it adds up common ones, its best hit differs little from the next.
    """
    candidates = sorted({hit.id for hits in legs.values() for hit in hits if hit.rank <= depth})
    found = {hit.id: hit.score for hit in legs.get("sparse", ())}
    scores = np.array([found.get(id_, 0.0) for id_ in candidates], dtype=np.float64)
    if len(scores) < _FEW or np.ptp(scores) == 0:
        return 1.0
    peak = float((scores.max() - scores.mean()) / scores.std())
    return min(1.0, max(0.0, (peak / chance(len(scores)) - _NOTHING) / (_ALL - _NOTHING)))


def leg_shares(legs: Collection[str], share: float, evidence: float = 1.0) -> dict[str, float]:
    """Return weights that add up to 1: a leg of the dense model has ``share``, the sparse one ``evidence`` of the rest.

    >>> leg_shares(["dense", "sparse"], 0.5), leg_shares(["dense", "sparse"], 0.5, 0.25), leg_shares(["dense"], 0.3)
    ({'dense': 0.5, 'sparse': 0.5}, {'dense': 0.8, 'sparse': 0.2}, {'dense': 1.0})
    """
    odds = {leg: (1 - share) * evidence if leg == "sparse" else share for leg in legs}
    total = sum(odds.values()) or 1.0
    return {leg: value / total for leg, value in odds.items()}
