"""A statement and the evidence that it cites -> the quotes that support it, or what they lack.

Enters: a sentence that a language model wrote, and evidence. Leaves: the best quote of each evidence that supports it.
Whether a quote *means* what the statement says is beyond this module: it holds the numbers, the names and the content
words of the one against those of the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from rag_pipeline.answering.quotable import quotables
from rag_pipeline.answering.sentences import Span, words
from rag_pipeline.answering.terms import Term, languages_of, numbers, stems, terms
from rag_pipeline.evidence import Evidence
from rag_pipeline.language import detect_language

__all__ = ["Support", "find_support", "support"]

_SHARE = 0.5
"""Least share of a statement's other content words that its quotes have; ADR 28 says what that lets through."""
_UNCITED = 2 / 3
"""The same for a statement that cites nothing, of the words that the question lacks."""
_ABOUT = 1 / 3
"""Least share of the question's words that such a quote has; ADR 28 compares others."""
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


def find_support(statement: str, evidence: Sequence[Evidence], question: str) -> Mapping[int, Span]:
    """Return the quote, by its number in ``evidence``, that supports a statement which cites nothing; {} for none.

    One quote must have the numbers and names that the statement has beyond the question, and two thirds of such other
    words. Since a name or a number alone is soon found in a sentence about something else, it must also speak of what
    is asked: with its headings it has all names and numbers of the question and a third of its words, one of them
    itself. Across languages that cannot be looked for, so there is no quote. Of several the closest is taken, with the
    most of all these words for its length: a document that lists every word draws no citation from one that says it.

    Args:
        statement: One sentence, without citations.
        evidence: All that was shown to who wrote it, best first.
        question: What it answers.
    """
    languages = {one.language for one in evidence}
    said = _Claim.of(statement, languages, question).news()
    asked = replace(_Claim.of(question, languages, question), asked=frozenset[str]())
    if said.foreign or asked.foreign or not said.items:
        return {}
    found = [
        (-len(says.own | about.own) / (len(said.items | asked.items) + says.words), n, says.span)
        for n, one in enumerate(evidence, start=1)
        for says, about in zip(said.quotes(one), asked.quotes(one), strict=True)
        if said.holds([says], _UNCITED) and asked.spoken_of(about)
    ]
    return {n: span for _, n, span in sorted(found)[:1]}


@dataclass(frozen=True, slots=True)
class _Quote:
    """A run of sentences, and the items of a claim that it has: ``own`` in its text, ``given`` by what it is under."""

    span: Span
    words: int
    own: frozenset[str]
    given: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a statement commits itself to: ``items``, of which quotes must have all that are ``required``.

    ``asked`` are those of them that the question has; ``numbered`` the numbers that a word names, such as
    ("otter", "2"). The words of a ``foreign`` one are in another language than all evidence.
    """

    items: frozenset[str]
    terms: tuple[Term, ...]
    numbered: frozenset[tuple[str, str]]
    required: tuple[str, ...]
    asked: frozenset[str]
    foreign: bool

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
            asked=frozenset(asked),
            foreign=foreign,
        )

    def holds(self, quotes: Collection[_Quote], share: float = _SHARE) -> bool:
        own, given = _union(quotes)
        rest = self.items.difference(self.required, given)
        enough = self.foreign or len(own & rest) >= share * len(rest)
        return bool(own) and (own | given).issuperset(self.required) and enough

    def spoken_of(self, quote: _Quote) -> bool:
        """Whether a quote speaks of this claim, which is a question, as :func:`find_support` has it."""
        had = quote.own | quote.given
        return bool(quote.own) and had.issuperset(self.required) and len(had) >= _ABOUT * len(self.items)

    def news(self) -> _Claim:
        """Return what the statement says beyond the question."""
        required = tuple(item for item in self.required if item not in self.asked)
        return replace(self, items=self.items - self.asked, required=required)

    def lacks(self, quotes: Collection[_Quote]) -> str:
        own, given = _union(quotes)
        for item in self.required:
            if item not in own | given:
                return f"{item!r} is not in the evidence that it cites"
        rest = self.items.difference(self.required, given)
        return f"the evidence that it cites has {len(own & rest)} of its {len(rest)} words"

    def best_quote(self, evidence: Evidence) -> _Quote | None:
        """Return the sentence, or the row of a table, that has most of the claim; of equals the shorter."""
        return max(
            self.quotes(evidence), key=lambda quote: (len(quote.own), quote.span[0] - quote.span[1]), default=None
        )

    def quotes(self, evidence: Evidence) -> list[_Quote]:
        """Return every sentence and every row of a table, in order."""
        given = self._given(evidence)
        return [
            _Quote(
                span=(part.start, part.end),
                words=len(words(part.text)),
                own=self._had(f"{part.columns}\n{part.text}", evidence.language),
                given=given,
            )
            for part in quotables(evidence)
        ]

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
            | self.asked.intersection(self.required) & self._had(evidence.text, evidence.language)
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
