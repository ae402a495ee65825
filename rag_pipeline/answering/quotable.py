"""Evidence -> what can be quoted of it: sentences, table rows, and headings with what they stand over.

Enters: evidence. Leaves: its quotable parts in order, each with the words that it is to be understood under. This
module knows neither questions nor answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rag_pipeline.answering.sentences import sentences, words
from rag_pipeline.evidence import Evidence
from rag_pipeline.types import contextual_text

__all__ = ["Quotable", "quotables"]

_SHORT = 4
_NAMED_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Quotable:
    """``evidence.text[start:end]``: a sentence, a table's row, or a heading with the sentence after it.

    ``columns`` are the names of the columns of the table that a row belongs to, with tabs between; "" elsewhere.
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

        Only where these can be told to be names: none begins with a digit, and there are three at least, for a table of
        two columns may be names and values all the way.
        """
        names, cells = self.columns.split("\t"), self.text.split("\t")
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
    columns = ""
    for i, (start, end) in enumerate(spans):
        said = text[start:end]
        begins = "\t" in said and (not columns or "\n\n" in text[spans[i - 1][1] : start])
        if begins or "\t" not in said:
            columns = _names_above(evidence, said) if begins and i == 0 else ""
        until = spans[min(i + 1, len(spans) - 1)][1] if _is_heading(evidence, said) else end
        found.append(Quotable(evidence, start, until, columns))
        if begins and not columns:
            columns = said
    return found


def _names_above(evidence: Evidence, row: str) -> str:
    """Return the names of a table that goes on, which its rows have as their deepest heading; "" of one that begins."""
    names = evidence.heading[-1].split(", ") if evidence.heading else []
    return "\t".join(names) if len(names) == row.count("\t") + 1 else ""


def _is_heading(evidence: Evidence, text: str) -> bool:
    """Whether a sentence says nothing alone: a heading of the evidence, or a few words without an end or a number."""
    said = words(text)
    if any(words(heading) == said for heading in evidence.heading):
        return True
    return len(said) < _SHORT and not re.search(r"[\t.!?。！？\d]", text)
