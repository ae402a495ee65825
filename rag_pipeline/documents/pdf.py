"""PDF in, elements and pictures out.

Text, order and boxes are Unstructured's ("fast": pdfminer, see ``pdf_text.py``). What that leaves out is added here
from the page itself, by pdfium: which lines are headings (by their type, not by their brevity), which loose cells are
the rows of a table, which lines are page furniture, and the pictures. Pages that pdfminer cannot read get pdfium's
text, and pages without text what Tesseract reads on them.
"""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rag_pipeline.documents.facts import day_of
from rag_pipeline.documents.ocr import listed, read_scans
from rag_pipeline.documents.options import DEFAULTS, ParseOptions, check_pages
from rag_pipeline.documents.partition import Parts, Picture, clean, gather, looks_like_heading
from rag_pipeline.documents.pdf_file import opened
from rag_pipeline.documents.pdf_tables import with_tables
from rag_pipeline.documents.pdf_text import read_pages
from rag_pipeline.types import Box, Element, Facts

__all__ = ["read_pdf"]

_LARGER = 1.12
"""A line this much taller than the body text is set as a heading; less is the rounding of fonts."""
_HEADING_WORDS = 16
_HEADING_LINES = 3.5
_MARGIN = 0.12
"""Share of the page, at top and bottom, in which a repeated line is furniture."""
_BROKEN_WORD = re.compile(r"(?<=[^\W\d_])- (?=[a-zß-ÿ])(?!(?:and|or|to|und|oder|bis|et|ou|y|o)\b)")
"""A hyphen, a space and a small letter: what pdfminer makes of a broken word, but not "pre- and post-war"."""
_BOLD_NAME = re.compile(r"bold|black|heavy|demi", re.IGNORECASE)
_MAX_PICTURES = 200
_MAX_PIXELS = 50_000_000


@dataclass(frozen=True, slots=True)
class _Type:
    """How an element is set: height of its letters in points, rounded to halves, and whether they are bold."""

    size: float
    bold: bool
    lines: float = field(compare=False)


def read_pdf(path: Path, options: ParseOptions = DEFAULTS) -> Parts:
    """Read a PDF with pages and boxes.

    Raises:
        InputError: the file is encrypted, is damaged, has more than ``options.max_pages`` pages, or has no text on any
            of them.
        MissingProgramError: it is a scan, and Tesseract is not installed.
    """
    with opened(path) as (path, pdf):
        check_pages(len(pdf), options.max_pages, "pages")
        pdf.init_forms()
        return _read(path, pdf, options)


def _read(path: Path, pdf: Any, options: ParseOptions) -> Parts:
    said = pdf.get_metadata_dict()
    parts = Parts(title=clean(said.get("Title")), facts=Facts(day_of(said.get("CreationDate"))))
    pages = list(read_pages(path, pdf))
    careful = {page.number for page in pages if page.hidden}
    parts.hidden = sum(page.hidden for page in pages)
    raws = (raw for page in pages for raw in page.elements)
    elements = [_unbroken(element) for element in gather(raws, lambda _: None).elements]
    elements, unfiltered = _with_missed_pages(elements, pdf, careful)
    if unfiltered:
        parts.notes.append(
            f"page {listed(unfiltered)} could be read as plain text only: what is invisible there was not left out, "
            "and headings are not told; export the PDF anew"
        )
    elements = with_tables(_without_furniture(elements, len(pdf)), pdf, careful)
    elements = _with_headings(elements, pdf)
    empty = sorted(set(range(1, len(pdf) + 1)) - {element.page for element in elements})
    scanned = read_scans(pdf, empty, options)
    parts.elements = _in_order(elements, scanned.elements)
    parts.lacking |= scanned.lacking
    parts.notes.extend(scanned.notes)
    plain = {page.number for page in pages if not page.pictures}
    parts.pictures = list(_pictures(pdf, parts.elements, plain))
    return parts


