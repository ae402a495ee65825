"""Scans in, elements out: pages and pictures whose text stands in pixels are read by the Tesseract program.

Enters: pages of a PDF that have no text, or a picture. Leaves: paragraphs with their boxes, and notes about what could
not be read. Tesseract is a program of its own, found on the path and called with a time limit; nothing is installed or
fetched. This module knows how it is called and what it answers, and nothing of where the pixels came from.
"""

from __future__ import annotations

import functools
import io
import math
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rag_pipeline.documents.options import ParseOptions
from rag_pipeline.documents.partition import Parts, clean, gather
from rag_pipeline.errors import InputError, MissingProgramError

if TYPE_CHECKING:
    from PIL.Image import Image
    from unstructured.documents.elements import Element as RawElement

__all__ = ["has_tesseract", "listed", "read_picture", "read_scans"]

_DPI = 300
_MOST_PIXELS = 20_000_000
_TIMEOUT_S = 120
"""For one page; a page of a newspaper takes some 30 seconds on a slow core."""
_MOST_LANGUAGES = 4
"""Each one more makes Tesseract slower by its own time."""
_PREFERRED = ("eng", "deu", "fra", "spa", "ita", "por", "nld")
_UNSURE = 30
"""Confidence of 100 below which a word is a guess at a speck or a line."""
_BELIEVED = 55
"""Mean confidence from which a paragraph is text."""
_READABLE = 70
_FEWEST_WORDS = 8
_BROKEN = re.compile(r"(?<=[^\W\d_])[-‐]\n(?=[a-zß-ÿ])")


class _Word(NamedTuple):
    """A word of Tesseract's: where it stands in pixels, how sure it is of 100, and the line it belongs to."""

    paragraph: tuple[int, int]
    line: int
    left: int
    top: int
    right: int
    bottom: int
    confidence: float
    text: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """What Tesseract found in one picture of ``width`` x ``height`` pixels."""

    width: int
    height: int
    words: tuple[_Word, ...]


def has_tesseract() -> bool:
    """Tell whether the Tesseract program is here."""
    return shutil.which("tesseract") is not None


def read_scans(pdf: Any, pages: Sequence[int], options: ParseOptions) -> Parts:
    """Read those pages of a PDF, open in pdfium, that have no text but are not blank. Pages count from 1.

    Raises:
        InputError: no page of the document has text, and they are blank, or ``options.ocr`` is off.
        MissingProgramError: the same, and Tesseract is not installed.
    """
    parts = Parts()
    scans = [number for number in pages if _is_painted(pdf[number - 1])]
    none = f"no text on any of its {len(pdf)} pages: " if len(pages) == len(pdf) else ""
    if not scans:
        if none:
            raise InputError(f"{none}they are blank; export the document anew")
        return parts
    some = f"no text on page {listed(scans)}: "
    if options.ocr == "off":
        remedy = "they are pictures, and OCR is off; set ingest.ocr: auto"
        if none:
            raise InputError(none + remedy)
        parts.notes.append(some + remedy)
    elif not has_tesseract():
        remedy = "install Tesseract to read scans"
        if none:
            raise MissingProgramError(f"{none}it is scanned; {remedy}", "tesseract")
        parts.notes.append(some + remedy)
        parts.lacking.add("tesseract")
    else:
        unread = []
        for number in scans:
            page = pdf[number - 1]
            found = _elements(_read(_painted(page)), number)
            parts.elements.extend(gather(found, lambda _: None).elements)
            if not found:
                unread.append(number)
        read = [number for number in scans if number not in unread]
        if read:
            parts.notes.append(f"page {listed(read)} read by OCR")
        if unread:
            parts.notes.append(f"no text on page {listed(unread)}: OCR finds none in what is shown there")
    return parts


def read_picture(image: Image, page: int = 1) -> Parts:
    """Read the text in a picture, if it is there to be read: a scan, a screenshot, a slide.

    A photograph with a sign in it has a few words, of most of which Tesseract is not sure, and bark and bricks look
    like letters to it. So there must be eight words of three letters or more that it is sure of, and they must be the
    greater part of what it believes to see; otherwise the picture stays a picture.
    """
    reading = _read(_scaled(image))
    words = [word for word in reading.words if sum(map(str.isalpha, word.text)) >= 3]
    sure = [word for word in words if word.confidence >= _READABLE]
    if len(sure) < _FEWEST_WORDS or len(sure) * 2 < len(words):
        return Parts()
    return gather(_elements(reading, page), lambda _: None)


def listed(pages: Sequence[int]) -> str:
    """Write page numbers for a person, the first twenty of them."""
    first = ", ".join(map(str, pages[:20]))
    return first if len(pages) <= 20 else f"{first} and {len(pages) - 20} more"


