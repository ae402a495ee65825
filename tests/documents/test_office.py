from pathlib import Path

import docx
import openpyxl
import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from rag_pipeline.documents.parse import parse
from rag_pipeline.errors import InputError
from rag_pipeline.types import Element
from tests.documents.sources import parsed, picture, source_of


def test_word_headings_come_from_styles_and_pictures_stand_in_their_place(tmp_path: Path) -> None:
    report = docx.Document()
    report.core_properties.title = ""
    report.add_heading("Policy", level=0)
    report.add_heading("Travel", level=1)
    report.add_paragraph("Trains come first for every one of us.")
    report.add_paragraph("Short Line")
    report.add_picture(str(picture(tmp_path / "slipway.png")))
    report.add_paragraph("Figure 1. The slipway.")
    table = report.add_table(rows=2, cols=2)
    for cell, text in zip((cell for row in table.rows for cell in row.cells), ("a", "b", "1", "2"), strict=True):
        cell.text = text
    report.save(str(tmp_path / "a.docx"))
    document = parse(source_of(tmp_path / "a.docx"))
    assert [(e.text, e.category, e.depth) for e in document.elements] == [
        ("Policy", "Title", 0),
        ("Travel", "Title", 1),
        ("Trains come first for every one of us.", "NarrativeText", None),
        ("Short Line", "UncategorizedText", None),
        ("Figure 1. The slipway.", "UncategorizedText", None),
        ("a\tb\n1\t2", "Table", None),
    ]
    assert document.title == "Policy"
    (figure,) = document.figures
    assert (figure.caption, figure.after, figure.page) == ("Figure 1. The slipway.", 3, None)


def test_slides_have_pages_notes_charts_and_boxes(tmp_path: Path) -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Orders"
    slide.notes_slide.notes_text_frame.text = "Say this slowly to everybody."
    data = CategoryChartData()
    data.categories = ["Fish", "Water"]
    data.add_series("2024", (41, 12.5))
    slide.shapes.add_chart(XL_CHART_TYPE.PIE, 0, Inches(2), Inches(3), Inches(3), data)
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "Boat"
    width, height = deck.slide_width, deck.slide_height
    second.shapes.add_picture(str(picture(tmp_path / "p.png")), width // 2, height // 2, width // 4, height // 4)
    deck.save(str(tmp_path / "a.pptx"))
    document = parse(source_of(tmp_path / "a.pptx"))
    assert [(e.text, e.category, e.page, e.depth) for e in document.elements] == [
        ("Orders", "Title", 1, 0),
        ("2024\nFish\t41\nWater\t12.5", "Table", 1, None),
        ("Say this slowly to everybody.", "NarrativeText", 1, None),
        ("Boat", "Title", 2, 0),
    ]
    (figure,) = document.figures
    assert (figure.page, figure.after, figure.context) == (2, 3, "Boat")
    assert figure.box is not None
    assert [figure.box.left, figure.box.top, figure.box.right, figure.box.bottom] == pytest.approx(
        [0.5, 0.5, 0.75, 0.75]
    )


def test_each_sheet_is_a_page_under_its_name(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    for row in (("Article", "EUR"), ("OT2", 3480), ("SP", 14.9)):
        book.active.append(row)
    book.create_sheet("Stock").append(("Article", "Pieces"))
    book["Stock"].append(("OT2", 7))
    book.save(tmp_path / "a.xlsx")
    document = parse(source_of(tmp_path / "a.xlsx"))
    assert [(e.text, e.page, e.depth) for e in document.elements] == [
        ("Prices", 1, 0),
        ("Article\tEUR\nOT2\t3480\nSP\t14.9", 1, None),
        ("Stock", 2, 0),
        ("Article\tPieces\nOT2\t7", 2, None),
    ]
    assert isinstance(document.elements[1], Element)
    assert document.elements[1].html is not None
    assert document.title == ""


def test_a_broken_workbook_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="damaged"):
        parsed(tmp_path / "a.xlsx", b"PK\x03\x04 and then nothing")
