"""Tables of a PDF in, rows out.

pdfminer reads a table column by column and parts labels from their numbers. Where the lines of a page, read across,
look like rows, this module puts a table in the place of those loose columns; it changes nothing where the characters
of both do not agree. It knows elements and pdfium's text rectangles; it knows nothing of headings or pictures.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from rag_pipeline.documents.partition import clean, html_table
from rag_pipeline.types import Box, Element

__all__ = ["with_tables"]

_CELL_GAP = 0.9
"""Gap between two cells, in heights of the line; words stand closer."""
_CELL_CHARS = 45
_CELL_WORDS = 4
_LABELS_BETWEEN = 3
"""Lines without numbers that a table may have between two rows: the names of its sections."""
_FEWEST_ROWS = 3
_TOLERATED = 0.02
"""Share of characters in which columns and rows may differ: ligatures and soft hyphens."""
_NUMBER = re.compile(r"[\d\s.,:;()%$€£¥+*/–—-]+")
_SIGN = re.compile(r"[$€£¥(]+")


class _Run(NamedTuple):
    """Where pdfium found some characters, in points from the lower left."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def middle(self) -> float:
        """Height of its middle."""
        return (self.top + self.bottom) / 2


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a page: its cells from left to right, its edges as fractions of the page from the top."""

    top: float
    bottom: float
    cells: tuple[str, ...]

    @property
    def is_tabular(self) -> bool:
        """Whether short or numeric cells follow the first; lines of two columns of text do not look so."""
        return len(self.cells) > 1 and all(_is_cell(cell) for cell in self.cells[1:])


def with_tables(elements: list[Element], pdf: Any, careful: Container[int] = ()) -> list[Element]:
    """Put tables in the place of the loose columns of each page that is not rotated.

    On ``careful`` pages text was taken out that pdfium still sees: a table there must hold nothing but what was kept.
    """
    by_page: dict[int, list[Element]] = defaultdict(list)
    for element in elements:
        by_page[element.page or 1].append(element)
    complete = []
    for number, on_page in by_page.items():
        page = pdf[number - 1]
        if page.get_rotation() == 0 and all(element.box is not None for element in on_page):
            rows = _rows(page)
            for first, last in _bands(rows):
                on_page = _replaced(on_page, rows, first, last, number in careful)
        complete.extend(on_page)
    return complete


def _is_cell(text: str) -> bool:
    return len(text) <= _CELL_CHARS and (len(text.split()) <= _CELL_WORDS or _NUMBER.fullmatch(text) is not None)


def _rows(page: Any) -> list[_Row]:
    """Read a page's lines across, from the top."""
    text_page = page.get_textpage()
    runs = [_Run(*text_page.get_rect(index)) for index in range(text_page.count_rects())]
    lines: list[list[_Run]] = []
    low = 0.0
    for run in sorted(runs, key=lambda run: -run.middle):
        # A comma's middle lies a little below the letters of its line.
        if lines and run.middle > low - 0.15 * (lines[-1][0].top - low):
            lines[-1].append(run)
            low = min(low, run.bottom)
        else:
            lines.append([run])
            low = run.bottom
    _, bottom_edge, _, top_edge = page.get_bbox()
    height = top_edge - bottom_edge
    rows = []
    for line in lines:
        top, bottom = max(run.top for run in line), min(run.bottom for run in line)
        if cells := _cells(line, top, bottom, text_page):
            rows.append(_Row((top_edge - top) / height, (top_edge - bottom) / height, cells))
    return rows


def _cells(line: list[_Run], top: float, bottom: float, text_page: Any) -> tuple[str, ...]:
    """Divide a line into cells; a currency sign or an opening bracket belongs to the number behind it.

    Runs are places only: pdfium joins their characters, which some programs set down one by one, into words.
    """
    spans: list[list[float]] = []
    for run in sorted(line, key=lambda run: run.left):
        if spans and run.left - spans[-1][1] <= _CELL_GAP * (top - bottom):
            spans[-1][1] = max(spans[-1][1], run.right)
        else:
            spans.append([run.left, run.right])
    cells: list[str] = []
    for left, right in spans:
        text = " ".join(clean(text_page.get_text_bounded(left - 1, bottom, right + 1, top)).split())
        if cells and (_SIGN.fullmatch(cells[-1]) or text in (")", "%", ")%")):
            cells[-1] += text
        elif text:
            cells.append(text)
    return tuple(cells)


def _bands(rows: list[_Row]) -> Iterator[tuple[int, int]]:
    """Yield the first and last row of each run that looks like a table."""
    tabular = [index for index, row in enumerate(rows) if row.is_tabular]
    start = 0
    for place in range(1, len(tabular) + 1):
        if place == len(tabular) or tabular[place] - tabular[place - 1] > _LABELS_BETWEEN:
            if place - start >= _FEWEST_ROWS:
                yield tabular[start], tabular[place - 1]
            start = place


def _replaced(on_page: list[Element], rows: list[_Row], first: int, last: int, careful: bool) -> list[Element]:
    """Replace the elements of a band by its table, if both hold the same characters."""
    top, bottom = rows[first].top, rows[last].bottom
    within: list[int] = []
    for _ in range(2):  # a column may begin above the first row that has a number, with the name of the table
        within = [index for index, element in enumerate(on_page) if _reaches(element, top, bottom)]
        boxes = [box for index in within if (box := on_page[index].box) is not None]
        top = min([top, *(box.top for box in boxes)])
        bottom = max([bottom, *(box.bottom for box in boxes)])
    inside = [row for row in rows if top - 0.004 <= (row.top + row.bottom) / 2 <= bottom + 0.004]
    if not within or not _same_characters([on_page[index] for index in within], inside, careful):
        return on_page
    number = boxes[0].page
    around = Box(number, min(box.left for box in boxes), top, max(box.right for box in boxes), bottom)
    text = "\n".join("\t".join(row.cells) for row in inside)
    table = Element(text, "Table", number, html=html_table(row.cells for row in inside), box=around)
    kept = set(within)
    before = [element for index, element in enumerate(on_page) if index < within[0]]
    after = [element for index, element in enumerate(on_page) if index > within[0] and index not in kept]
    return [*before, table, *after]


def _reaches(element: Element, top: float, bottom: float) -> bool:
    if element.box is None:
        return False
    shared = min(element.box.bottom, bottom) - max(element.box.top, top)
    return shared > 0.3 * (element.box.bottom - element.box.top)


def _same_characters(elements: list[Element], rows: list[_Row], careful: bool) -> bool:
    theirs = Counter("".join("".join(element.text.split()) for element in elements))
    ours = Counter("".join("".join("".join(row.cells).split()) for row in rows))
    if careful and ours - theirs:
        return False
    differing = sum((theirs - ours).values()) + sum((ours - theirs).values())
    return differing <= _TOLERATED * max(theirs.total(), 1)
