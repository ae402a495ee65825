"""Words on a page of a PDF: found whatever the reader made of spaces, hyphens and ligatures."""

from collections.abc import Iterator
from pathlib import Path

import pypdfium2 as pdfium
import pytest
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from rag_pipeline.documents.page_text import PageText

WIDTH, HEIGHT = 400, 300
ROWS = [("Sweden", "44", "66"), ("Norway", "44", "70")]


@pytest.fixture
def text(tmp_path: Path) -> Iterator[PageText]:
    canvas = Canvas(str(tmp_path / "a.pdf"), pagesize=(WIDTH, HEIGHT))
    canvas.setFont("Helvetica", 10)
    canvas.drawString(40, 260, "The cables are water-")
    canvas.drawString(40, 248, "proof. Total: 44")
    for column in range(3):  # as some programs write tables: column by column
        for row, cells in enumerate(ROWS):
            canvas.drawString(40 + 80 * column, 200 - 12 * row, cells[column])
    canvas.drawString(40, 100, "Caf\u00e9 Lindau, 54 m")
    canvas.save()
    pdf = pdfium.PdfDocument(str(tmp_path / "a.pdf"))
    yield PageText(pdf[0], 7)
    pdf.close()


def baselines(text: PageText, wanted: str, within: tuple[float, float, float, float] | None = None) -> list[int]:
    """The lines on which it is found, in points from the bottom; descenders hang 2 points below them."""
    return [round(HEIGHT * (1 - box.bottom) + 2.1) for box in text.find(wanted, within)]


def test_a_word_that_is_broken_at_the_end_of_a_line_has_two_boxes(text: PageText) -> None:
    first, second = text.find("waterproof", None)
    assert (first.page, second.page) == (7, 7)
    before = 40 + stringWidth("The cables are ", "Helvetica", 10)
    assert first.left * WIDTH == pytest.approx(before, abs=1)
    assert second.right * WIDTH == pytest.approx(40 + stringWidth("proof", "Helvetica", 10), abs=1)
    assert baselines(text, "waterproof") == [260, 248]


def test_accents_case_and_spaces_do_not_matter(text: PageText) -> None:
    assert baselines(text, "CAFE\u0301  lindau,54m") == [100]


def test_of_equal_words_the_one_in_its_paragraph_is_meant(text: PageText) -> None:
    assert baselines(text, "44") == [248]
    table = (0.0, 1 - 215 / HEIGHT, 1.0, 1 - 180 / HEIGHT)
    assert baselines(text, "44", table) == [200]
    assert text.find("44", (0.0, 0.8, 1.0, 1.0)) == ()


def test_the_cells_of_a_row_are_found_where_the_page_has_columns(text: PageText) -> None:
    table = (0.0, 1 - 215 / HEIGHT, 1.0, 1 - 180 / HEIGHT)
    assert len(text.find("Norway\t70", table)) == 1
    assert baselines(text, "Norway\t70", table) == [188]
    assert baselines(text, "Norway\t44", table) == [188], "not the 44 of the row above"
    assert baselines(text, "Norway\t44\t44", table) == [188, 200], "each cell has a place of its own"
    assert text.find("Norway\t71", table) == (), "all cells must be there"


def test_what_is_not_there_and_what_has_no_letters_is_not_found(text: PageText) -> None:
    assert text.find("harbour") == ()
    assert text.find(" - ") == ()
    assert text.find("") == ()
