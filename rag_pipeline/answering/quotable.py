"""Evidence -> what can be quoted of it: sentences, table rows, and headings with what they stand over.

Enters: evidence. Leaves: its quotable parts in order, each with the words that it is to be understood under. This
module knows neither questions nor answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rag_pipeline.answering.sentences import Span, sentences, words
from rag_pipeline.evidence import Evidence
from rag_pipeline.types import contextual_text

__all__ = ["Quotable", "quotables"]

_SHORT = 4
_NAMED_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Quotable:
    """``evidence.text[start:end]``: a sentence, a table's row, or a heading with the sentence after it.

    ``columns`` is the first row of the table that a row belongs to, "" elsewhere.
    """

    evidence: Evidence
    start: int
    end: int
    columns: str = ""

    @property
    def text(self) -> str:
        """What would be quoted, verbatim."""
        return self.evidence.text[self.start : self.end]

    @property
    def passage(self) -> str:
        """The text under headings and column names, for alone it seldom names what it is about."""
        return contextual_text(self.evidence.heading, f"{self.columns}\n{self.text}" if self.columns else self.text)

    @property
    def readable(self) -> str:
        """The text on one line; each cell of a row with the name of its column.

        The names are the first row of a table that begins in the evidence, or the deepest heading where one goes on,
        and only where they look like names: as many as the cells, at least three, since a table of two columns may be
        names and values all the way, and none that begins with a digit.
        """
        cells = self.text.split("\t")
        names = self.columns.split("\t") if self.evidence.tables else ", ".join(self.evidence.heading[-1:]).split(", ")
        values = any(name.strip()[:1].isdigit() for name in names)
        if values or len(cells) != len(names) or len(cells) < _NAMED_COLUMNS:
            return " ".join(self.text.split())
        named = zip(names, cells, strict=True)
        said = [f"{name}: {cell}" if name.strip() else cell for name, cell in named if cell.strip()]
        return " ".join("; ".join(said).split())

    def overlaps(self, other: Quotable) -> bool:
        """Whether the two share characters."""
        return self.evidence.id == other.evidence.id and self.start < other.end and other.start < self.end


def quotables(evidence: Evidence) -> list[Quotable]:
    """Return what can be quoted of ``evidence``, in its order; a heading is also part of what it stands over."""
    text, spans = evidence.text, sentences(evidence.text)
    found = []
    columns: Span | None = None
    for i, (start, end) in enumerate(spans):
        row = "\t" in text[start:end]
        if not row:
            columns = None
        elif columns is None or "\n\n" in text[spans[i - 1][1] : start]:
            columns = (start, end)
        names = text[slice(*columns)] if columns is not None and columns != (start, end) else ""
        until = spans[min(i + 1, len(spans) - 1)][1] if _is_heading(evidence, text[start:end]) else end
        found.append(Quotable(evidence, start, until, names))
    return found


def _is_heading(evidence: Evidence, text: str) -> bool:
    """Whether a sentence says nothing alone: a heading of the evidence, or a few words without an end or a number."""
    said = words(text)
    if any(words(heading) == said for heading in evidence.heading):
        return True
    return len(said) < _SHORT and not re.search(r"[\t.!?。！？\d]", text)
