"""Office files in, the same without what a person does not see in them out.

Word: text marked as hidden, white text on nothing, and letters of a point or less. PowerPoint: hidden slides, hidden
shapes, and shapes beside the slide. Excel: hidden sheets, rows and columns, except rows that a filter or a fold hides,
whose handle everybody sees. What is left out is counted. This module knows the documents' XML and nothing of elements.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["hide_in_deck", "hide_in_word", "is_hidden_slide", "visible_workbook"]

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_WHITE = frozenset({"FFFFFF", "FEFEFE", "FDFDFD"})
_NO_SHADE = frozenset({"auto", "FFFFFF", "ffffff", "clear", None})
_HIDDEN_CELLS = re.compile(rb'<(?:\w+:)?(?:row|col)\b[^>]*\shidden="(?:1|true)"')
_HIDDEN_SHEET = re.compile(rb'<(?:\w+:)?sheet\b[^>]*\sstate="(?:hidden|veryHidden)"')


def hide_in_word(document: Any) -> int:
    """Take the runs that nobody sees out of a python-docx document; return how many passages they were."""
    styles = {style.style_id: style.element for style in document.styles}
    left_out = 0
    # On a page in another colour white may be what is read.
    background = document.element.find(f"{_W}background") is not None
    for part in _parts(document):
        last = None
        for run in list(part.iter(f"{_W}r")):
            if not _is_hidden(run, styles, background):
                continue
            if any(text.text and text.text.strip() for text in run.iter(f"{_W}t")):
                if last is None or run.getprevious() is not last:
                    left_out += 1
                for text in run.iter(f"{_W}t"):
                    text.text = ""
            last = run
    return left_out


def _parts(document: Any) -> Iterator[Any]:
    yield document.element.body
    for section in document.sections:
        for part in (
            *(section.header, section.first_page_header, section.even_page_header),
            *(section.footer, section.first_page_footer, section.even_page_footer),
        ):
            if not part.is_linked_to_previous:
                yield part._element


def _is_hidden(run: Any, styles: dict[str, Any], background: bool) -> bool:
    paragraph = next(run.iterancestors(f"{_W}p"), None)
    own = run.find(f"{_W}rPr")
    around = paragraph.find(f"{_W}pPr") if paragraph is not None else None
    chain = [own, *_styled(own, "rStyle", styles), *_styled(around, "pStyle", styles)]
    properties = [one for one in chain if one is not None]
    vanish = _first(properties, "vanish")
    if vanish is not None and vanish.get(f"{_W}val") not in ("0", "false", "off"):
        return True
    size = _first(properties, "sz")
    if size is not None and (size.get(f"{_W}val") or "").isdigit() and int(size.get(f"{_W}val")) <= 2:
        return True
    colour = _first(properties, "color")
    if background or colour is None or (colour.get(f"{_W}val") or "").upper() not in _WHITE:
        return False
    shades = [one for one in (*properties, around) if one is not None]
    return not _has_ground(run, shades)


def _has_ground(run: Any, properties: list[Any]) -> bool:
    """Tell whether something dark may lie under white text: shading, a highlight, a shape, or a table with a style."""
    if any(one.find(f"{_W}highlight") is not None for one in properties):
        return True
    if any(_is_shaded(one.find(f"{_W}shd")) for one in properties):
        return True
    for around in run.iterancestors():
        if around.tag == f"{_W}txbxContent":
            return True
        kind = {f"{_W}tc": "tcPr", f"{_W}tbl": "tblPr", f"{_W}tr": "trPr"}.get(around.tag)
        inner = around.find(f"{_W}{kind}") if kind else None
        if inner is not None and (_is_shaded(inner.find(f"{_W}shd")) or inner.find(f"{_W}tblStyle") is not None):
            return True
    return False


def _is_shaded(shade: Any) -> bool:
    if shade is None:
        return False
    solid = shade.get(f"{_W}val") not in ("clear", "nil", None)
    return solid or shade.get(f"{_W}fill") not in _NO_SHADE or shade.get(f"{_W}themeFill") is not None


def _styled(properties: Any, name: str, styles: dict[str, Any]) -> Iterator[Any]:
    """Yield the run and paragraph properties of a style and of those that it is based on."""
    reference = properties.find(f"{_W}{name}") if properties is not None else None
    seen: set[str] = set()
    while reference is not None:
        key = reference.get(f"{_W}val")
        style = styles.get(key)
        if style is None or key in seen:
            return
        seen.add(key)
        for kind in ("rPr", "pPr"):
            if (found := style.find(f"{_W}{kind}")) is not None:
                yield found
        reference = style.find(f"{_W}basedOn")


def _first(properties: list[Any], name: str) -> Any:
    return next((found for one in properties if (found := one.find(f"{_W}{name}")) is not None), None)


def is_hidden_slide(slide: Any) -> bool:
    """Tell whether a slide is left out of the show."""
    return slide._element.get("show") in ("0", "false")


def hide_in_deck(presentation: Any) -> int:
    """Take shapes that are hidden or stand beside the slide out of a python-pptx presentation; return how many."""
    left_out = 0
    for slide in presentation.slides:
        for shape in list(slide.shapes):
            if _is_unseen(shape, presentation.slide_width or 0, presentation.slide_height or 0):
                left_out += bool(shape.has_text_frame and shape.text_frame.text.strip()) or not shape.has_text_frame
                shape._element.getparent().remove(shape._element)
    return left_out


def _is_unseen(shape: Any, width: int, height: int) -> bool:
    named = shape._element.xpath(".//p:cNvPr")
    if named and named[0].get("hidden") in ("1", "true"):
        return True
    left, top, wide, high = shape.left, shape.top, shape.width, shape.height
    if None in (left, top, wide, high):
        return False
    return bool(left + wide <= 0 or top + high <= 0 or left >= width or top >= height)


def visible_workbook(path: Path) -> tuple[Path | io.BytesIO, list[str], int]:
    """Return a workbook without its hidden parts, the names of its hidden sheets, and how many other parts are gone.

    A hidden sheet stays as an empty one, so that the others keep their numbers. Without hidden parts it is the file.
    """
    with zipfile.ZipFile(path) as archive:
        sheets = [name for name in archive.namelist() if re.fullmatch(r"xl/worksheets/[^/]+\.xml", name)]
        book = archive.read("xl/workbook.xml") if "xl/workbook.xml" in archive.namelist() else b""
        if not _HIDDEN_SHEET.search(book) and not any(_mentions_hidden(archive, name) for name in sheets):
            return path, [], 0
    import openpyxl

    workbook = openpyxl.load_workbook(path, data_only=True)
    names: list[str] = []
    left_out = 0
    for sheet in workbook.worksheets:
        if sheet.sheet_state != "visible":
            if any(cell.value is not None for row in sheet.iter_rows() for cell in row):
                names.append(sheet.title)
            sheet.merged_cells.ranges = set()
            sheet.delete_rows(1, sheet.max_row)
        else:
            left_out += _without_hidden_cells(sheet)
    written = io.BytesIO()
    workbook.active = next((i for i, sheet in enumerate(workbook.worksheets) if sheet.sheet_state == "visible"), 0)
    workbook.save(written)
    written.seek(0)
    return written, names, left_out


def _mentions_hidden(archive: zipfile.ZipFile, name: str) -> bool:
    """Search a sheet piece by piece: it may be hundreds of megabytes."""
    before = b""
    with archive.open(name) as file:
        while piece := file.read(1 << 20):
            if _HIDDEN_CELLS.search(before + piece):
                return True
            before = piece[-500:]
    return False


def _without_hidden_cells(sheet: Any) -> int:
    """Delete hidden rows and columns; return how many runs of them held something."""
    from openpyxl.utils import column_index_from_string, range_boundaries

    first, last = 0, -1
    if sheet.auto_filter.ref:
        _, first, _, last = range_boundaries(sheet.auto_filter.ref)
    rows = [
        number
        for number, row in sheet.row_dimensions.items()
        if row.hidden and not row.outlineLevel and not first <= number <= last
    ]
    columns = [
        number
        for letter, column in sheet.column_dimensions.items()
        if column.hidden and not column.outlineLevel
        for number in range(column.min or column_index_from_string(letter), min(column.max or 0, sheet.max_column) + 1)
    ]
    rows = [number for number in rows if any(cell.value is not None for cell in sheet[number])]
    columns = [
        number
        for number in columns
        if any(sheet.cell(row, number).value is not None for row in range(1, sheet.max_row + 1))
    ]
    if rows or columns:
        sheet.merged_cells.ranges = set()
    for number in sorted(rows, reverse=True):
        sheet.delete_rows(number)
    for number in sorted(set(columns), reverse=True):
        sheet.delete_cols(number)
    return _runs(rows) + _runs(columns)


def _runs(numbers: list[int]) -> int:
    present = set(numbers)
    return sum(number - 1 not in present for number in present)