def _in_order(elements: list[Element], scanned: list[Element]) -> list[Element]:
    return sorted([*elements, *scanned], key=lambda element: element.page or 1) if scanned else elements


def _unbroken(element: Element) -> Element:
    """Join words that were broken at a line's end."""
    return replace(element, text=_BROKEN_WORD.sub("", element.text))


def _with_missed_pages(elements: list[Element], pdf: Any, careful: set[int]) -> tuple[list[Element], list[int]]:
    """Add pdfium's text of the pages of which pdfminer returned nothing, unless all their text was hidden.

    Returns:
        All elements, and the numbers of those pages: nothing has looked what of their text is seen.
    """
    by_page: dict[int, list[Element]] = defaultdict(list)
    for element in elements:
        by_page[element.page or 1].append(element)
    complete, added = [], []
    for number in range(1, len(pdf) + 1):
        missed = number not in by_page and number not in careful
        if missed and (text := clean(pdf[number - 1].get_textpage().get_text_bounded())):
            by_page[number].append(Element(text.replace("\r", ""), "UncategorizedText", number))
            added.append(number)
        complete.extend(by_page[number])
    return complete, added


def _without_furniture(elements: list[Element], pages: int) -> list[Element]:
    """Keep the first of the running headers and footers, which repeat at one height with other numbers in them."""
    seen: dict[tuple[str, float], set[int]] = defaultdict(set)
    for element in elements:
        if (key := _furniture_key(element)) is not None:
            seen[key].add(element.page or 0)
    running = {key for key, on in seen.items() if len(on) >= max(3, pages * 0.3)}
    kept = []
    for element in elements:
        key = _furniture_key(element)
        if key is not None and element.text.isdigit():
            continue
        if key not in running or element.page == min(seen[key]):
            kept.append(element)
    return kept


def _furniture_key(element: Element) -> tuple[str, float] | None:
    box = element.box
    if box is None or not (box.bottom < _MARGIN or box.top > 1 - _MARGIN):
        return None
    return re.sub(r"\d+", "#", element.text), round(box.top, 2)


def _with_headings(elements: list[Element], pdf: Any) -> list[Element]:
    """Give a depth to lines that are set larger than the body, or bold and alone on their line: larger is higher."""
    types = list(_types(elements, pdf))
    weight: Counter[_Type] = Counter()
    for element, kind in zip(elements, types, strict=True):
        if kind is not None:
            weight[kind] += len(element.text)
    if not weight:
        return elements
    body = weight.most_common(1)[0][0]
    headings = {
        place: kind
        for place, (element, kind) in enumerate(zip(elements, types, strict=True))
        if kind is not None and _is_heading(element, kind, body)
    }
    levels = sorted(set(headings.values()), key=lambda kind: (-kind.size, not kind.bold))
    return [
        replace(element, category="Title", depth=levels.index(headings[place])) if place in headings else element
        for place, element in enumerate(elements)
    ]


def _is_heading(element: Element, kind: _Type, body: _Type) -> bool:
    stands_out = kind.size >= body.size * _LARGER or (kind.bold and not body.bold and kind.size >= body.size)
    return (
        stands_out
        and kind.lines < _HEADING_LINES
        and element.category not in ("Table", "Footer")
        and "\t" not in element.text
        and len(element.text.split()) <= _HEADING_WORDS
        and looks_like_heading(element.text.rstrip("."))
    )


def _types(elements: list[Element], pdf: Any) -> Iterator[_Type | None]:
    """Yield how each element is set, None where that cannot be seen: rotated pages, pages without boxes."""
    page, text_page, number = None, None, 0
    for element in elements:
        if element.page is not None and element.page != number:
            number = element.page
            page = pdf[number - 1]
            text_page = page.get_textpage() if page.get_rotation() == 0 else None
        yield _type_of(element, page, text_page) if text_page is not None else None


