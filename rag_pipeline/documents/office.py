"""Word, PowerPoint and Excel files in, elements and pictures out.

This module knows Unstructured's office partitioners and what they leave out: which short lines are headings by style,
speaker notes, charts and pictures.
"""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_pipeline.documents.facts import day_of
from rag_pipeline.documents.libreoffice import converted
from rag_pipeline.documents.office_visible import hide_in_deck, hide_in_word, is_hidden_slide, visible_workbook
from rag_pipeline.documents.options import DEFAULTS, ParseOptions, check_pages
from rag_pipeline.documents.partition import NO_DETECTION, Parts, clean, gather, html_table
from rag_pipeline.errors import InputError
from rag_pipeline.types import Element, Facts

if TYPE_CHECKING:
    from unstructured.documents.elements import Element as RawElement
    from unstructured.documents.elements import Image

__all__ = ["read_doc", "read_docx", "read_ppt", "read_pptx", "read_xlsx"]


def read_docx(path: Path) -> Parts:
    """Read a Word document; headings are the paragraphs with a heading style, where the document uses any."""
    import docx
    from unstructured.partition.docx import partition_docx, register_picture_partitioner

    document = docx.Document(str(path))
    hidden = hide_in_word(document)
    names = {style.style_id: style.name or "" for style in document.styles}
    levels: dict[str, int] = {}
    for paragraph in document.paragraphs:
        # By its id: python-docx searches all styles again for each paragraph's own.
        style = names.get(paragraph._p.style, "")
        if style == "Title" or style.startswith("Heading "):
            level = 0 if style == "Title" else int(style.split()[1]) if style.split()[1].isdigit() else 1
            levels.setdefault(clean(paragraph.text), level)

    def depth_of(raw: RawElement) -> int | None:
        return levels.get(clean(raw.text)) if levels else int(raw.metadata.category_depth or 0)

    register_picture_partitioner(_DocxPictures)
    shown = {"file": _written(document)} if hidden else {"filename": str(path)}
    raws = partition_docx(**shown, languages=NO_DETECTION, include_page_breaks=False)
    parts = gather(raws, depth_of)
    parts.hidden = hidden
    parts.title = clean(document.core_properties.title)
    parts.facts = Facts(day_of(document.core_properties.created))
    return parts


def read_pptx(path: Path, options: ParseOptions = DEFAULTS) -> Parts:
    """Read slides: pages are slide numbers, headings are slide titles; charts and speaker notes end their slide.

    Raises:
        InputError: there are more than ``options.max_pages`` slides.
    """
    import pptx
    from unstructured.partition.pptx import partition_pptx, register_picture_partitioner

    presentation = pptx.Presentation(str(path))
    check_pages(len(presentation.slides), options.max_pages, "slides")
    properties = presentation.core_properties
    parts = Parts(title=clean(properties.title), hidden=hide_in_deck(presentation))
    parts.facts = Facts(day_of(properties.created))
    register_picture_partitioner(_PptxPictures)
    shown = {"file": _written(presentation)} if parts.hidden else {"filename": str(path)}
    raws = partition_pptx(**shown, languages=NO_DETECTION, include_page_breaks=False)
    unseen = 0
    for number, slide in enumerate(presentation.slides, start=1):
        if is_hidden_slide(slide):
            unseen += 1
            continue
        on_slide = [raw for raw in raws if raw.metadata.page_number == number]
        # Only the title shape has depth 0: deeper Titles are body lines that Unstructured took for one.
        seen = gather(on_slide, lambda raw: 0 if raw.metadata.category_depth == 0 else None)
        parts.append(seen)
        parts.elements.extend(_charts(slide, number))
        notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
        if notes is not None and (text := clean(notes.text)):
            parts.elements.append(Element(text, "NarrativeText", number))
    if unseen:
        slides = "1 hidden slide was" if unseen == 1 else f"{unseen} hidden slides were"
        parts.notes.append(f"{slides} left out; show them in PowerPoint to search in them")
    return parts


def read_xlsx(path: Path, options: ParseOptions = DEFAULTS) -> Parts:
    """Read a workbook: pages are sheet numbers, and each sheet's name is a heading.

    Raises:
        InputError: there are more than ``options.max_pages`` sheets.
    """
    from unstructured.partition.xlsx import partition_xlsx

    names = _sheet_names(path)
    check_pages(len(names), options.max_pages, "sheets")
    parts = Parts()
    book: Path | io.BytesIO = path
    if zipfile.is_zipfile(path):
        book, hidden, parts.hidden = visible_workbook(path)
    else:
        hidden = _hidden_sheets(path)
    shown = {"filename": str(book)} if isinstance(book, Path) else {"file": book}
    found = gather(partition_xlsx(**shown, languages=NO_DETECTION), lambda _: 1)
    sheet = 0
    for element in found.elements:
        name = names[element.page - 1] if element.page is not None and element.page <= len(names) else ""
        if name in hidden:
            continue
        if element.page is not None and element.page != sheet:
            sheet = element.page
            if name := clean(name):
                parts.elements.append(Element(name, "Title", sheet, 0))
        parts.elements.append(_with_line_ends(element))
    if hidden:
        sheets = ", ".join(clean(name) for name in hidden)
        parts.notes.append(f"hidden sheets were left out: {sheets}; unhide them to search in them")
    return parts


