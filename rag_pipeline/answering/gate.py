"""A question and evidence -> whether the one can be answered from the other, before anything is written.

Enters: a question and ranked passages. Leaves: the probability that one of them answers, and where it is too low a
refusal that says what was missing. This module knows no model, and no score of a fused list: that compares the passages
of one question, and does not tell whether any of them answers it.

Two signals speak: the share of the question's content words that a passage has, and whether one of its names or numbers
is missing there. A reranker's logit is no third: it told XQuAD's questions apart better than both, and on the example
library, whose questions paraphrase tables and manuals, it refused a quarter of those that can be answered (ADR 28).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from rag_pipeline.answering.terms import Term, languages_of, stems, terms
from rag_pipeline.evidence import Evidence
from rag_pipeline.language import detect_language

__all__ = ["ABSTAIN_BELOW", "EvidenceGate", "Verdict", "signals"]

# Logistic regression over questions of XQuAD en and de, each with and without the paragraph that answers it.
_BIAS, _COVERED, _NAME_MISSING = -4.91, 9.3, -1.77
ABSTAIN_BELOW = 0.09
"""The probability below which 1 % of those questions lie whose paragraph is there."""
_READ = 3
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


class EvidenceGate:
    """Refuses questions that no passage speaks of.

    A question without content words, or in another language than all passages, passes unjudged: there is nothing to
    look for.

    Args:
        abstain_below: The least probability, in [0, 1]; 0 lets everything pass that has evidence at all.
    """

    def __init__(self, *, abstain_below: float = ABSTAIN_BELOW) -> None:
        self._abstain_below = abstain_below

    def judge(self, question: str, evidence: Sequence[Evidence]) -> Verdict:
        """Judge the best of the evidence, which is ordered best first; the rest only helps to say what is missing."""
        readable = [one for one in evidence if one.text.strip()]
        if not readable:
            return Verdict(0.0, "nothing was found that could answer")
        asked = _asked(question, readable)
        if not asked:
            return Verdict(None)
        lacking = [_lacking(asked, one) for one in readable]
        confidence = max(_probability(*signals(asked, missing)) for missing in lacking[:_READ])
        if confidence >= self._abstain_below:
            return Verdict(confidence)
        return Verdict(confidence, f"{_why(lacking)} ({confidence:.2f}, below {self._abstain_below:.2f})")


def signals(asked: Sequence[Term], missing: Sequence[Term]) -> tuple[float, float]:
    """Return the share of words in [0, 1] that a passage has, and 1 if a name or a number is missing, else 0."""
    return 1 - len(missing) / len(asked), float(any(map(_is_key, missing)))


def _probability(covered: float, name_missing: float) -> float:
    return 1 / (1 + math.exp(-(_BIAS + _COVERED * covered + _NAME_MISSING * name_missing)))


def _asked(question: str, evidence: Sequence[Evidence]) -> tuple[Term, ...]:
    """Return the content words of a question, none where it is in another language than all of the evidence."""
    written_in = {one.language for one in evidence} - {""}
    language = detect_language(question)
    if written_in and language and language not in written_in:
        return ()
    found = terms(question, languages_of(question, written_in or None))
    return tuple(term for term in found if term.text.lower() not in _ASKING)


def _lacking(asked: Sequence[Term], evidence: Evidence) -> list[Term]:
    """Return the words that are neither in a passage nor in what it stands under."""
    had = stems(f"{PurePath(evidence.path).stem}\n{' '.join(evidence.heading)}\n{evidence.text}", evidence.language)
    return [term for term in asked if not term.stems & had]


def _is_key(term: Term) -> bool:
    return term.name or any(map(str.isdigit, term.text))


def _why(lacking: Sequence[Sequence[Term]]) -> str:
    nowhere = [term for term in lacking[0] if all(term in missing for missing in lacking[1:])]
    if nowhere:
        return f"no passage mentions {_listed(nowhere)}"
    return f"no passage that was found speaks of all this at once: the best lacks {_listed(min(lacking, key=len))}"


def _listed(words: Sequence[Term]) -> str:
    """Name the first few words, names and numbers before others."""
    return ", ".join(f"'{term.text}'" for term in sorted(words, key=lambda term: not _is_key(term))[:_NAMED])
