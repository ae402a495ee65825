"""A PDF in, Unstructured's elements of its text out, page by page, without what a person does not see.

This is what Unstructured's "fast" strategy does, in the same order and by its own functions: pdfminer's layout, its
cleaning, its classes. Done here, a page that pdfminer cannot read costs that page only, letters that are not seen are
gone before the layout joins them to others, and links, drawings and a second reading of the file are spared. This
module knows pdfminer; what is seen is told by ``pdf_visible.py``.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdfminer.converter import PDFPageAggregator
from pdfminer.layout import LAParams, LTChar, LTComponent, LTContainer, LTFigure, LTImage, LTPage
from pdfminer.pdffont import PDFType3Font
from pdfminer.pdfpage import PDFPage
from pdfminer.pdftypes import resolve1
from pdfminer.psexceptions import PSException
from pypdfium2 import PdfiumError

from rag_pipeline.documents.pdf_content import ContentInterpreter
from rag_pipeline.documents.pdf_visible import Letters, Rect, Run

if TYPE_CHECKING:
    from unstructured.documents.elements import Element as RawElement

__all__ = ["RawPage", "read_pages"]

logger = logging.getLogger(__name__)

_LAYOUT = LAParams(word_margin=0.185)  # Unstructured's
_BREAKS = (
    PSException, PdfiumError, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError,
    TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What a broken page raises: the errors of pdfminer and pdfium, and those of Python where they trust what is written.
Of memory, too: the layout of a fuzzed page asks for terabytes. Not the disk's, which are no fault of the page."""
_UNSEEN_FIELD = 1 | 2 | 32
"""Flags of a form field: invisible, hidden, no view."""


@dataclass(slots=True)
class RawPage:
    """A page's elements, how many passages of it nobody sees, and whether there are pictures on it."""

    number: int
    elements: list[RawElement] = field(default_factory=list)
    hidden: int = 0
    pictures: bool = False


def read_pages(path: Path, pdf: Any) -> Iterator[RawPage]:
    """Yield the pages that pdfminer can read; ``pdf`` is the same file, open in pdfium.

    A page on which it stumbles is left out, and all behind one after which it cannot go on.
    """
    from unstructured.partition.pdf_image.pdfminer_utils import CustomPDFResourceManager

    logging.getLogger("pdfminer").setLevel(logging.ERROR)
    resources = CustomPDFResourceManager()
    device = _Device(resources, pdf)
    interpreter = ContentInterpreter(resources, device)
    with path.open("rb") as file:
        pages = PDFPage.get_pages(file)
        number = 0
        while True:
            number += 1
            try:
                page = next(pages, None)
            except _BREAKS as exc:
                logger.debug("pdfminer cannot go on at page %d: %s", number, type(exc).__name__)
                return
            if page is None or number > len(pdf):
                return
            raw = _tried(partial(_read, page, number, device, interpreter), number)
            if raw is None:
                raw = _tried(partial(_read_repaired, path, number, device, interpreter), number)
            if raw is not None:
                yield raw


def _tried(read: Callable[[], RawPage | None], number: int) -> RawPage | None:
    """Return what can be read of a page, or None where it breaks pdfminer."""
    try:
        return read()
    except _BREAKS as exc:
        logger.debug("pdfminer cannot read page %d: %s", number, type(exc).__name__)
        return None


def _read(page: PDFPage, number: int, device: _Device, interpreter: ContentInterpreter) -> RawPage:
    page.mediabox = _visible_box(page)
    device.begin(number)
    interpreter.process_page(page)
    layout = device.get_result()
    return RawPage(number, _elements(layout, page, number), device.hidden, any(True for _ in _pictures(layout)))


def _read_repaired(path: Path, number: int, device: _Device, interpreter: ContentInterpreter) -> RawPage | None:
    """Read a page as qpdf writes it anew; None where it cannot."""
    import pikepdf

    written = io.BytesIO()
    try:
        with pikepdf.Pdf.open(path) as whole, pikepdf.Pdf.new() as alone:
            alone.pages.append(whole.pages[number - 1])
            alone.save(written)
    except pikepdf.PdfError as exc:
        logger.debug("qpdf cannot write page %d anew: %s", number, type(exc).__name__)
        return None
    page = next(PDFPage.get_pages(written), None)
    return None if page is None else _read(page, number, device, interpreter)


def _visible_box(page: PDFPage) -> tuple[float, float, float, float]:
    """Return what of a page is shown: boxes are fractions of it, and text beside it is left out."""
    left, bottom, right, top = page.mediabox
    crop = page.cropbox
    box = (max(left, crop[0]), max(bottom, crop[1]), min(right, crop[2]), min(top, crop[3]))
    return box if box[0] < box[2] and box[1] < box[3] else (left, bottom, right, top)


