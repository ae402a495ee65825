"""Text and evidence -> citations whose quotes are verbatim.

Enters: evidence, and a place in it or a text that refers to it by number. Leaves: citations, each with the exact
quote, and text in which every statement cites one. This module knows nothing of how the text was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rag_pipeline.answering.sentences import Span, sentences, words
from rag_pipeline.answering.support import Support, support
from rag_pipeline.evidence import Citation, Evidence
from rag_pipeline.retrieval.evidence import boxes_of

__all__ = ["Citations", "StatementChecker", "check_citations", "cite", "find_quote"]

_MARKER = re.compile(r"\s*\[(\d+(?:\s*,\s*\d+)*)\]")
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


def check_citations(text: str, evidence: Sequence[Evidence]) -> tuple[str, tuple[Citation, ...]]:
    """Return the statements of ``text`` that their evidence supports, renumbered, and their citations.

    ``[1]`` in ``text`` is ``evidence[0]``. See :class:`StatementChecker` for the rules.
    """
    checker = StatementChecker(evidence)
    return (checker.feed(text) + checker.finish()).strip(), checker.citations.all()


class StatementChecker:
    """Text that arrives in pieces -> the statements of it that the evidence they cite supports.

    A statement is a sentence with a citation ``[n]``, and the sentences since the last one, which it covers. A number
    of no evidence is dropped, and so is one whose evidence does not support the sentence
    (:func:`~rag_pipeline.answering.support.support`); a statement without a citation that holds is dropped whole. Of
    the sentences that it covers, those stay that the same evidence supports. Text after the last citation is dropped.
    Every kept ``[n]`` is renumbered to the quote that supports the sentence best.

    Args:
        evidence: What ``[1]``, ``[2]``, ... stand for.
        question: What the text answers.
    """

    def __init__(self, evidence: Sequence[Evidence], question: str = "") -> None:
        self.citations = Citations()
        self.dropped: list[tuple[str, str]] = []
        """The reason and the text of each sentence that was left out."""
        self._evidence = evidence
        self._question = question
        self._buffer = ""

    def feed(self, piece: str) -> str:
        """Take in more text; return the checked statements that are complete by now, "" where none is."""
        self._buffer += piece
        spans = sentences(self._buffer)
        if not spans:
            return ""
        rest = self._buffer[spans[-1][0] :]
        # The last sentence may go on, and its first word may still join it to the one before: "[1" and "15. Nov".
        held = 1 if re.search(r"\s", rest.rstrip()) and not re.match(r"\[[^\]]*$", rest) else 2
        return self._take(spans[:-held])

    def finish(self) -> str:
        """Return the checked statements that were still held back; nothing can be fed after."""
        kept = self._take(sentences(self._buffer))
        for start, end in sentences(self._buffer):
            self._drop("it cites nothing", self._buffer[start:end])
        return kept

    def _take(self, spans: Sequence[Span]) -> str:
        """Cut the statements that these sentences end off the buffer, and check them."""
        kept, begin = "", 0
        statement: list[str] = []
        for start, end in spans:
            statement.append(self._buffer[begin:end])
            begin = end
            if _MARKER.search(self._buffer, start, end):
                kept += self._checked(statement)
                statement = []
        self._buffer = "".join(statement) + self._buffer[begin:]
        return kept

    def _checked(self, statement: Sequence[str]) -> str:
        """Return what holds of a statement's sentences, which come with the white space before them."""
        *before, last = statement
        if before and not words(_said(last)):  # the citation stands alone, behind the sentence that it belongs to
            *before, last = *before[:-1], before[-1] + last
        numbers = [int(n) for found in _MARKER.finditer(last) for n in found.group(1).split(",")]
        cited = {n: self._evidence[n - 1] for n in numbers if 1 <= n <= len(self._evidence)}
        held = self._held(last, cited)
        if not held:
            for sentence in before:
                self._drop("what it leads to does not hold", sentence)
            return ""
        kept = ""
        for sentence in before:
            if quotes := self._held(sentence, {n: cited[n] for n in held}):
                kept += f"{sentence} {self._references(quotes)}"
        return kept + _MARKER.sub(lambda found: self._renumbered(found.group(1), held), last)

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


def _said(sentence: str) -> str:
    """Return a sentence without its citations, and without the bullet or number of a list."""
    return _BULLET.sub("", _MARKER.sub("", sentence))
