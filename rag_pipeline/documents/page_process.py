"""The inside of a drawing process: a request in, a page with its marks out as bare pixels.

Runs in a :class:`~rag_pipeline.documents.sandbox.Sandbox`, for one request, which it reads from a file that it then
writes its reply to. The reply has no encoding that somebody else would have to trust a decoder with: the file that is
drawn may have taken this process over. It knows PDFs and pictures, and nothing of what was searched for.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rag_pipeline.documents.kinds import kind_of
from rag_pipeline.documents.page_text import PageText
from rag_pipeline.documents.pdf_file import opened
from rag_pipeline.documents.sandbox import refuse_network
from rag_pipeline.errors import ConfigError, InputError
from rag_pipeline.types import Box

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MOST_PIXELS", "Drawn", "Mark", "Refused", "Reply", "Request"]

MOST_PIXELS = 20_000_000

_PAPER = (255, 255, 255)
_MARKER = (255, 236, 110)
_PEN = (230, 120, 0)

Edges = tuple[float, float, float, float]
"""Left, top, right, bottom, as fractions of the page."""


class Mark(msgspec.Struct, frozen=True):
    """What to mark: a text on a page, in the paragraph or table of these edges; without a text, those edges."""

    text: str
    page: int
    edges: Edges | None = None


class Request(msgspec.Struct, frozen=True):
    """A file, the page of it to draw, or None to draw nothing and find the words, and what to mark.

    ``picture`` is drawn in place of a file that has no pages, b"" for none.
    """

    path: bytes
    picture: bytes
    page: int | None
    scale: float
    marks: tuple[Mark, ...]


class Drawn(msgspec.Struct, frozen=True, tag="drawn"):
    """RGB pixels, row by row, none where no page was asked for; and where the marks are, page and edges of each."""

    width: int
    height: int
    pixels: bytes
    boxes: tuple[tuple[int, Edges], ...]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Why not; ``asked_wrong`` where the caller has to ask for something else."""

    message: str
    asked_wrong: bool = False


Reply = Drawn | Refused


def draw(request: Request) -> Drawn:
    """Do what is asked.

    Raises:
        InputError: the file has no pages that can be drawn.
        ConfigError: it has not this page.
    """
    path = Path(os.fsdecode(request.path))
    kind = kind_of(path)
    if kind == "pdf":
        return _pdf(path, request)
    if kind == "image":
        return _picture(path, request)
    if request.picture:
        return _picture(Path(os.fsdecode(request.picture)), msgspec.structs.replace(request, page=1, marks=()))
    raise InputError(f"a {kind} file has no pages that can be drawn; show the text, or save the file as PDF")


def _pdf(path: Path, request: Request) -> Drawn:
    with opened(path) as (_, pdf):
        pdf.init_forms()
        _check_page(request.page, len(pdf))
        words: list[Box] = []
        blocks: list[Box] = []
        texts: dict[int, PageText] = {}
        for mark in request.marks:
            if mark.page > len(pdf) or request.page not in (None, mark.page):
                continue
            if mark.text and mark.page not in texts:
                texts[mark.page] = PageText(pdf[mark.page - 1], mark.page)
            found = texts[mark.page].find(mark.text, mark.edges) if mark.text else ()
            if found:
                words.extend(found)
            elif mark.edges is not None:
                blocks.append(Box(mark.page, *mark.edges))
        if request.page is None:
            return _drawn(None, [*words, *blocks])
        page = pdf[request.page - 1]
        width, height = (max(side, 1.0) for side in page.get_size())
        scale = min(request.scale, math.sqrt(MOST_PIXELS / (width * height)))
        image = page.render(scale=scale, may_draw_forms=True).to_pil().convert("RGB")
        return _drawn(_marked(image, words, blocks), [*words, *blocks])


def _picture(path: Path, request: Request) -> Drawn:
    import pi_heif
    from PIL import Image, ImageOps

    pi_heif.register_heif_opener()
    blocks = [
        Box(mark.page, *mark.edges)
        for mark in request.marks
        if mark.edges is not None and request.page in (None, mark.page)
    ]
    if request.page is None:
        return _drawn(None, blocks)
    with Image.open(path) as opened_image:
        # The frames of an animation are one picture; those of a TIFF are the pages of a fax or a scan.
        _check_page(request.page, getattr(opened_image, "n_frames", 1) if opened_image.format == "TIFF" else 1)
        opened_image.seek(request.page - 1)
        image = ImageOps.exif_transpose(opened_image).convert("RGBA")
    scale = math.sqrt(MOST_PIXELS / (image.width * image.height))
    if scale < 1:
        image = image.resize((max(int(image.width * scale), 1), max(int(image.height * scale), 1)))
    paper = Image.new("RGBA", image.size, _PAPER)
    return _drawn(_marked(Image.alpha_composite(paper, image).convert("RGB"), [], blocks), blocks)


def _check_page(page: int | None, pages: int) -> None:
    if page is not None and not 1 <= page <= pages:
        raise ConfigError(f"page {page} is not one of the {pages} of this file; ask for one of those")


def _marked(image: Image, words: Iterable[Box], blocks: Iterable[Box]) -> Image:
    """Mark words as with a felt pen, and draw a line around blocks."""
    from PIL import Image, ImageChops, ImageDraw

    for box in words:
        place = _pixels(box, image)
        under = image.crop(place)
        image.paste(ImageChops.multiply(under, Image.new("RGB", under.size, _MARKER)), place)
    pen = ImageDraw.Draw(image)
    thick = max(1, image.width // 600)
    for box in words:
        # On dark ground a felt pen leaves nothing to see.
        left, top, right, bottom = _pixels(box, image)
        pen.line((left, bottom - 1, right - 1, bottom - 1), fill=_PEN, width=thick)
    for box in blocks:
        left, top, right, bottom = _pixels(box, image)
        pen.rectangle((left, top, right - 1, bottom - 1), outline=_PEN, width=2 * thick)
    return image


def _pixels(box: Box, image: Image) -> tuple[int, int, int, int]:
    """Return the pixels of a box, one at least."""
    left, top = int(box.left * image.width), int(box.top * image.height)
    right, bottom = math.ceil(box.right * image.width), math.ceil(box.bottom * image.height)
    left, top = min(left, image.width - 1), min(top, image.height - 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _drawn(image: Image | None, boxes: Sequence[Box]) -> Drawn:
    places = tuple((box.page, (box.left, box.top, box.right, box.bottom)) for box in boxes)
    return Drawn(0, 0, b"", places) if image is None else Drawn(*image.size, image.tobytes(), places)


def _answer(request: Request) -> Reply:
    try:
        return draw(request)
    except InputError as exc:
        return Refused(_plain(exc))
    except ConfigError as exc:
        return Refused(_plain(exc), asked_wrong=True)
    except MemoryError:
        return Refused("drawing it takes too much memory; ask for a smaller scale")
    except Exception as exc:  # pdfium's, Pillow's, and Python's where they trust what is written in the file
        return Refused(f"it cannot be drawn ({type(exc).__name__}); open the file with another program")


def _plain(exc: Exception) -> str:
    return str(exc).encode("utf-8", "replace").decode("utf-8")


def _main(descriptor: int) -> None:
    refuse_network()
    with open(descriptor, "r+b", buffering=0) as file:
        reply: Any = _answer(msgspec.msgpack.decode(file.read(), type=Request))
        file.seek(0)
        file.truncate()
        written = memoryview(msgspec.msgpack.encode(reply))
        while written:
            written = written[file.write(written) :]


if __name__ == "__main__":
    logging.disable()  # nobody reads it, and it may quote the document
    _main(int(sys.argv[1]))