def read_doc(path: Path) -> Parts:
    """Read an old Word document through LibreOffice.

    Raises:
        InputError: it is under a password, or LibreOffice cannot read it.
        MissingProgramError: LibreOffice is not installed.
    """
    import olefile

    with olefile.OleFileIO(str(path)) as ole:
        head = ole.openstream("WordDocument").read(12)
    if len(head) == 12 and head[11] & 1:  # fEncrypted of the file's information block
        raise InputError("the file is encrypted; remove its password and save it again")
    with converted(path, ".docx") as newer:
        return read_docx(newer)


def read_ppt(path: Path, options: ParseOptions = DEFAULTS) -> Parts:
    """Read an old PowerPoint presentation through LibreOffice.

    Raises:
        InputError: it is under a password, LibreOffice cannot read it, or it has too many slides.
        MissingProgramError: LibreOffice is not installed.
    """
    import olefile

    with olefile.OleFileIO(str(path)) as ole:
        head = ole.openstream("Current User").read(16) if ole.exists("Current User") else b""
    if head[12:16] == b"\xdf\xc4\xd1\xf3":  # the mark of an encrypted document
        raise InputError("the file is encrypted; remove its password and save it again")
    with converted(path, ".pptx") as newer:
        return read_pptx(newer, options)


def _written(document: Any) -> io.BytesIO:
    """Return a python-docx document or a presentation as a file."""
    buffer = io.BytesIO()
    document.save(buffer)
    buffer.seek(0)
    return buffer


def _hidden_sheets(path: Path) -> list[str]:
    """Name the hidden sheets of an old workbook."""
    import xlrd  # type: ignore[import-untyped]

    with xlrd.open_workbook(str(path), on_demand=True) as book:
        return [str(sheet.name) for sheet in book.sheets() if sheet.visibility]


def _sheet_names(path: Path) -> list[str]:
    import pandas as pd

    with pd.ExcelFile(path) as book:
        return [str(name) for name in book.sheet_names]


def _with_line_ends(element: Element) -> Element:
    """Undo what pandas does to line ends in cells: it writes a backslash and an n."""
    if element.html is None or "\\n" not in element.html:
        return element
    return replace(element, text=element.text.replace("\\n", " "), html=element.html.replace("\\n", " "))


def _charts(slide: Any, number: int) -> Iterator[Element]:
    """Yield the data of a slide's charts as tables: categories down, series across."""
    for shape in slide.shapes:
        if not getattr(shape, "has_chart", False):
            continue
        for plot in shape.chart.plots:
            series = list(plot.series)
            rows = [["", *(clean(one.name) for one in series)]]
            for place, category in enumerate(plot.categories):
                values = [one.values[place] if place < len(one.values) else None for one in series]
                rows.append([clean(str(category)), *("" if value is None else f"{value:g}" for value in values)])
            if text := "\n".join("\t".join(row).strip() for row in rows).strip():
                yield Element(text, "Table", number, html=html_table(rows))


class _DocxPictures:
    """Unstructured's plug for pictures in Word paragraphs."""

    @classmethod
    def iter_elements(cls, paragraph: Any, opts: Any) -> Iterator[Image]:
        for drawing in paragraph._p.xpath(".//w:drawing"):
            alts = drawing.xpath(".//wp:docPr/@descr") or [""]
            for relation in drawing.xpath(".//a:blip/@r:embed"):
                part = paragraph.part.related_parts.get(relation)
                if part is not None:
                    yield _image(part.blob, str(alts[0]), opts.metadata_page_number)


class _PptxPictures:
    """Unstructured's plug for pictures on slides."""

    @classmethod
    def iter_elements(cls, picture: Any, opts: Any) -> Iterator[Image]:
        from unstructured.documents.coordinates import PixelSpace
        from unstructured.documents.elements import CoordinatesMetadata

        relation = picture._element.blip_rId
        if relation is None or relation not in picture.part.rels or picture.part.rels[relation].is_external:
            return
        raw = _image(picture.image.blob, picture._element.nvPicPr.cNvPr.get("descr") or "", opts.page_number)
        slides = picture.part.package.presentation_part.presentation
        left, top = picture.left or 0, picture.top or 0
        right, bottom = left + (picture.width or 0), top + (picture.height or 0)
        raw.metadata.coordinates = CoordinatesMetadata(
            points=((left, top), (left, bottom), (right, bottom), (right, top)),
            system=PixelSpace(slides.slide_width, slides.slide_height),
        )
        yield raw


def _image(blob: bytes, alt: str, page: int | None) -> Image:
    from unstructured.documents.elements import ElementMetadata, Image

    metadata = ElementMetadata(image_base64=base64.b64encode(blob).decode("ascii"), page_number=page)
    return Image(text=alt, metadata=metadata)