def _is_painted(page: Any) -> bool:
    """Tell whether a page shows anything."""
    width, height = page.get_size()
    pixels = page.render(scale=min(0.5, 400 / max(width, height, 1.0)), grayscale=True).to_numpy()
    return bool(int(pixels.max()) - int(pixels.min()) > 8)


def _painted(page: Any) -> Image:
    width, height = page.get_size()
    scale = min(_DPI / 72, math.sqrt(_MOST_PIXELS / max(width * height, 1.0)))
    painted: Image = page.render(scale=scale, grayscale=True, may_draw_forms=True).to_pil()
    return painted


def _scaled(image: Image) -> Image:
    """Return a picture in gray, at a size that Tesseract reads well and soon."""
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    gray = image.convert("L")
    wide, high = gray.size
    scale = min(2.0 if max(wide, high) < 1500 else 1.0, math.sqrt(_MOST_PIXELS / (wide * high)))
    return gray if scale == 1.0 else gray.resize((max(int(wide * scale), 1), max(int(high * scale), 1)))


@functools.cache
def _languages() -> str:
    """Return the installed languages as Tesseract takes them: all of a few, else the commonest among many."""
    listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S607
    lines = listed.stdout.splitlines()[1:]
    installed = [line for line in lines if re.fullmatch(r"[a-z]{3}(?:_[a-z]+)?", line) and line not in ("osd", "equ")]
    known = [name for name in _PREFERRED if name in installed]
    rest = [name for name in installed if name not in known and not name.endswith("_vert")]
    return "+".join([*known, *rest][:_MOST_LANGUAGES]) or "eng"


def _read(image: Image) -> _Reading:
    """Let Tesseract read a picture.

    Raises:
        InputError: Tesseract takes too long or fails.
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    # One thread: workers share the cores already, and Tesseract's threads wait for each other more than they read.
    threads = ["env", "OMP_THREAD_LIMIT=1"] if shutil.which("env") else []
    command = [*threads, "tesseract", "stdin", "stdout", "-l", _languages(), "--dpi", str(_DPI), "--psm", "3", "tsv"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, the picture comes through a pipe
            command,
            input=buffer.getvalue(),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
    except subprocess.TimeoutExpired as exc:
        raise InputError(f"OCR took longer than {_TIMEOUT_S} s for a page; set ingest.ocr: off, or split it") from exc
    except (subprocess.CalledProcessError, OSError) as exc:
        raise InputError("Tesseract failed; run `tesseract --list-langs` to see whether it is installed whole") from exc
    return _Reading(image.width, image.height, tuple(_words(done.stdout.decode("utf-8", "replace"))))


def _words(table: str) -> Iterator[_Word]:
    for row in table.splitlines()[1:]:
        cells = row.split("\t", 11)
        if len(cells) < 12 or cells[0] != "5":
            continue
        text, confidence = clean(cells[11]), float(cells[10])
        if text and confidence >= _UNSURE:
            block, paragraph, line = (int(cell) for cell in cells[2:5])
            left, top, wide, high = (int(cell) for cell in cells[6:10])
            yield _Word((block, paragraph), line, left, top, left + wide, top + high, confidence, text)


def _elements(reading: _Reading, page: int) -> list[RawElement]:
    """Make an element of each paragraph that is text and no speckle."""
    from unstructured.documents.coordinates import PixelSpace
    from unstructured.documents.elements import CoordinatesMetadata, ElementMetadata
    from unstructured.partition.text import element_from_text

    paragraphs: dict[tuple[int, int], list[_Word]] = {}
    for word in reading.words:
        paragraphs.setdefault(word.paragraph, []).append(word)
    space = PixelSpace(width=reading.width, height=reading.height)
    raws = []
    for words in paragraphs.values():
        text = _joined(words)
        mean = sum(word.confidence for word in words) / len(words)
        if mean < _BELIEVED or sum(map(str.isalnum, text)) < 2:
            continue
        left, top = min(word.left for word in words), min(word.top for word in words)
        right, bottom = max(word.right for word in words), max(word.bottom for word in words)
        points = ((left, top), (left, bottom), (right, bottom), (right, top))
        raw = element_from_text(text)
        raw.metadata = ElementMetadata(page_number=page, coordinates=CoordinatesMetadata(points, space))
        raws.append(raw)
    return raws


def _joined(words: Iterable[_Word]) -> str:
    """Join the words of a paragraph, and those that were broken at a line's end."""
    text, line = "", None
    for word in words:
        text += ("" if line is None else " " if word.line == line else "\n") + word.text
        line = word.line
    return _BROKEN.sub("", text).replace("\n", " ")
