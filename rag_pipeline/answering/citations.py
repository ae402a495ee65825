"""Text and evidence -> citations whose quotes are verbatim.

Enters: evidence, and a place in it or a text that refers to it by number. Leaves: citations, each with the exact
quote, and text in which every statement cites one. This module knows nothing of how the text was written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag_pipeline.answering.sentences import Span, sentences, words
from rag_pipeline.types import Citation, Evidence

__all__ = ["Citations", "StatementChecker", "best_sentence", "check_citations", "cite", "find_quote"]

_MARKER = re.compile(r"\s*\[(\d+(?:\s*,\s*\d+)*)\]")


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
    return Citation(
        n=n,
        path=evidence.path,
        page=evidence.page,
        quote=evidence.text[start:end],
        start=evidence.start + start,
        end=evidence.start + end,
        boxes=evidence.boxes,
        heading=evidence.heading,
        chunk_id=evidence.id,
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


def best_sentence(statement: str, text: str) -> Span:
    """Return the sentence of ``text`` that shares most words with ``statement``; of equals the longer, then the first.

    Words of one or two letters decide nothing and are left out; numbers and ideographs count. The longer, because a
    heading repeats the words of what it stands over and supports nothing.

    Raises:
        ValueError: ``text`` is blank.
    """
    said = _content_words(statement)
    spans = sentences(text)
    if not spans:
        raise ValueError("a blank text has no sentence to quote")
    return min(spans, key=lambda span: (-len(said & _content_words(text[slice(*span)])), span[0] - span[1], span[0]))


def _content_words(text: str) -> set[str]:
    return {word for word in words(text) if len(word) > 2 or word.isdigit() or not word.isascii()}


def check_citations(text: str, evidence: Sequence[Evidence]) -> tuple[str, tuple[Citation, ...]]:
    """Return the statements of ``text`` that cite evidence, renumbered, and their citations.

    ``[1]`` in ``text`` is ``evidence[0]``. See :class:`StatementChecker` for the rules.
    """
    checker = StatementChecker(evidence)
    return (checker.feed(text) + checker.finish()).strip(), checker.citations.all()


class StatementChecker:
    """Text that arrives in pieces -> the statements of it whose citations exist.

    A statement is a sentence with a citation ``[n]``, and the sentences since the last one, which it covers. Numbers
    of no evidence are dropped; a statement without a valid one is dropped whole, and so is text after the last.
    Every kept ``[n]`` is renumbered to the quote that supports the statement best (:func:`best_sentence`).
    """

    def __init__(self, evidence: Sequence[Evidence]) -> None:
        self.citations = Citations()
        self._evidence = evidence
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
        return self._take(sentences(self._buffer))

    def _take(self, spans: Sequence[Span]) -> str:
        """Cut the statements that these sentences end off the buffer, and check them."""
        kept, begin = "", 0
        for start, end in spans:
            if _MARKER.search(self._buffer, start, end):
                kept += self._checked(self._buffer[begin:end])
                begin = end
        self._buffer = self._buffer[begin:]
        return kept

    def _checked(self, statement: str) -> str:
        said = _MARKER.sub("", statement)
        numbers = [int(n) for found in _MARKER.finditer(statement) for n in found.group(1).split(",")]
        if not words(said) or not any(1 <= n <= len(self._evidence) for n in numbers):
            return ""
        return _MARKER.sub(lambda found: self._renumbered(found.group(1), said), statement)

    def _renumbered(self, group: str, said: str) -> str:
        kept: list[int] = []
        for n in map(int, group.split(",")):
            if 1 <= n <= len(self._evidence):
                evidence = self._evidence[n - 1]
                number = self.citations.number(evidence, *best_sentence(said, evidence.text))
                if number not in kept:
                    kept.append(number)
        return " " + "".join(f"[{number}]" for number in kept) if kept else ""
