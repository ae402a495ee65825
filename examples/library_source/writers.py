"""The writers: blocks in, one file out, the same bytes at every run.

Every writer fixes the dates its format carries. Word, PowerPoint, Excel and EPUB files are zip
archives, and are packed again with one timestamp, because the libraries stamp the present time.
"""

import datetime as dt
import html
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
from docx.shared import Cm
from pptx.util import Cm as SlideCm
from pptx.util import Pt
from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.shapes import Drawing
from reportlab.lib import colors
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import cm
from reportlab.platypus import Image as PdfImage
from reportlab.platypus import ListFlowable, Paragraph, SimpleDocTemplate, Spacer
from reportlab.platypus import PageBreak as PdfPageBreak
from reportlab.platypus import Table as PdfTable

from library_source.blocks import BarChart, Block, Bullets, Heading, PageBreak, Picture, Slide, Table, Text

__all__ = ["write_docx", "write_epub", "write_pdf", "write_pptx", "write_xlsx"]

_AUTHOR = "Tarnsee Instruments GmbH"
_DATE = dt.datetime(2025, 3, 1, 8, 0, 0)
_MODIFIED = re.compile(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*")
_SHADE = "#e3edf3"


def write_pdf(path: Path, title: str, blocks: Sequence[Block]) -> None:
    """Write the blocks as a PDF, A4, with its page number at the foot of each page."""
    document = SimpleDocTemplate(
        str(path),
        invariant=1,
        title=title,
        author=_AUTHOR,
        leftMargin=2.1 * cm,
        rightMargin=2.1 * cm,
        topMargin=1.9 * cm,
        bottomMargin=2.0 * cm,
    )
    flowables = [flowable for block in blocks for flowable in _flow(block)]

    def draw_foot(canvas: Any, page: Any) -> None:
        canvas.setFont("Helvetica", 9)
        canvas.drawString(2.1 * cm, 1.1 * cm, title)
        canvas.drawRightString(18.9 * cm, 1.1 * cm, f"Page {page.page}")

    document.build(flowables, onFirstPage=draw_foot, onLaterPages=draw_foot)


def _flow(block: Block) -> list[Any]:
    """Return the block as reportlab's flowables."""
    styles = getSampleStyleSheet()
    body, caption = styles["BodyText"], styles["Italic"]
    body.fontSize, body.leading = 11, 15.5
    styles["Heading1"].spaceBefore, styles["Heading1"].spaceAfter = 18, 11
    styles["Heading2"].spaceBefore, styles["Heading2"].spaceAfter = 14, 8
    caption.fontSize, caption.leading, caption.spaceBefore, caption.spaceAfter = 9.5, 12, 6, 8
    match block:
        case Heading():
            return [Paragraph(block.text, styles[("Title", "Heading1", "Heading2")[block.level]])]
        case Text():
            return [Paragraph(block.text, body)]
        case Bullets():
            items = [Paragraph(item, body) for item in block.items]
            return [ListFlowable(items, bulletType="1" if block.numbered else "bullet"), Spacer(1, 6)]
        case Table():
            rows = [[Paragraph(cell, body) for cell in row] for row in (block.header, *block.rows)]
            rows[0] = [Paragraph(f"<b>{cell}</b>", body) for cell in block.header]
            table = PdfTable(rows, colWidths=[width * cm for width in block.widths], repeatRows=1)
            table.setStyle(
                [
                    ("GRID", (0, 0), (-1, -1), 0.5, colors.grey),
                    ("BACKGROUND", (0, 0), (-1, 0), _SHADE),
                    ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                    ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
                ]
            )
            return [Paragraph(block.caption, caption), table, Spacer(1, 10)]
        case Picture():
            image = PdfImage(io.BytesIO(block.draw()))
            image.drawWidth, image.drawHeight = _fit(image, block.width_cm)
            return [Spacer(1, 6), image, Paragraph(block.caption, caption)]
        case BarChart():
            return [Spacer(1, 6), _chart(block), Paragraph(block.caption, caption)]
        case PageBreak():
            return [PdfPageBreak()]


def _fit(image: Any, width_cm: float) -> tuple[float, float]:
    """Return width and height in points for the width asked for."""
    return width_cm * cm, width_cm * cm * image.imageHeight / image.imageWidth


def _chart(block: BarChart) -> Drawing:
    """Return the chart as vector shapes, 15 by 6 centimetres."""
    chart = VerticalBarChart()
    chart.x, chart.y, chart.width, chart.height = 40, 25, 15 * cm - 60, 6 * cm - 40
    chart.data = [block.values]
    chart.categoryAxis.categoryNames = list(block.labels)
    chart.categoryAxis.labels.fontSize = chart.valueAxis.labels.fontSize = 10
    chart.valueAxis.valueMin, chart.valueAxis.valueMax, chart.valueAxis.valueStep = 0, _round_up(max(block.values)), 40
    chart.bars[0].fillColor = colors.HexColor("#1f5f8b")
    chart.barLabelFormat = "%d"
    chart.barLabels.nudge = 8
    chart.barLabels.fontSize = 10
    drawing = Drawing(15 * cm, 6 * cm)
    drawing.add(chart)
    return drawing


def _round_up(value: float) -> int:
    """Return the axis end above the value, a multiple of 40 that leaves room for the bar's label."""
    return 40 * (1 + int(value // 40))


def write_docx(path: Path, title: str, blocks: Sequence[Block]) -> None:
    """Write the blocks as a Word document with heading styles."""
    document = docx.Document()
    core = document.core_properties
    core.title, core.author, core.created, core.modified = title, _AUTHOR, _DATE, _DATE
    for block in blocks:
        match block:
            case Heading():
                document.add_heading(block.text, block.level)
            case Text():
                document.add_paragraph(block.text)
            case Bullets():
                for item in block.items:
                    document.add_paragraph(item, "List Bullet")
            case Table():
                document.add_paragraph(block.caption, "Caption")
                table = document.add_table(0, len(block.header), "Light Grid Accent 1")
                for row in (block.header, *block.rows):
                    for cell, text in zip(table.add_row().cells, row, strict=True):
                        cell.text = text
            case Picture():
                document.add_picture(io.BytesIO(block.draw()), Cm(block.width_cm))
                document.add_paragraph(block.caption, "Caption")
            case _:
                raise ValueError(f"{type(block).__name__} is not written to Word: leave it out")
    document.save(str(path))
    _repack(path)


def write_pptx(path: Path, title: str, slides: Sequence[Slide]) -> None:
    """Write the slides, each with its notes; the first one is a title slide."""
    show = pptx.Presentation()
    show.slide_width, show.slide_height = SlideCm(25.4), SlideCm(19.05)
    core = show.core_properties
    core.title, core.author, core.created, core.modified = title, _AUTHOR, _DATE, _DATE
    for number, slide in enumerate(slides):
        layout = 0 if number == 0 else 1 if isinstance(slide.body, Bullets) else 5
        page: Any = show.slides.add_slide(show.slide_layouts[layout])
        page.shapes.title.text = slide.title
        match slide.body:
            case Bullets(items=items):
                page.placeholders[1].text = "\n".join(items)
            case Table():
                _place_table(page, slide.body)
            case Picture():
                page.shapes.add_picture(
                    io.BytesIO(slide.body.draw()), SlideCm(2.7), SlideCm(5), SlideCm(slide.body.width_cm)
                )
                _place_line(page, slide.body.caption, 15.2)
        page.notes_slide.notes_text_frame.text = slide.notes
    show.save(str(path))
    _repack(path)


def _place_table(page: Any, table: Table) -> None:
    """Put the table on the slide, with its caption below."""
    rows = (table.header, *table.rows)
    left = (25.4 - sum(table.widths)) / 2
    frame = page.shapes.add_table(
        len(rows), len(table.header), SlideCm(left), SlideCm(5), SlideCm(sum(table.widths)), SlideCm(1.6 * len(rows))
    )
    for column, width in zip(frame.table.columns, table.widths, strict=True):
        column.width = SlideCm(width)
    for y, row in enumerate(rows):
        for x, text in enumerate(row):
            frame.table.cell(y, x).text = text
    _place_line(page, table.caption, 5.6 + 1.6 * len(rows))


def _place_line(page: Any, text: str, top_cm: float) -> None:
    """Put a line of text on the slide, as wide as the slide allows."""
    frame = page.shapes.add_textbox(SlideCm(2), SlideCm(top_cm), SlideCm(21.4), SlideCm(1.2)).text_frame
    frame.text = text
    frame.paragraphs[0].font.size = Pt(18)


def write_xlsx(path: Path, sheets: Sequence[tuple[str, Sequence[Sequence[str | float]]]]) -> None:
    """Write the sheets, each a name and rows of which the first is the header."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    book.properties.creator = _AUTHOR
    for name, rows in sheets:
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
        for column in sheet.columns:
            sheet.column_dimensions[column[0].column_letter].width = 2 + max(len(str(cell.value)) for cell in column)
        sheet.freeze_panes = "A2"
    book.save(path)
    _repack(path)


def write_epub(path: Path, title: str, blocks: Sequence[Block]) -> None:
    """Write the blocks as an EPUB 3 book; each heading of level 1 begins a chapter."""
    chapters: list[tuple[str, list[str]]] = []
    for block in blocks:
        match block:
            case Heading():
                chapters.append((block.text, []))
            case Text():
                chapters[-1][1].append(f"<p>{html.escape(block.text, quote=False)}</p>")
            case _:
                raise ValueError(f"{type(block).__name__} is not written to EPUB: leave it out")
    files = {f"c{n}.xhtml": _page(name, "".join(lines)) for n, (name, lines) in enumerate(chapters, 1)}
    links = "".join(f'<li><a href="c{n}.xhtml">{name}</a></li>' for n, (name, _) in enumerate(chapters, 1))
    items = "".join(f'<item id="{name[:-6]}" href="{name}" media-type="application/xhtml+xml"/>' for name in files)
    spine = "".join(f'<itemref idref="{name[:-6]}"/>' for name in files)
    package = (
        '<?xml version="1.0" encoding="utf-8"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" '
        'unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:identifier id="id">urn:tarnsee:ten-years</dc:identifier><dc:title>{title}</dc:title>'
        f'<dc:language>en</dc:language><dc:creator>{_AUTHOR}</dc:creator><meta property="dcterms:modified">'
        f'{_DATE.isoformat()}Z</meta></metadata><manifest><item id="nav" href="nav.xhtml" properties="nav" '
        f'media-type="application/xhtml+xml"/>{items}</manifest><spine>{spine}</spine></package>'
    )
    container = (
        '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        '<rootfiles><rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    files["nav.xhtml"] = _page(title, f'<nav epub:type="toc"><ol>{links}</ol></nav>')
    texts = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "book.opf": package, **files}
    _pack(path, {name: text.encode() for name, text in texts.items()})


def _page(title: str, body: str) -> str:
    """Return a page of the book."""
    return (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml" '
        f'xmlns:epub="http://www.idpf.org/2007/ops"><head><title>{title}</title></head>'
        f"<body><h1>{title}</h1>{body}</body></html>"
    )


def _repack(path: Path) -> None:
    """Pack an Office file again with fixed times in its archive and its core properties."""
    stamp = _DATE.isoformat().encode() + b"Z"
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    core = "docProps/core.xml"
    files[core] = _MODIFIED.sub(rb"\g<1>" + stamp, files[core])
    _pack(path, files)


def _pack(path: Path, files: dict[str, bytes]) -> None:
    """Write a zip archive with one timestamp; EPUB's `mimetype` stays uncompressed, as it must."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2025, 3, 1, 8, 0, 0))
            stored = name == "mimetype"
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
