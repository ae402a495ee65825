"""A statement and the evidence that it cites -> the quotes that support it, or what they lack.

Enters: a sentence that a language model wrote, and evidence. Leaves: the best quote of each evidence that supports it.
Whether a quote *means* what the statement says is beyond this module: it holds the numbers, the names and the content
words of the one against those of the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from rag_pipeline.answering.quotable import quotables
from rag_pipeline.answering.sentences import Span
from rag_pipeline.answering.terms import Term, languages_of, numbers, stems, terms
from rag_pipeline.evidence import Evidence
from rag_pipeline.language import detect_language

__all__ = ["Support", "support"]

_SHARE = 0.5
"""Least share of a statement's other content words that its quotes have; ADR 28 says what that lets through."""
_YEAR = 4
_NUMBERED = re.compile(r"([^\W\d_]+)[\s_-]+(\d+)")


@dataclass(frozen=True, slots=True)
class Support:
    """``quotes``: number of an evidence to the span of its text that supports; empty where ``lacks`` says why."""

    quotes: Mapping[int, Span] = field(default_factory=dict)
    lacks: str = ""


def support(statement: str, cited: Mapping[int, Evidence], question: str = "") -> Support:
    """Return the quotes that have a statement's numbers and names, and half of its other content words at least.

    Words of the heading and the file's name are given: the half is of what they lack. So are names and numbers of the
    question, where the evidence has them in any sentence. A quote that has enough alone does. Where none has, those do
    that have it together, each with something that the others lack. The words of a statement in another language than
    the evidence cannot be looked for: then its numbers must be there, and something of it at all.

    Args:
        statement: One sentence, without citations.
        cited: What it cites, by number.
        question: What it answers, and in whose language it may be.
    """
    claim = _Claim.of(statement, {evidence.language for evidence in cited.values()}, question)
    if not claim.items:
        return Support(lacks="it says nothing that can be checked")
    best = {n: quote for n, evidence in cited.items() if (quote := claim.best_quote(evidence))}
    alone = {n: quote.span for n, quote in best.items() if claim.holds([quote])}
    if alone:
        return Support(alone)
    if not claim.holds(best.values()):
        return Support(lacks=claim.lacks(best.values()))
    others = {n: [other.own for m, other in best.items() if m != n] for n in best}
    return Support({n: quote.span for n, quote in best.items() if quote.own.difference(*others[n])})


@dataclass(frozen=True, slots=True)
class _Quote:
    """A run of sentences, and the items of a claim that it has: ``own`` in its text, ``given`` by what it is under."""

    span: Span
    own: frozenset[str]
    given: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a statement commits itself to: ``items``, of which quotes must have all that are ``required``.

    ``asked`` are those of them that the question has; ``numbered`` the numbers that a word names, such as
    ("otter", "2"); ``share`` is that of the items not required.
    """

    items: frozenset[str]
    terms: tuple[Term, ...]
    numbered: frozenset[tuple[str, str]]
    required: tuple[str, ...]
    asked: frozenset[str]
    share: float

    @classmethod
    def of(cls, statement: str, evidence_languages: Collection[str], question: str) -> _Claim:
        known = frozenset(evidence_languages) - {""}
        languages = languages_of(statement, (known | {detect_language(question)}) - {""} or None)
        foreign = bool(known) and not known & set(languages)
        figures = numbers(statement)
        said = tuple(term for term in terms(statement, languages) if not numbers(term.text))
        required = (*figures, *(term.text for term in said if term.name and not foreign))
        named = frozenset[int]().union(*(term.stems for term in terms(question, languages)))
        asked = {term.text for term in said if term.stems & named}.union(numbers(question))
        return cls(
            items=frozenset([*figures, *(term.text for term in said)]),
            terms=said,
            numbered=_numbered(statement),
            required=required,
            asked=frozenset(asked.intersection(required)),
            share=0.0 if foreign else _SHARE,
        )

    def holds(self, quotes: Collection[_Quote]) -> bool:
        own, given = _union(quotes)
        rest = self.items.difference(self.required, given)
        return bool(own) and (own | given).issuperset(self.required) and len(own & rest) >= self.share * len(rest)

    def lacks(self, quotes: Collection[_Quote]) -> str:
        own, given = _union(quotes)
        for item in self.required:
            if item not in own | given:
                return f"{item!r} is not in the evidence that it cites"
        rest = self.items.difference(self.required, given)
        return f"the evidence that it cites has {len(own & rest)} of its {len(rest)} words"

    def best_quote(self, evidence: Evidence) -> _Quote | None:
        """Return the sentence, or the row of a table, that has most of the claim; of equals the shorter."""
        given = self._given(evidence)
        quotes = [
            _Quote((part.start, part.end), self._had(f"{part.columns}\n{part.text}", evidence.language), given)
            for part in quotables(evidence)
        ]
        return max(quotes, key=lambda quote: (len(quote.own), quote.span[0] - quote.span[1]), default=None)

    def _given(self, evidence: Evidence) -> frozenset[str]:
        """Return what need not be in the quote itself, since headings, the file's name or the question say it.

        A heading's number counts as a year, or as part of the same name: any small number is in some heading. What the
        question names must be in the evidence, though not in the same sentence.
        """
        above = f"{PurePath(evidence.path).stem}\n{' '.join(evidence.heading)}"
        counted = {number for _, number in self.numbered & _numbered(above)}
        years = {number for number in numbers(above) if len(number) == _YEAR}
        return (
            self._words(above, evidence.language)
            | self.items.intersection(counted | years)
            | self.asked & self._had(evidence.text, evidence.language)
        )

    def _had(self, text: str, language: str) -> frozenset[str]:
        return self._words(text, language) | self.items.intersection(numbers(text))

    def _words(self, text: str, language: str) -> frozenset[str]:
        stemmed = stems(text, language)
        return frozenset(term.text for term in self.terms if term.stems & stemmed)


def _union(quotes: Collection[_Quote]) -> tuple[frozenset[str], frozenset[str]]:
    own = frozenset[str]().union(*(quote.own for quote in quotes))
    return own, frozenset[str]().union(*(quote.given for quote in quotes))


def _numbered(text: str) -> frozenset[tuple[str, str]]:
    """Return each number with the word right before it: ("otter", "2") of "Otter 2"."""
    return frozenset((word.casefold(), number) for word, number in _NUMBERED.findall(text))
