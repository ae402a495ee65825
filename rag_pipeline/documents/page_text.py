"""A text that was read from a page of a PDF in, the boxes of its words on that page out, one for each line.

Readers put spaces, hyphens and ligatures where the page has none, so letters and digits alone are compared, in the
order in which pdfium gives them. This module knows nothing of what is done with the boxes.
"""

from __future__ import annotations

import ctypes
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from rag_pipeline.types import Box

__all__ = ["PageText"]

_GRID = 1_000_000
"""Steps in which pdfium is asked for a place on the page, which it gives as whole numbers."""
_SIGNS = re.compile(r"[^\w\s]+")
_NEAR = 0.01
"""Share of the page by which a letter may stand outside of its paragraph's box: two programs measured them."""
_MOST_PLACES = 1000


class _Rect(NamedTuple):
    """Fractions of the page as it is shown, from the top left."""

    left: float
    top: float
    right: float
    bottom: float

    def around(self, other: _Rect) -> _Rect:
        """The least rectangle around both."""
        return _Rect(*map(min, self[:2], other[:2]), *map(max, self[2:], other[2:]))

    def follows(self, other: _Rect) -> bool:
        """Whether a letter stands beside the one before it, or right below it in a column of letters."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        beside = 2 * down >= min(self.bottom - self.top, other.bottom - other.top)
        below = 2 * across >= min(self.right - self.left, other.right - other.left) and -down < other.bottom - other.top
        return beside or below


class PageText:
    """The characters of page ``number`` (from 1), as pdfium reads them; ``page`` is open."""

    def __init__(self, page: Any, number: int) -> None:
        import pypdfium2.raw as raw

        self._page, self._number = page, number
        self._text = page.get_textpage()
        codes = (raw.FPDFText_GetUnicode(self._text, index) for index in range(self._text.count_chars()))
        self._characters = [chr(min(code, 0x10FFFF)) for code in codes]
        found = [(letter, index) for index, one in enumerate(self._characters) for letter in _letters(one)]
        self._letters = "".join(letter for letter, _ in found)
        self._owners = [index for _, index in found]
        """The character that each letter is of: a ligature has several."""

    def find(self, text: str, within: Sequence[float] | None = None) -> tuple[Box, ...]:
        """Return the boxes of a text, () where it is not on the page.

        ``within`` are the edges (left, top, right, bottom) of its paragraph or table, as fractions of the page: of
        several places the one in there is meant. Where the cells of a table do not follow each other on the page as
        they do in the text, each is looked for by itself, and all must be there.
        """
        whole = self._lines(self._places(text, within)[:1])
        # A row stands on one line; on more, its letters have met those of another row, or column.
        if whole and ("\t" not in text or len(whole) <= text.count("\n") + 1):
            return whole
        found: list[range] = []
        for row in text.split("\n"):
            beside: range | None = None
            for cell in filter(_letters, row.split("\t")):
                places = [place for place in self._places(cell, within) if place not in found]
                if not places:
                    return whole
                beside = places[0] if beside is None else min(places, key=partial(self._off_line, beside))
                found.append(beside)
        return self._lines(found)

    def _places(self, text: str, within: Sequence[float] | None) -> list[range]:
        """Return the characters of each place where a text stands, in the order of the page."""
        wanted = _letters(text)
        starts = itertools.islice(self._starts(wanted), _MOST_PLACES)
        places = (self._with_signs(text, start, start + len(wanted) - 1) for start in starts)
        return [place for place in places if within is None or self._is_within(place, within)]

    def _starts(self, wanted: str) -> Iterator[int]:
        start = self._letters.find(wanted) if wanted else -1
        while start >= 0:
            yield start
            start = self._letters.find(wanted, start + 1)

    def _with_signs(self, text: str, first_letter: int, last_letter: int) -> range:
        """Return the characters of some letters, with the brackets and stops before and behind that the text has."""
        first, last = self._owners[first_letter], self._owners[last_letter]
        before, behind = _SIGNS.match(text), _SIGNS.match(text[::-1])
        for sign in before[0][::-1] if before else "":
            first -= first > 0 and self._characters[first - 1] == sign
        for sign in behind[0][::-1] if behind else "":
            last += last + 1 < len(self._characters) and self._characters[last + 1] == sign
        return range(first, last + 1)

    def _off_line(self, cell: range, other: range) -> float:
        """Return by how much of the page a cell stands above or below another."""
        one, two = self._rect(cell[0]), self._rect(other[0])
        return abs(one.top + one.bottom - two.top - two.bottom) / 2

    def _is_within(self, place: range, within: Sequence[float]) -> bool:
        left, top, right, bottom = within
        for rect in map(self._rect, (place[0], place[-1])):
            x, y = (rect.left + rect.right) / 2, (rect.top + rect.bottom) / 2
            if not (left - _NEAR <= x <= right + _NEAR and top - _NEAR <= y <= bottom + _NEAR):
                return False
        return True

    def _lines(self, places: Sequence[range]) -> tuple[Box, ...]:
        lines: list[_Rect] = []
        last: _Rect | None = None
        for index in itertools.chain.from_iterable(places):
            if not self._characters[index].isprintable() or self._characters[index].isspace():
                continue  # pdfium has put it between words and lines: it stands nowhere
            rect = self._rect(index)
            if last is not None and rect.follows(last):
                lines[-1] = lines[-1].around(rect)
            else:
                lines.append(rect)
            last = rect
        return tuple(Box(self._number, *line) for line in lines)

    def _rect(self, index: int) -> _Rect:
        """Return where a character stands on the page as it is shown: cut, and turned."""
        import pypdfium2.raw as raw

        left, bottom, right, top = self._text.get_charbox(index, loose=True)
        corners = []
        for x, y in ((left, top), (right, bottom)):
            across, down = ctypes.c_int(), ctypes.c_int()
            raw.FPDF_PageToDevice(self._page, 0, 0, _GRID, _GRID, 0, x, y, across, down)
            corners.append([min(max(step.value / _GRID, 0.0), 1.0) for step in (across, down)])
        (x0, y0), (x1, y1) = corners
        return _Rect(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


def _letters(text: str) -> str:
    """Return the letters and digits of a text, without case, accents and ligatures.

    >>> _letters("The ﬁrst Café, 1-2")
    'thefirstcafe12'
    """
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text).casefold()))
