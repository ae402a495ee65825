"""A question and evidence -> whether the one can be answered from the other, before anything is written.

Enters: a question and ranked passages. Leaves: the probability that one of them answers, and where it is too low a
refusal that says what was missing. This module knows no model, and no score of a fused list: that compares the passages
of one question, and does not tell whether any of them answers it.

The signals are the share of the question's content words that a passage has, whether one of its names or numbers is
missing there, and a reranker's logit, for which weights were fitted. They see that the documents speak of something
else; none sees that they speak of it and leave out what is asked (ADR 28).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from rag_pipeline.answering.terms import Term, languages_of, stems, terms
from rag_pipeline.evidence import Evidence
from rag_pipeline.language import detect_language

__all__ = ["ABSTAIN_BELOW", "READ", "EvidenceGate", "GateWeights", "Signals", "Verdict", "signals"]

ABSTAIN_BELOW = 0.09
"""The probability below which a question is refused; each weights' bias is set for it."""
READ = 3
"""Passages that may answer: with more of them one has the words by chance, with fewer the right one is cut off."""
_NAMED = 3
# Words that ask, and that no answer has. Stop words of BM25 are most of them, but not "wann", "cuánto" or "combien".
_ASKING = frozenset({
    "how", "what", "when", "where", "which", "who", "whom", "whose", "why",
    "wann", "warum", "weshalb", "wieso", "wie", "wieviel", "wieviele", "was", "wer", "wem", "wen", "wessen",
    "wo", "woher", "wohin", "welche", "welcher", "welches", "welchen", "welchem", "womit", "wofür",
    "qué", "quién", "quiénes", "cuál", "cuáles", "cuándo", "cuánto", "cuánta", "cuántos", "cuántas", "cómo", "dónde",
    "combien", "comment", "quand", "qui", "quoi", "où", "pourquoi", "quel", "quelle", "quels", "quelles",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """``confidence``: the probability that the evidence answers, None where it cannot be told; ``refusal``: why not."""

    confidence: float | None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is seen of one passage: the words of the question that it lacks, their share, and a reranker's logit."""

    missing: tuple[Term, ...]
    covered: float
    logit: float | None

    @property
    def name_missing(self) -> bool:
        """Whether one of the missing words is a name or a number."""
        return any(map(_is_key, self.missing))


@dataclass(frozen=True, slots=True)
class GateWeights:
    """A logistic regression: the log-odds that a passage answers, of its :class:`Signals`."""

    bias: float
    covered: float
    name_missing: float = 0.0
    logit: float = 0.0

    def probability(self, seen: Signals) -> float:
        """Return the probability that a passage with these signals answers; no logit counts as 0."""
        odds = self.bias + self.covered * seen.covered + self.name_missing * seen.name_missing
        return 1 / (1 + math.exp(-(odds + self.logit * (seen.logit or 0.0))))


# Over questions of XQuAD en and de, each with and without the paragraph that answers it; the threshold refuses 1 % of
# those whose paragraph is there.
_WORDS = GateWeights(bias=-4.91, covered=9.3, name_missing=-1.77)


class EvidenceGate:
    """Refuses questions that no passage speaks of.

    A question without content words, or in another language than all passages, passes unjudged: there is nothing to
    look for.

    Args:
        abstain_below: The least probability, in [0, 1]; 0 lets everything pass that has evidence at all.
        read: The weights for passages that the reranker has read, fitted to its logits; None: those are left out.
    """

    def __init__(self, *, abstain_below: float = ABSTAIN_BELOW, read: GateWeights | None = None) -> None:
        self._abstain_below = abstain_below
        self._read = read

    def judge(self, question: str, evidence: Sequence[Evidence]) -> Verdict:
        """Judge the best of the evidence, which is ordered best first; the rest only helps to say what is missing."""
        readable = [one for one in evidence if one.text.strip()]
        if not readable:
            return Verdict(0.0, "nothing was found that could answer")
        seen = signals(question, readable)
        if not seen:
            return Verdict(None)
        confidence = self._confidence(seen[:READ])
        if confidence >= self._abstain_below:
            return Verdict(confidence)
        return Verdict(confidence, f"{_why(seen)} ({confidence:.2f}, below {self._abstain_below:.2f})")

    def _confidence(self, seen: Sequence[Signals]) -> float:
        read = [one for one in seen if one.logit is not None]
        if self._read is None or not read:
            return max(map(_WORDS.probability, seen))
        return max(map(self._read.probability, read))


def signals(question: str, evidence: Sequence[Evidence]) -> list[Signals]:
    """Return what is seen of each passage; nothing where there is nothing to look for."""
    asked = _asked(question, evidence)
    if not asked:
        return []
    lacking = [_lacking(asked, one) for one in evidence]
    return [
        Signals(missing, 1 - len(missing) / len(asked), one.logit)
        for missing, one in zip(lacking, evidence, strict=True)
    ]


def _asked(question: str, evidence: Sequence[Evidence]) -> tuple[Term, ...]:
    """Return the content words of a question, none where it is in another language than all of the evidence."""
    written_in = {one.language for one in evidence} - {""}
    language = detect_language(question)
    if written_in and language and language not in written_in:
        return ()
    found = terms(question, languages_of(question, written_in or None))
    return tuple(term for term in found if term.text.lower() not in _ASKING)


def _lacking(asked: Sequence[Term], evidence: Evidence) -> tuple[Term, ...]:
    """Return the words that are neither in a passage nor in what it stands under."""
    had = stems(f"{PurePath(evidence.path).stem}\n{' '.join(evidence.heading)}\n{evidence.text}", evidence.language)
    return tuple(term for term in asked if not term.stems & had)


def _is_key(term: Term) -> bool:
    return term.name or any(map(str.isdigit, term.text))


def _why(seen: Sequence[Signals]) -> str:
    lacking = [one.missing for one in seen]
    nowhere = [term for term in lacking[0] if all(term in missing for missing in lacking[1:])]
    if nowhere:
        return f"no passage mentions {_listed(nowhere)}"
    least = min(lacking, key=len)
    if least:
        return f"no passage that was found speaks of all this at once: the best lacks {_listed(least)}"
    return "a passage has all the words, and the reranker finds no answer in it"


def _listed(words: Sequence[Term]) -> str:
    """Name the first few words, names and numbers before others."""
    return ", ".join(f"'{term.text}'" for term in sorted(words, key=lambda term: not _is_key(term))[:_NAMED])
