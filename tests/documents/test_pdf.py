from collections.abc import Callable
from pathlib import Path

import pypdf
import pypdfium2 as pdfium
import pytest
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from rag_pipeline.documents.options import ParseOptions
from rag_pipeline.documents.parse import parse
from rag_pipeline.documents.partition import NO_DETECTION, prepare
from rag_pipeline.documents.pdf_text import read_pages
from rag_pipeline.errors import InputError
from rag_pipeline.types import Document
from tests.documents.sources import parsed, picture, source_of

WIDTH, HEIGHT = A4
TEXT = "The sites were chosen to be unlike one another, a bay, a river and a pond."


def written(path: Path, *pages: Callable[[Canvas], None], title: str = "") -> Document:
    canvas = Canvas(str(path), pagesize=A4)
    canvas.setTitle(title)
    for draw in pages:
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return parse(source_of(path))


def line(canvas: Canvas, y: float, text: str, size: float = 11, font: str = "Helvetica") -> None:
    canvas.setFont(font, size)
    canvas.drawString(60, y, text)


def page_of_report(number: int) -> Callable[[Canvas], None]:
    def draw(canvas: Canvas) -> None:
        line(canvas, 820, "Field Trial, final report", 9)
        line(canvas, 700, f"{number} Sites", 18)
        line(canvas, 660, "Kind of water", 11, "Helvetica-Bold")
        line(canvas, 620, TEXT)
        line(canvas, 580, "Short line")
        line(canvas, 20, f"Page {number}", 9)

    return draw


def test_headings_are_told_by_type_and_furniture_is_kept_once(tmp_path: Path) -> None:
    document = written(tmp_path / "a.pdf", *(page_of_report(number) for number in (1, 2, 3)), title="Field Trial")
    seen = [(e.text, e.depth) for e in document.elements]
    first = [
        ("Field Trial, final report", None),
        ("1 Sites", 0),
        ("Kind of water", 1),
        (TEXT, None),
        ("Short line", None),
    ]
    assert seen[:6] == [*first, ("Page 1", None)]
    assert seen[6:10] == [("2 Sites", 0), ("Kind of water", 1), (TEXT, None), ("Short line", None)]
    assert len(seen) == 14
    assert document.title == "Field Trial"
    box = document.elements[1].box
    assert box is not None
    assert (box.page, box.left) == (1, pytest.approx(60 / WIDTH, abs=0.002))
    assert box.top < 1 - 700 / HEIGHT < box.bottom


