"""Text and evidence -> citations whose quotes are verbatim.

Enters: evidence, and a place in it or a text that refers to it by number. Leaves: citations, each with the exact
quote, and text in which every statement cites one. This module knows nothing of how the text was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rag_pipeline.answering.sentences import Span, sentences, words
from rag_pipeline.answering.support import Support, find_support, support
from rag_pipeline.evidence import Citation, Evidence
from rag_pipeline.retrieval.evidence import boxes_of

__all__ = ["Citations", "StatementChecker", "check_citations", "cite", "find_quote"]

_MARKER = re.compile(r"\s*\[(\d+(?:\s*,\s*\d+)*)\]")
_UNFINISHED = re.compile(r"\[[\d\s,]*$")
_END = re.compile(r"[.!?…。！？\]]\W*$")
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)])\s+")


def find_quote(quote: str, text: str) -> Span | None:
    r"""Return where ``quote`` is in ``text``: exactly, or else with any white space for white space; None if nowhere.

    >>> find_quote("two years", "It holds two\n  years.")
    (9, 20)
    """
    if not quote.strip():
        return None
    start = text.find(quote)
    if start >= 0:
        return start, start + len(quote)
    found = re.search(r"\s+".join(map(re.escape, quote.split())), text)
    return found.span() if found else None


def cite(n: int, evidence: Evidence, start: int, end: int) -> Citation:
    """Return citation ``n`` of ``evidence.text[start:end]``; its offsets are those of the document's text.

    Raises:
        ValueError: the span is empty or not within the evidence.
    """
    if not 0 <= start < end <= len(evidence.text):
        raise ValueError(f"span {start}-{end} is not within the evidence's {len(evidence.text)} characters")
    places = evidence.places_of(start, end)
    # What is said of a figure is no slice of the document's text: it stands where the figure does.
    first, last = (start, end) if evidence.figure is None else (0, 0)
    return Citation(
        n=n,
        path=evidence.path,
        page=places[0].page if places else evidence.page,
        quote=evidence.text[start:end],
        start=evidence.start + first,
        end=evidence.start + last,
        boxes=boxes_of(places) if places else evidence.boxes,
        heading=evidence.heading,
        chunk_id=evidence.id,
        document_id=evidence.document_id,
        places=places,
        paths=evidence.paths,
        figure=evidence.figure,
    )


class Citations:
    """The citations of one answer, numbered from 1 by first use; the same quote keeps its number."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, int], Citation] = {}

    def number(self, evidence: Evidence, start: int, end: int) -> int:
        """Return the number of this quote, a new one where it has none yet."""
        key = (evidence.id, start, end)
        if key not in self._found:
            self._found[key] = cite(len(self._found) + 1, evidence, start, end)
        return self._found[key].n

    def all(self) -> tuple[Citation, ...]:
        """Return the citations in the order of their numbers."""
        return tuple(self._found.values())


def check_citations(text: str, evidence: Sequence[Evidence], question: str = "") -> tuple[str, tuple[Citation, ...]]:
    """Return the statements of ``text`` that their evidence supports, renumbered, and their citations.

    ``[1]`` in ``text`` is ``evidence[0]``. See :class:`StatementChecker` for the rules.
    """
    checker = StatementChecker(evidence, question)
    return (checker.feed(text) + checker.finish()).strip(), checker.citations.all()


