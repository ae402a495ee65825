from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from rag_pipeline.documents.ocr import _joined, _languages, _Word, _words, has_tesseract
from rag_pipeline.documents.options import ParseOptions
from rag_pipeline.documents.parse import parse
from rag_pipeline.errors import InputError, MissingProgramError
from tests.documents.sources import picture, source_of

tesseract = pytest.mark.skipif(not has_tesseract(), reason="Tesseract is not installed here")
FIRST = "The harbour master keeps the keys of the pump house in winter."
SECOND = "Boats longer than nine metres are moored at the outer pier only."


def scan(path: Path, *lines: str, size: tuple[int, int] = (1240, 1754)) -> Path:
    image = Image.new("L", size, 255)
    pen = ImageDraw.Draw(image)
    for place, text in enumerate(lines):
        pen.text((100, 300 + 400 * place), text, fill=0, font=ImageFont.load_default(34))
    image.save(path)
    return path


def scanned_pdf(path: Path, *pages: Path | str) -> Path:
    canvas = Canvas(str(path), pagesize=A4)
    for page in pages:
        if isinstance(page, Path):
            canvas.drawImage(str(page), 0, 0, *A4)
        else:
            canvas.drawString(60, 700, page)
        canvas.showPage()
    canvas.save()
    return path


@tesseract
def test_a_scanned_page_is_read_with_its_place(tmp_path: Path) -> None:
    page = scan(tmp_path / "scan.png", FIRST, SECOND)
    document = parse(source_of(scanned_pdf(tmp_path / "a.pdf", "A page of text that is no picture at all.", page)))
    assert [(element.text, element.page) for element in document.elements][1:] == [(FIRST, 2), (SECOND, 2)]
    box = document.elements[1].box
    assert box is not None
    assert [box.left, box.top] == pytest.approx([100 / 1240, 300 / 1754], abs=0.01)
    assert (document.notes, document.lacking) == (("page 2 read by OCR",), ())


@tesseract
def test_a_picture_of_a_text_is_read_and_one_with_a_few_letters_is_not(tmp_path: Path) -> None:
    document = parse(source_of(scan(tmp_path / "letter.png", FIRST, SECOND)))
    assert [(element.text, element.page) for element in document.elements] == [(FIRST, 1), (SECOND, 1)]
    assert len(document.figures) == 1
    sign = parse(source_of(scan(tmp_path / "sign.png", "NO ENTRY")))
    assert (sign.elements, len(sign.figures)) == ((), 1)


@tesseract
def test_a_fax_of_two_pages_has_two(tmp_path: Path) -> None:
    pages = [Image.open(scan(tmp_path / f"{name}.png", text)) for name, text in (("1", FIRST), ("2", SECOND))]
    (tmp_path / "fax").mkdir()
    pages[0].save(tmp_path / "fax" / "a.tiff", save_all=True, append_images=pages[1:])
    document = parse(source_of(tmp_path / "fax" / "a.tiff"))
    assert [(element.text, element.page) for element in document.elements] == [(FIRST, 1), (SECOND, 2)]
    with pytest.raises(InputError, match="the file has 2 pages, 1 are read"):
        parse(source_of(tmp_path / "fax" / "a.tiff"), ParseOptions(max_pages=1))


def test_without_tesseract_a_scan_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    page = picture(tmp_path / "scan.png", (600, 800))
    with pytest.raises(MissingProgramError, match="no text on any of its 1 pages: it is scanned; install") as caught:
        parse(source_of(scanned_pdf(tmp_path / "a.pdf", page)))
    assert caught.value.program == "tesseract"
    mixed = parse(source_of(scanned_pdf(tmp_path / "b.pdf", "A page of text that is no picture.", page)))
    assert mixed.notes == ("no text on page 2: install Tesseract to read scans",)
    assert mixed.lacking == ("tesseract",)
    alone = parse(source_of(page))
    assert (alone.lacking, alone.notes) == (("tesseract",), ())


def test_with_ocr_off_nothing_is_read_and_nothing_is_lacking(tmp_path: Path) -> None:
    off = ParseOptions(ocr="off")
    page = picture(tmp_path / "scan.png", (600, 800))
    with pytest.raises(InputError, match=r"they are pictures, and OCR is off; set ingest\.ocr: auto"):
        parse(source_of(scanned_pdf(tmp_path / "a.pdf", page)), off)
    mixed = parse(source_of(scanned_pdf(tmp_path / "b.pdf", "A page of text that is no picture.", page)), off)
    assert mixed.notes == ("no text on page 2: they are pictures, and OCR is off; set ingest.ocr: auto",)
    assert parse(source_of(page), off).lacking == ()


def test_words_are_read_from_the_table_and_broken_ones_joined() -> None:
    table = "\n".join(
        [
            "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext",
            "4\t1\t1\t1\t1\t0\t10\t20\t300\t20\t-1\t",
            "5\t1\t1\t1\t1\t1\t10\t20\t50\t12\t96.5\tis",
            "5\t1\t1\t1\t1\t2\t70\t20\t80\t12\t91\texam-",
            '5\t1\t1\t1\t2\t1\t10\t40\t60\t12\t90\tined"',
            "5\t1\t1\t1\t2\t2\t80\t40\t6\t3\t12\t~",
        ]
    )
    words = list(_words(table))
    assert words[0] == _Word((1, 1), 1, 10, 20, 60, 32, 96.5, "is")
    assert _joined(words) == 'is examined"'


@tesseract
def test_installed_languages_are_asked_for() -> None:
    assert _languages().split("+")[0] == "eng"
    assert "osd" not in _languages()