def test_a_table_is_rebuilt_from_its_lines(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        line(canvas, 700, TEXT)
        rows = [("(Millions)", "2018", "2017"), ("Net income", "5,363", "4,869"), ("Purchases", "(1,577)", "(1,373)")]
        for column, x in enumerate((60, 300, 400)):  # column by column, as many programs write
            for row, y in enumerate((660, 645, 630)):
                canvas.setFont("Helvetica", 11)
                canvas.drawString(x, y, rows[row][column])
        line(canvas, 590, TEXT)

    document = written(tmp_path / "a.pdf", draw)
    assert [(e.text, e.category) for e in document.elements] == [
        (TEXT, "NarrativeText"),
        ("(Millions)\t2018\t2017\nNet income\t5,363\t4,869\nPurchases\t(1,577)\t(1,373)", "Table"),
        (TEXT, "NarrativeText"),
    ]
    table = document.elements[1]
    assert table.html is not None
    assert table.html.count("<tr>") == 3
    assert table.box is not None
    assert table.box.left == pytest.approx(60 / WIDTH, abs=0.01)


def test_broken_words_are_joined(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        line(canvas, 700, "The water of the lake and the pre- and post-war harbour is exam-")
        line(canvas, 686, "ined every second week by the laboratory.")

    (element,) = written(tmp_path / "a.pdf", draw).elements
    assert element.text == (
        "The water of the lake and the pre- and post-war harbour is examined every second week by the laboratory."
    )


def test_two_columns_of_text_are_no_table(tmp_path: Path) -> None:
    text = "The lake was calm in the morning and the boat went out to lift the buoys before noon came"
    words = text.split()

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 11)
        for row in range(3):
            for x in (60, 320):
                canvas.drawString(x, 700 - 14 * row, " ".join(words[row * 6 : row * 6 + 6]))

    document = written(tmp_path / "a.pdf", draw)
    assert "Table" not in {element.category for element in document.elements}


def test_pictures_have_page_box_and_caption(tmp_path: Path) -> None:
    path = picture(tmp_path / "p.png", (200, 100))

    def draw(canvas: Canvas) -> None:
        line(canvas, 700, TEXT)
        canvas.drawImage(str(path), 60, 400, 200, 100)
        line(canvas, 380, "Figure 1. The error at Hoyer Bay.")

    (figure,) = written(tmp_path / "a.pdf", lambda canvas: line(canvas, 700, TEXT), draw).figures
    assert (figure.page, figure.after, figure.width, figure.height) == (2, 1, 200, 100)
    assert figure.caption == "Figure 1. The error at Hoyer Bay."
    assert figure.box is not None
    assert [figure.box.left, figure.box.top, figure.box.right, figure.box.bottom] == pytest.approx(
        [60 / WIDTH, 1 - 500 / HEIGHT, 260 / WIDTH, 1 - 400 / HEIGHT], abs=0.002
    )


def test_blank_pages_are_nothing_to_speak_of_unless_there_are_no_others(tmp_path: Path) -> None:
    document = written(tmp_path / "a.pdf", lambda canvas: line(canvas, 700, TEXT), lambda canvas: None)
    assert document.notes == ()
    with pytest.raises(InputError, match="no text on any of its 1 pages: they are blank"):
        written(tmp_path / "b.pdf", lambda canvas: None)


def test_more_pages_than_the_limit_are_refused(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        line(canvas, 700, TEXT)

    written(tmp_path / "a.pdf", draw, draw, draw)
    with pytest.raises(InputError, match=r"the file has 3 pages, 2 are read; raise ingest\.max_pages, or split"):
        parse(source_of(tmp_path / "a.pdf"), ParseOptions(max_pages=2))
    assert parse(source_of(tmp_path / "a.pdf"), ParseOptions(max_pages=3)).elements


def test_a_picture_on_a_turned_page_stands_where_it_is_shown(tmp_path: Path) -> None:
    path = picture(tmp_path / "p.png", (200, 100))

    def draw(canvas: Canvas) -> None:
        line(canvas, 700, TEXT)
        canvas.drawImage(str(path), 60, 400, 200, 100)

    written(tmp_path / "a.pdf", draw)
    writer = pypdf.PdfWriter(clone_from=tmp_path / "a.pdf")
    writer.pages[0].rotate(90)
    writer.write(tmp_path / "turned.pdf")
    (figure,) = parse(source_of(tmp_path / "turned.pdf")).figures
    assert figure.box is not None  # turned clockwise: what was at the bottom is now at the left
    assert [figure.box.left, figure.box.top, figure.box.right, figure.box.bottom] == pytest.approx(
        [400 / HEIGHT, 60 / WIDTH, 500 / HEIGHT, 260 / WIDTH], abs=0.002
    )


def test_a_page_that_breaks_pdfminer_costs_no_other(tmp_path: Path) -> None:
    written(tmp_path / "a.pdf", *(lambda canvas: line(canvas, 700, TEXT) for _ in range(2)))
    writer = pypdf.PdfWriter(clone_from=tmp_path / "a.pdf")
    del writer.pages[0]["/Resources"]["/Font"]
    writer.write(tmp_path / "b.pdf")
    assert [(e.text, e.page) for e in parse(source_of(tmp_path / "b.pdf")).elements][-1] == (TEXT, 2)


def test_an_encrypted_pdf_is_refused_unless_it_opens_without_a_password(tmp_path: Path) -> None:
    written(tmp_path / "plain.pdf", lambda canvas: line(canvas, 700, TEXT))
    for name, password in (("locked.pdf", "secret"), ("open.pdf", "")):
        writer = pypdf.PdfWriter(clone_from=tmp_path / "plain.pdf")
        writer.encrypt(password, "owner", algorithm="AES-256")
        writer.write(tmp_path / name)
    with pytest.raises(InputError, match="the PDF is encrypted; remove its password"):
        parse(source_of(tmp_path / "locked.pdf"))
    assert parse(source_of(tmp_path / "open.pdf")).elements[0].text == TEXT


def test_a_broken_pdf_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the PDF is damaged and cannot be opened"):
        parsed(tmp_path / "a.pdf", b"%PDF-1.4\nnothing more")


@pytest.mark.parametrize("name", ["manuals/otter-2-user-manual.pdf", "reports/field-trial-2024.pdf"])
def test_text_classes_and_order_are_those_of_unstructured(name: str) -> None:
    from unstructured.partition.pdf import partition_pdf

    path = Path(__file__).parents[2] / "examples" / "library" / name
    prepare()
    expected = partition_pdf(filename=str(path), strategy="fast", languages=NO_DETECTION)
    pdf = pdfium.PdfDocument(str(path))
    found = [raw for page in read_pages(path, pdf) for raw in page.elements]
    pdf.close()
    assert [(raw.category, raw.text) for raw in found] == [(raw.category, raw.text) for raw in expected]