class StatementChecker:
    """Text that arrives in pieces -> the statements of it that the evidence they cite supports.

    A statement is a sentence with a citation ``[n]``, and the sentences since the last one, which it covers. A number
    of no evidence is dropped, and so is one whose evidence does not support the sentence
    (:func:`~rag_pipeline.answering.support.support`); a statement without a citation that holds is dropped whole, for
    a wrong number is a sign of a guess. Of the sentences that it covers, those stay that the same evidence supports.

    A sentence without a citation is given one where a quote of any evidence supports it and speaks of what was asked
    (:func:`~rag_pipeline.answering.support.find_support`): small models seldom write any. What is left without is
    dropped. Every kept ``[n]`` is renumbered to the quote that supports the sentence best.

    Args:
        evidence: What ``[1]``, ``[2]``, ... stand for.
        question: What the text answers; without one no sentence is given a citation.
    """

    def __init__(self, evidence: Sequence[Evidence], question: str = "") -> None:
        self.citations = Citations()
        self.dropped: list[tuple[str, str]] = []
        """The reason and the text of each sentence that was left out."""
        self._evidence = evidence
        self._question = question
        self._text = ""
        self._taken = 0
        self._uncited: list[str] = []
        """The last of the sentences taken, which cite nothing; a citation may yet cover them."""

    def feed(self, piece: str) -> str:
        """Take in more text; return the checked statements that are complete by now, "" where none is."""
        self._text += piece
        spans = _spans(self._text)
        if not spans:
            return ""
        last = self._text[slice(*spans[-1])]
        # The last sentence may go on, and its first word may still join it to the one before: "[1" and "15. Nov".
        return self._take(spans[: -1 if re.search(r"\s", last) and words(_said(last)) else -2])

    def finish(self, *, cut_off: bool = False) -> str:
        """Return the checked statements that were still held back; nothing can be fed after.

        Of a text that was ``cut_off`` the last sentence is dropped where it has no end: "It costs 4".
        """
        spans = _spans(self._text)
        half = cut_off and bool(spans) and not _END.search(self._text[slice(*spans[-1])])
        kept = self._take(spans[:-1] if half else spans)
        for sentence in self._uncited:
            self._drop("it cites nothing, and no evidence shows it", sentence)
        if half:
            self._drop("it was cut off", self._text[self._taken :])
        return kept

    def _take(self, spans: Sequence[Span]) -> str:
        """Check these sentences of the text, but for those that were taken before."""
        kept = ""
        for _, end in spans:
            if end <= self._taken:
                continue
            sentence, self._taken = self._text[self._taken : end], end
            if _MARKER.search(sentence):
                numbers = [int(n) for found in _MARKER.finditer(sentence) for n in found.group(1).split(",")]
                cited = {n: self._evidence[n - 1] for n in numbers if 1 <= n <= len(self._evidence)}
                held = self._held(sentence, cited)
            elif not (held := find_support(_said(sentence), self._evidence, self._question)):
                self._uncited.append(sentence)
                continue
            kept += self._covered(held) + self._numbered(sentence, held)
        return kept

    def _covered(self, held: Mapping[int, Span]) -> str:
        """Return what holds of the sentences before one that rests on ``held``, which covers them."""
        kept = ""
        for sentence in self._uncited:
            if not held:
                self._drop("what it leads to does not hold", sentence)
            elif quotes := self._held(sentence, {n: self._evidence[n - 1] for n in held}):
                kept += self._numbered(sentence, quotes)
        self._uncited = []
        return kept

    def _numbered(self, sentence: str, quotes: Mapping[int, Span]) -> str:
        """Return a sentence with the numbers of its quotes, in the places of its own where it has any; "" of none."""
        if not quotes:
            return ""
        if not _MARKER.search(sentence):
            return f"{sentence} {self._references(quotes)}"
        return _MARKER.sub(lambda found: self._renumbered(found.group(1), quotes), sentence)

    def _held(self, sentence: str, cited: Mapping[int, Evidence]) -> Mapping[int, Span]:
        """Return the quotes that support a sentence, by number of the evidence; where none does, note why."""
        said = _said(sentence)
        if not words(said):
            return {}
        found = support(said, cited, self._question) if cited else Support(lacks="it cites none of the evidence")
        if not found.quotes:
            self._drop(found.lacks, sentence)
        return found.quotes

    def _drop(self, reason: str, sentence: str) -> None:
        if words(_said(sentence)):
            self.dropped.append((reason, " ".join(sentence.split())))

    def _renumbered(self, group: str, quotes: Mapping[int, Span]) -> str:
        kept = {int(n): quotes[int(n)] for n in group.split(",") if int(n) in quotes}
        return f" {self._references(kept)}" if kept else ""

    def _references(self, quotes: Mapping[int, Span]) -> str:
        numbers = [self.citations.number(self._evidence[n - 1], *span) for n, span in quotes.items()]
        return "".join(f"[{number}]" for number in dict.fromkeys(numbers))


def _spans(text: str) -> list[Span]:
    """Return the sentences of a text; citations that stand alone, complete or not, belong to the sentence before."""
    spans: list[Span] = []
    for start, end in sentences(text):
        alone = "[" in text[start:end] and not words(_said(_UNFINISHED.sub("", text[start:end])))
        if alone and spans:
            start = spans.pop()[0]
        spans.append((start, end))
    return spans


def _said(sentence: str) -> str:
    """Return a sentence without its citations, and without the bullet or number of a list."""
    return _BULLET.sub("", _MARKER.sub("", sentence))