def _elements(layout: LTPage, page: PDFPage, number: int) -> list[RawElement]:
    """Make elements of a page's layout, and order them, as Unstructured's "fast" strategy does."""
    from unstructured.documents.coordinates import PixelSpace
    from unstructured.nlp.patterns import PARAGRAPH_PATTERN
    from unstructured.partition import pdf as partition
    from unstructured.partition.pdf_image.pdfminer_processing import get_widget_text_from_annots
    from unstructured.partition.pdf_image.pdfminer_utils import get_text_with_deduplication, rect_to_bbox
    from unstructured.partition.utils.config import env_config
    from unstructured.partition.utils.constants import SORT_MODE_BASIC, SORT_MODE_XY_CUT
    from unstructured.partition.utils.sorting import sort_page_elements

    space = PixelSpace(width=layout.width, height=layout.height)
    threshold = env_config.PDF_CHAR_DUPLICATE_THRESHOLD
    raws: list[RawElement] = []
    for item in layout:
        if hasattr(item, "get_text"):
            texts = [get_text_with_deduplication(item, threshold)]
        else:
            texts = re.split(PARAGRAPH_PATTERN, partition._extract_text(item))
        box = rect_to_bbox(item.bbox, layout.height)
        cleaned = (re.sub(" {2,}", " ", text.replace("\xa0", " ").replace("\n", " ")).strip() for text in texts)
        raws.extend(_element(text, box, space, number) for text in cleaned if text)
    if page.annots:
        seen = [annotation for annotation in resolve1(page.annots) or [] if _is_seen(annotation)]
        widgets = get_widget_text_from_annots(seen, layout.height)
        raws.extend(_element(widget["text"], widget["bbox"], space, number) for widget in widgets)
    ordered = sort_page_elements(partition._combine_list_elements(raws, space), SORT_MODE_BASIC)
    return list(sort_page_elements(ordered, SORT_MODE_XY_CUT))


def _element(text: str, box: tuple[float, float, float, float], space: Any, number: int) -> RawElement:
    from unstructured.documents.elements import CoordinatesMetadata, ElementMetadata
    from unstructured.partition.text import element_from_text

    x1, y1, x2, y2 = box
    points = ((x1, y1), (x1, y2), (x2, y2), (x2, y1))
    element = element_from_text(text, coordinates=points, coordinate_system=space)
    element.metadata = ElementMetadata(page_number=number, coordinates=CoordinatesMetadata(points, space))
    return element


def _is_seen(annotation: Any) -> bool:
    resolved = resolve1(annotation)
    flags = resolve1(resolved.get("F", 0)) if isinstance(resolved, dict) else 0
    return not (isinstance(flags, int) and flags & _UNSEEN_FIELD)


class _Drawing(LTComponent):
    """Something without text."""


class _Device(PDFPageAggregator):
    """pdfminer's layout device, which takes out the letters that are not seen before it looks for lines."""

    def __init__(self, resources: Any, pdf: Any) -> None:
        super().__init__(resources, laparams=_LAYOUT)
        self._pdf = pdf
        self._embedded: dict[int, bool] = {}
        self.begin(1)

    def begin(self, number: int) -> None:
        """Forget the last page."""
        self._number = number
        self._letters = Letters()
        self._run = Run(False, False, True)
        self._last: Rect | None = None
        self.hidden = 0
        self._stack.clear()

    def paint_path(self, *_: object) -> None:
        """Leave out lines and fills: they only part the texts inside a form, which has no layout."""
        items = self.cur_item._objs
        if self._stack and not (items and isinstance(items[-1], _Drawing)):
            items.append(_Drawing((0, 0, 0, 0)))

    def render_string(self, textstate: Any, seq: Any, ncs: Any, graphicstate: Any) -> None:
        font = textstate.font
        if id(font) not in self._embedded:
            self._embedded[id(font)] = _is_embedded(font)
        white = getattr(textstate, "white", False) and textstate.render in (0, 4)
        run = Run(textstate.render == 3, white, self._embedded[id(font)])
        if run != self._run:
            self._run, self._last = run, None
        super().render_string(textstate, seq, ncs, graphicstate)

    def render_char(self, matrix: Any, font: Any, fontsize: float, scaling: float, rise: float, *rest: Any) -> float:
        advance = super().render_char(matrix, font, fontsize, scaling, rise, *rest)
        char = self.cur_item._objs[-1]
        assert isinstance(char, LTChar)
        rect, size = char.bbox, char.size
        letters = self._letters
        last = self._last
        # A run is what stands on one line, or in one column of turned text.
        level = last is not None and (abs(rect[1] - last[1]) < 1 or (matrix[1] != 0 and abs(rect[0] - last[0]) < 1))
        if not level:
            letters.runs.append(self._run)
        self._last = rect
        member = len(letters.runs) - 1
        char.run = member  # type: ignore[attr-defined]
        if isinstance(font, PDFType3Font) or font.is_vertical():
            # Their letters may stand far from where pdfminer believes them.
            around = max(size, 12.0)
            rect, size = (rect[0] - around, rect[1] - around, rect[2] + around, rect[3] + around), 0.0
        letters.texts.append(char._text)
        letters.rects.append(rect)
        letters.sizes.append(size)
        letters.members.append(member)
        return advance

    def end_page(self, page: PDFPage) -> None:
        hidden = self._letters.hidden_runs(self._pdf[self._number - 1], _pictures(self.cur_item))
        if any(hidden):
            _drop(self.cur_item, hidden)
            self.hidden = self._letters.passages(hidden)
        super().end_page(page)


def _is_embedded(font: Any) -> bool:
    return isinstance(font, PDFType3Font) or any(key.startswith("FontFile") for key in font.descriptor)


def _pictures(container: Any) -> Iterator[Rect]:
    for item in container:
        if isinstance(item, LTImage):
            yield item.bbox
        elif isinstance(item, LTFigure):
            yield from _pictures(item)


def _drop(container: LTContainer[Any], hidden: list[bool]) -> None:
    container._objs = [item for item in container._objs if not (isinstance(item, LTChar) and hidden[item.run])]  # type: ignore[attr-defined]
    for item in container._objs:
        if isinstance(item, LTFigure):
            _drop(item, hidden)