def _type_of(element: Element, page: Any, text_page: Any) -> _Type | None:
    """Look at two letters of the first line, its first and one in the middle: a bullet or a bold word is no heading."""
    if element.box is None:
        return None
    left, bottom, right, top = page.get_bbox()
    height = (element.box.bottom - element.box.top) * (top - bottom)
    y = top - element.box.top * (top - bottom) - min(height / 2, 6)
    seen = []
    for share in (0.01, 0.5):
        across = element.box.left + share * (element.box.right - element.box.left)
        index = text_page.get_index(left + across * (right - left), y, 8, 6)
        if index is not None:
            seen.append(_letter(text_page, index))
    if not seen:
        return None
    size = min(size for size, _ in seen)
    return _Type(size, all(bold for _, bold in seen), height / max(size, 1.0))


def _letter(text_page: Any, index: int) -> tuple[float, bool]:
    """Return a letter's height in points, rounded to halves, and whether it is bold."""
    import ctypes

    import pypdfium2.raw as raw

    _, low, _, high = text_page.get_charbox(index, loose=True)
    name = ctypes.create_string_buffer(128)
    raw.FPDFText_GetFontInfo(text_page, index, name, 128, ctypes.c_int())
    # Names tell bold fonts; where a program gives no names, the weight does: it is about 240 for regular ones.
    named = _BOLD_NAME.search(name.value.decode("utf-8", "replace")) is not None
    return round((high - low) * 2) / 2, named or raw.FPDFText_GetFontWeight(text_page, index) >= 450


def _pictures(pdf: Any, elements: list[Element], plain: set[int]) -> Iterator[Picture]:
    """Yield the pictures of a PDF, at most 200; ``plain`` are pages without any.

    A picture that fills a page with text is its background or the scan of it; without text it is what the page shows.
    """
    with_text = {element.page for element in elements}
    import pypdfium2.raw as raw

    found = 0
    for number in range(1, len(pdf) + 1):
        if number in plain:
            continue
        page = pdf[number - 1]
        for picture in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4):
            if found == _MAX_PICTURES:
                return
            across, down = picture.get_px_size()
            if min(across, down) < 32 or across * down > _MAX_PIXELS:
                continue
            box = _picture_box(picture, page, number)
            if number in with_text and (box.right - box.left) * (box.bottom - box.top) > 0.85:
                continue
            found += 1
            yield Picture(_encoded(picture), "", _above(elements, box), number, box)


def _picture_box(picture: Any, page: Any, number: int) -> Box:
    """Return a picture's place on the page as it is shown, cut and turned."""
    left, bottom, right, top = page.get_bbox()
    wide, high = max(right - left, 1e-6), max(top - bottom, 1e-6)
    x0, y0, x1, y1 = picture.get_bounds()
    x = [min(max((value - left) / wide, 0.0), 1.0) for value in (x0, x1)]
    y = [min(max((top - value) / high, 0.0), 1.0) for value in (y1, y0)]
    match page.get_rotation():
        case 90:
            x, y = [1 - y[1], 1 - y[0]], x
        case 180:
            x, y = [1 - x[1], 1 - x[0]], [1 - y[1], 1 - y[0]]
        case 270:
            x, y = y, [1 - x[1], 1 - x[0]]
    return Box(number, x[0], y[0], x[1], y[1])


def _encoded(picture: Any) -> bytes:
    """Return the picture as its own JPEG, or else as PNG."""
    if picture.get_filters() == ["DCTDecode"]:
        return bytes(picture.get_data())
    buffer = io.BytesIO()
    picture.get_bitmap().to_pil().save(buffer, format="PNG")
    return buffer.getvalue()


def _above(elements: list[Element], box: Box) -> int:
    """Return the index of the last element that stands before a picture, -1 for none."""
    before = -1
    for index, element in enumerate(elements):
        page = element.page or 1
        if page < box.page or (page == box.page and element.box is not None and element.box.bottom <= box.top + 0.01):
            before = index
    return before
