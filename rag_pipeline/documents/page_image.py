"""A hit or a citation in, the page that it stands on out as a picture, with its words marked.

The file is read now, so it must still be what was indexed. A person asks for this, of a file that was parsed well; even
so it is drawn in a confined process (``page_process.py``), as it was parsed: a page can keep pdfium busy for ever, or
bring it down, and with it whoever called. This module knows what is to be marked; it opens no file but to hash it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rag_pipeline.documents.page_process import MOST_PIXELS, Drawn, Edges, Mark, Refused, Reply, Request
from rag_pipeline.documents.sandbox import Sandbox
from rag_pipeline.errors import ConfigError, InputError, UnavailableError
from rag_pipeline.evidence import Citation, Evidence
from rag_pipeline.types import Box, document_id

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MarkedPage", "mark_page", "word_boxes"]

_TIMEOUT_S = 60.0
_MEMORY_MB = 2048
_MOST_BYTES = 3 * MOST_PIXELS + 2**24
"""Of a reply: three bytes a pixel, and room for the boxes."""
_LARGEST_SCALE = 10.0


@dataclass(frozen=True, slots=True)
class MarkedPage:
    """A page as a picture, and where it is marked: boxes of words, or of the paragraph where none were found."""

    image: Image
    boxes: tuple[Box, ...]


def mark_page(
    shown: Evidence | Citation, *, page: int | None = None, scale: float = 2.0, timeout_s: float = _TIMEOUT_S
) -> MarkedPage:
    """Draw the page on which something stands (or ``page``), and mark it there.

    Words are marked as with a felt pen. Where a page has no text that could be searched, such as a scan, and for
    figures, a line is drawn around the paragraph, the table or the figure. ``scale`` is in pixels per point; a page has
    20 million pixels at most. A file that is a picture keeps its own size, and a figure of a format that has no pages
    that can be drawn is shown by itself.

    Raises:
        ConfigError: the scale is not within (0, 10], or there is no such page.
        InputError: the format has no pages that can be drawn, or this one cannot be drawn within ``timeout_s``.
        UnavailableError: the file is gone, or has changed since it was indexed.
    """
    from PIL import Image

    if not 0 < scale <= _LARGEST_SCALE:  # also of NaN
        raise ConfigError(f"scale {scale:g} is not within 0 and {_LARGEST_SCALE:g} pixels per point; 2 is 144 dpi")
    drawn = _asked(shown, page or shown.page or 1, scale, timeout_s)
    try:
        return MarkedPage(Image.frombytes("RGB", (drawn.width, drawn.height), drawn.pixels), _boxes(drawn))
    except ValueError as exc:
        raise InputError(f"{shown.path}: what was drawn is no picture; open the file with another program") from exc


def word_boxes(shown: Evidence | Citation) -> tuple[Box, ...]:
    """Return the boxes of its very words, one for each line; where they are not found, those of its paragraph.

    Raises:
        InputError: the format has no pages that can be read again.
        UnavailableError: the file is gone, or has changed since it was indexed.
    """
    return _boxes(_asked(shown, None, 1.0, _TIMEOUT_S))


def _asked(shown: Evidence | Citation, page: int | None, scale: float, timeout_s: float) -> Drawn:
    path = _unchanged(shown)
    # Where the folder of the index is not known, a figure is named by its digest alone.
    picture = shown.figure if shown.figure is not None and os.path.isfile(shown.figure) else ""
    request = Request(os.fsencode(path), os.fsencode(picture), page, scale, _marks(shown))
    reply = _answered(path, request, timeout_s)
    if isinstance(reply, Drawn):
        return reply
    raise (ConfigError if reply.asked_wrong else InputError)(f"{path}: {reply.message}")


def _marks(shown: Evidence | Citation) -> tuple[Mark, ...]:
    text = shown.text if isinstance(shown, Evidence) else shown.quote
    if not shown.places and shown.page is not None:
        return (Mark(text, shown.page),)
    # The caption of a figure is elsewhere, and its own place has no text.
    return tuple(
        Mark(
            text[place.start - shown.start : place.end - shown.start] if shown.figure is None else "",
            place.page,
            None if place.box is None else _edges(place.box),
        )
        for place in shown.places
    )


def _edges(box: Box) -> Edges:
    return box.left, box.top, box.right, box.bottom


def _boxes(drawn: Drawn) -> tuple[Box, ...]:
    try:
        return tuple(Box(page, *edges) for page, edges in drawn.boxes)
    except ValueError as exc:
        raise InputError(f"what was drawn has impossible marks ({exc}); open the file with another program") from exc


def _unchanged(shown: Evidence | Citation) -> Path:
    """Return the first of its files whose content is the one that was indexed.

    Raises:
        UnavailableError: there is none.
    """
    reason = "it names no file of an index; ingest the file with rag_pipeline"
    for name in dict.fromkeys((shown.path, *shown.paths)):
        try:
            with open(name, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else str(exc)
            reason = f"it cannot be read: {why}; bring the file back, or ingest again"
            continue
        if document_id(content) == shown.document_id:
            return Path(name)
        reason = "it has changed since it was indexed; ingest again"
    raise UnavailableError(f"{shown.path or 'this text'} cannot be shown: {reason}")


def _answered(path: Path, request: Request, timeout_s: float) -> Reply:
    with tempfile.TemporaryDirectory(prefix="rag-page-") as folder, tempfile.TemporaryFile(buffering=0) as file:
        file.write(msgspec.msgpack.encode(request))
        file.seek(0)
        sandbox = Sandbox(
            [sys.executable, "-P", "-m", "rag_pipeline.documents.page_process", str(file.fileno())],
            folder=Path(folder),
            memory_mb=_MEMORY_MB,
            pass_fds=[file.fileno()],
        )
        try:
            code = sandbox.ended(timeout_s)
        finally:
            sandbox.kill()
        if code is None:
            raise InputError(f"{path}: drawing takes longer than {timeout_s:.0f} s; open the file itself")
        if code != 0:
            raise InputError(f"{path}: the file brought the process down that draws it (exit code {code})")
        if os.fstat(file.fileno()).st_size > _MOST_BYTES:
            raise InputError(f"{path}: what was drawn is larger than any page may be; open the file itself")
        file.seek(0)
        try:
            return _REPLIES.decode(file.read())
        except msgspec.DecodeError as exc:
            raise InputError(f"{path}: what was drawn is no picture ({exc}); open the file itself") from exc


_REPLIES: msgspec.msgpack.Decoder[Drawn | Refused] = msgspec.msgpack.Decoder(Reply)
