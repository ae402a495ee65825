"""Pages as pictures: every mark is checked on the pixels, where the words were drawn by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pypdf
import pytest
from llama_index.core.schema import NodeWithScore
from PIL import Image
from pypdf.generic import RectangleObject
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from rag_pipeline.answering.citations import cite
from rag_pipeline.documents.chunk import chunk_document
from rag_pipeline.documents.page_image import mark_page
from rag_pipeline.documents.parse import parse
from rag_pipeline.errors import ConfigError, InputError, UnavailableError
from rag_pipeline.evidence import Citation, Evidence, Hits
from rag_pipeline.retrieval.evidence import evidence_of
from rag_pipeline.store.payload import node_of, payload_of
from rag_pipeline.types import Box
from tests.documents.sources import picture, source_of, words

WIDTH, HEIGHT = 400, 300
BEFORE = "The probe is rinsed with clean water, and "
QUOTE = "the wiper is changed every"
SECOND = "second month of use."
AFTER = " A dry probe is stored upright."
PAPER = (255, 255, 255)


def read(path: Path, *, max_tokens: int = 200) -> Hits:
    """The evidence of every chunk of a file."""
    source = source_of(path)
    hits = Hits()
    for chunk in chunk_document(parse(source), words, max_tokens=max_tokens, heading_tokens=8):
        node = node_of(chunk.id, payload_of(chunk, paths=[source.path], media_type="", title=""))
        hits.append(evidence_of(NodeWithScore(node=node, score=1.0), len(hits) + 1))
    return hits


def quoted(path: Path, quote: str) -> Citation:
    """The citation of a quote from the only chunk that has it."""
    (hit,) = (hit for hit in read(path) if quote in hit.text)
    start = hit.text.index(quote)
    return cite(1, hit, start, start + len(quote))


def paragraph(canvas: Canvas) -> None:
    canvas.setFont("Helvetica", 10)
    canvas.drawString(40, 200, BEFORE + QUOTE)
    canvas.drawString(40, 188, SECOND + AFTER)


def written(path: Path, *pages: Callable[[Canvas], None]) -> Path:
    canvas = Canvas(str(path), pagesize=(WIDTH, HEIGHT))
    for draw in pages:
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return path


def pixels(image: Image.Image) -> npt.NDArray[np.int16]:
    return np.asarray(image, dtype=np.int16)


def is_marked(image: Image.Image) -> npt.NDArray[np.bool_]:
    """Pixels (height, width) that are yellow: red is as bright as it was, blue is not."""
    values = pixels(image)
    return values[..., 0] - values[..., 2] > 60


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    return written(tmp_path / "manual.pdf", paragraph)


def test_the_words_of_a_quote_are_marked_line_by_line_and_no_others(manual: Path) -> None:
    citation = quoted(manual, f"{QUOTE} {SECOND}")
    first, second = citation.word_boxes()
    left = 40 + stringWidth(BEFORE, "Helvetica", 10)
    assert [first.left * WIDTH, first.right * WIDTH] == pytest.approx(
        [left, left + stringWidth(QUOTE, "Helvetica", 10)], abs=1
    )
    assert [second.left * WIDTH, second.right * WIDTH] == pytest.approx(
        [40, 40 + stringWidth(SECOND, "Helvetica", 10)], abs=1
    )
    # Helvetica reaches from 2 points below the line to 7 above it, at 10 points.
    for box, baseline in ((first, 200), (second, 188)):
        assert box.page == 1
        assert box.top * HEIGHT < HEIGHT - baseline - 7 < HEIGHT - baseline + 2 < box.bottom * HEIGHT
        assert (box.bottom - box.top) * HEIGHT < 16
    image = citation.page_image(scale=2)
    assert (image.mode, image.size) == ("RGB", (800, 600))
    rows, columns = np.nonzero(is_marked(image))
    assert rows.min() / 2 == pytest.approx(first.top * HEIGHT, abs=1)
    assert rows.max() / 2 == pytest.approx(second.bottom * HEIGHT, abs=2)
    assert columns.min() / 2 == pytest.approx(40, abs=1)
    assert columns.max() / 2 == pytest.approx(first.right * WIDTH, abs=1)
    assert image.getpixel((799, 599)) == PAPER


def test_the_paragraph_has_a_box_in_the_index_without_the_file(manual: Path) -> None:
    citation = quoted(manual, QUOTE)
    (box,) = citation.boxes
    assert box.left * WIDTH == pytest.approx(40, abs=1)
    assert HEIGHT - 210 < box.top * HEIGHT < HEIGHT - 200 < HEIGHT - 188 < box.bottom * HEIGHT < HEIGHT - 180


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (20, 150, 380, 280)])
def test_marks_stand_on_the_words_of_a_page_that_is_turned_or_cut(
    manual: Path, degrees: int, crop: tuple[int, int, int, int] | None
) -> None:
    writer = pypdf.PdfWriter(clone_from=manual)
    if crop is not None:
        writer.pages[0].cropbox = RectangleObject(crop)
    writer.pages[0].rotate(degrees)
    writer.write(manual.with_name("turned.pdf"))
    # All there is on the page is in one quote: its ink, and the marks, must cover each other.
    hit = read(manual.with_name("turned.pdf"))[0]
    marked = mark_page(hit, scale=3)
    left, bottom, right, top = crop or (0, 0, WIDTH, HEIGHT)
    size = ((right - left) * 3, (top - bottom) * 3)
    assert marked.image.size == (size if degrees % 180 == 0 else size[::-1])
    ink = np.argwhere(pixels(marked.image)[..., 0] < 100)
    yellow = np.argwhere(is_marked(marked.image))
    assert (ink.min(axis=0) >= yellow.min(axis=0)).all()
    assert (ink.max(axis=0) <= yellow.max(axis=0)).all()
    assert (np.abs(ink.min(axis=0) - yellow.min(axis=0)) < 15).all()
    assert (np.abs(ink.max(axis=0) - yellow.max(axis=0)) < 15).all()


def test_a_quote_stands_on_its_own_page_not_on_the_first_of_its_chunk(tmp_path: Path) -> None:
    def second(canvas: Canvas) -> None:
        canvas.drawString(40, 250, "The buoy is lifted out before the lake freezes.")

    path = written(tmp_path / "two.pdf", paragraph, second)
    (hit,) = read(path)
    assert (hit.page, {box.page for box in hit.boxes}) == (1, {1, 2})
    citation = quoted(path, "lifted out before")
    assert citation.page == 2
    assert [box.page for box in citation.boxes] == [2]
    assert [box.page for box in citation.word_boxes()] == [2]
    rows, _ = np.nonzero(is_marked(citation.page_image(scale=1)))
    assert HEIGHT - 265 < rows.min() < rows.max() < HEIGHT - 240
    assert is_marked(hit.page_image(page=2)).any()
    with pytest.raises(ConfigError, match="page 3 is not one of the 2 of this file"):
        hit.page_image(page=3)


def test_a_figure_is_outlined(tmp_path: Path) -> None:
    image = picture(tmp_path / "p.png", (200, 100), "white")

    def draw(canvas: Canvas) -> None:
        paragraph(canvas)
        canvas.drawImage(str(image), 60, 40, 200, 100)

    path = written(tmp_path / "a.pdf", draw)
    (figure,) = (hit for hit in read(path) if hit.figure is not None)
    marked = mark_page(figure, scale=1)
    (box,) = marked.boxes
    assert [box.left * WIDTH, box.top * HEIGHT, box.right * WIDTH, box.bottom * HEIGHT] == pytest.approx(
        [60, HEIGHT - 140, 260, HEIGHT - 40], abs=1
    )
    outline = is_marked(marked.image)
    assert outline[HEIGHT - 140 : HEIGHT - 40, 60].all()
    assert not outline[HEIGHT - 130 : HEIGHT - 50, 70:250].any()
    # What is said of a figure is no slice of the text: its citation stands where the figure does.
    citation = cite(1, figure, 0, 5)
    assert (citation.start, citation.end, citation.boxes) == (figure.start, figure.start, (box,))


def test_a_picture_is_shown_itself(tmp_path: Path) -> None:
    (hit,) = read(picture(tmp_path / "red_buoy.png", (80, 40), "red"))
    image = hit.page_image()
    assert image.size == (80, 40)
    assert image.getpixel((5, 30)) == (255, 0, 0)


def test_a_figure_of_a_format_without_pages_is_shown_by_itself(tmp_path: Path) -> None:
    image = picture(tmp_path / "red_buoy.png", (80, 40), "red")
    (tmp_path / "notes.md").write_text("The buoy is red.\n\n![the buoy](red_buoy.png)\n")
    (figure,) = (hit for hit in read(tmp_path / "notes.md") if hit.figure is not None)
    assert replace(figure, figure=str(image)).page_image().getpixel((5, 30)) == (255, 0, 0)
    with pytest.raises(InputError, match="a md file has no pages"):
        figure.page_image()  # names a digest only: where the index keeps the picture is not known


def test_a_file_that_opens_without_a_password_is_drawn(manual: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=manual)
    writer.encrypt("", "owner", algorithm="AES-256")
    writer.write(manual.with_name("open.pdf"))
    assert is_marked(quoted(manual.with_name("open.pdf"), QUOTE).page_image()).any()


def test_the_file_must_be_what_was_indexed(manual: Path) -> None:
    hit = read(manual)[0]
    copy = manual.with_name("copy.pdf")
    manual.rename(copy)
    with pytest.raises(UnavailableError, match=r"manual\.pdf cannot be shown: it cannot be read: No such file"):
        hit.page_image()
    assert replace(hit, paths=(hit.path, str(copy))).page_image().size == (800, 600), "a copy of it will do"
    copy.rename(manual)
    manual.write_bytes(manual.read_bytes() + b"\n")
    with pytest.raises(UnavailableError, match=r"it has changed since it was indexed; ingest again"):
        hit.page_image()
    with pytest.raises(UnavailableError, match="this text cannot be shown"):
        Evidence("n", 1, 1.0, "", "Text.", None, (), (), {}).page_image()


def test_formats_without_pages_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("# Notes\n\nThe buoy is yellow.\n")
    (hit,) = read(path)
    with pytest.raises(InputError, match="a md file has no pages that can be drawn; show the text, or save the file"):
        hit.page_image()


@pytest.mark.parametrize("scale", [0, -1, 10.5, float("nan")])
def test_an_impossible_scale_is_refused(manual: Path, scale: float) -> None:
    with pytest.raises(ConfigError, match="pixels per point"):
        read(manual)[0].page_image(scale=scale)


def test_a_huge_page_is_drawn_smaller(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "poster.pdf"), pagesize=(14400, 7200))
    canvas.setFont("Helvetica", 400)
    canvas.drawString(1000, 3000, "The lake is 54 m deep.")
    canvas.save()
    image = read(tmp_path / "poster.pdf")[0].page_image(scale=2)
    assert 19_000_000 < image.width * image.height <= 20_010_000
    assert image.width / image.height == pytest.approx(2, abs=0.001)
    assert is_marked(image).any()


def test_what_breaks_the_drawing_costs_the_picture_only(manual: Path) -> None:
    hit = read(manual)[0]
    manual.write_bytes(b"%PDF-1.4\nnothing more")
    broken = source_of(manual)
    with pytest.raises(InputError, match="the PDF is damaged and cannot be opened"):
        replace(hit, document_id=broken.document_id).page_image()


def test_where_no_words_are_found_the_paragraph_is_outlined(manual: Path) -> None:
    hit = read(manual)[0]
    other = replace(hit, text="x" * len(hit.text))
    marked = mark_page(other, scale=1)
    assert marked.boxes == tuple(Box(1, *(round(edge, 4) for edge in _edges(box))) for box in hit.boxes)
    middle = int((hit.boxes[0].top + hit.boxes[0].bottom) / 2 * HEIGHT)
    outline = is_marked(marked.image)
    assert outline[middle, int(hit.boxes[0].left * WIDTH)]
    assert not outline[middle, int(hit.boxes[0].left * WIDTH) + 5 : int(hit.boxes[0].right * WIDTH) - 5].any()


def _edges(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom


def test_a_page_that_takes_for_ever_is_given_up(manual: Path) -> None:
    """A form that draws itself a thousand million times: pdfium would be at it for minutes."""
    hit = read(manual)[0]
    canvas = Canvas(str(manual), pagesize=(WIDTH, HEIGHT))
    for level in range(9):
        canvas.beginForm(f"level{level}")
        if level == 0:
            canvas.drawString(10, 10, "x" * 500)
        else:
            for _ in range(10):
                canvas.doForm(f"level{level - 1}")
        canvas.endForm()
    canvas.doForm("level8")
    canvas.save()
    with pytest.raises(InputError, match="drawing takes longer than 3 s; open the file itself"):
        mark_page(replace(hit, document_id=source_of(manual).document_id), timeout_s=3.0)
