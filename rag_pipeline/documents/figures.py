"""Pictures as they stand in a document in, figures with caption and context out.

This module knows what makes a picture worth keeping and what is said about it nearby; it knows no document format. It
decodes pixels for OCR only.
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
import re
from collections.abc import Sequence
from pathlib import Path

from rag_pipeline.documents.ocr import has_tesseract, read_picture
from rag_pipeline.documents.options import DEFAULTS, ParseOptions, check_pages
from rag_pipeline.documents.partition import Parts, Picture, clean
from rag_pipeline.errors import InputError
from rag_pipeline.types import Element, Figure

__all__ = ["find_picture", "make_figures", "picture_name", "read_image", "readable_name"]

_MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "HEIF": "image/heic",
}
_SMALLEST = 32
"""Pixels: bullets, rules and icons are smaller, pictures that anyone looks for are not."""
_LARGEST = 100_000_000
_CONTEXT = 250
"""Characters of text kept from before a picture, and as many from behind it."""
_CAPTION = re.compile(
    r"(?:figure|fig\.?|chart|diagram|image|picture|photo|map|plate|illustration|abbildung|abb\.?|bild|grafik|figura)\s*[0-9]",
    re.IGNORECASE,
)
_FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|bmp|tiff?|webp|heic)|(?:image|picture|bild)\s*[0-9]*", re.IGNORECASE)
_EXIF_DESCRIPTION = 270
_EXIF_ORIENTATION = 274


def read_image(path: Path, options: ParseOptions = DEFAULTS) -> Parts:
    """Read a picture that is a file of its own; what it says about itself is its caption, what stands in it is text.

    Raises:
        InputError: the picture is damaged, smaller than 32 or larger than 100 million pixels, or has more than
            ``options.max_pages`` pages.
    """
    from PIL import Image, ImageOps

    data = path.read_bytes()
    kind = _identify(data)
    if kind is None:
        raise InputError("the picture is damaged or of a kind that is not read; save it again as PNG or JPEG")
    _, width, height = kind
    if min(width, height) < _SMALLEST or width * height > _LARGEST:
        raise InputError(
            f"the picture has {width} x {height} pixels; {_SMALLEST} on a side to {_LARGEST // 10**6} million in all "
            "are read: exclude it, or scale it"
        )
    parts = Parts()
    with Image.open(io.BytesIO(data)) as image:
        texts = [image.getexif().get(_EXIF_DESCRIPTION), image.info.get("Description"), image.info.get("Title")]
        # The frames of an animation are one picture; those of a TIFF are the pages of a fax or a scan.
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        check_pages(pages, options.max_pages, "pages")
        if options.ocr == "auto" and not has_tesseract():
            parts.lacking.add("tesseract")
        elif options.ocr == "auto":
            for page in range(pages):
                image.seek(page)
                parts.append(read_picture(ImageOps.exif_transpose(image), page + 1))
    said = [clean(text) for text in texts if isinstance(text, str) and clean(text)]
    parts.pictures.append(Picture(data, said[0] if said else "", page=1 if parts.elements else None))
    return parts


def readable_name(path: Path) -> str:
    """Return a file's name as words.

    >>> readable_name(Path("pump_station-north.png"))
    'pump station north'
    """
    return clean(re.sub(r"[\s_.-]+", " ", path.stem)) or path.name


def picture_name(digest: str, media_type: str) -> str:
    """Return the name under which a picture is kept: the SHA-256 of its bytes, with the suffix of its kind.

    >>> picture_name("ab" * 32, "image/jpeg")[-8:]
    'abab.jpg'
    """
    return digest + (mimetypes.guess_extension(media_type) or ".bin")


def find_picture(folder: Path, digest: str) -> Path | None:
    """Return the picture of this digest that is kept in ``folder``, or None."""
    names = (picture_name(digest, media_type) for media_type in dict.fromkeys(_MEDIA_TYPES.values()))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def make_figures(pictures: Sequence[Picture], elements: Sequence[Element], fallback: str) -> tuple[Figure, ...]:
    """Keep the pictures that can be shown and are not decoration, once each, with what is said about them.

    ``fallback`` becomes the caption of a picture about which the document says nothing.
    """
    figures: dict[bytes, Figure] = {}
    for picture in pictures:
        kind = _identify(picture.image)
        if kind is None or min(kind[1:]) < _SMALLEST or kind[1] * kind[2] > _LARGEST:
            continue
        media_type, width, height = kind
        caption = _caption(picture, elements)
        context = _context(picture, elements)
        page = picture.page
        if page is None and 0 <= picture.after < len(elements):
            page = elements[picture.after].page
        figure = Figure(
            image=picture.image,
            media_type=media_type,
            width=width,
            height=height,
            caption=caption or ("" if context else fallback),
            context=context,
            page=page,
            box=picture.box,
            after=picture.after,
        )
        figures.setdefault(hashlib.sha256(picture.image).digest(), figure)
    return tuple(figures.values())


def _identify(data: bytes) -> tuple[str, int, int] | None:
    """Return media type, width and height; None for what PIL cannot show."""
    import pi_heif
    from PIL import Image

    pi_heif.register_heif_opener()
    try:
        with Image.open(io.BytesIO(data)) as image:
            media_type = _MEDIA_TYPES.get(image.format or "")
            size = image.size
            image.verify()
        if media_type in ("image/jpeg", "image/tiff", "image/webp"):
            with Image.open(io.BytesIO(data)) as image:
                if image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8):  # it lies on its side
                    size = size[1], size[0]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return None if media_type is None else (media_type, *size)


def _caption(picture: Picture, elements: Sequence[Element]) -> str:
    """Return the alternative text, with the line beside the picture that calls itself its caption."""
    alt = "" if _FILE_NAME.fullmatch(picture.alt) else picture.alt
    for place in (picture.after + 1, picture.after):
        if 0 <= place < len(elements):
            beside = elements[place]
            if beside.category == "FigureCaption" or (_CAPTION.match(beside.text) and len(beside.text) < 400):
                return f"{beside.text}\n{alt}" if alt and alt not in beside.text else beside.text
    return alt


def _context(picture: Picture, elements: Sequence[Element]) -> str:
    """Return the text before and behind a picture, on its own page where there are pages."""

    def joined(some: Sequence[Element]) -> str:
        return "\n".join(one.text for one in some if picture.page is None or one.page == picture.page)

    before = joined(elements[max(0, picture.after - 3) : picture.after + 1])[-_CONTEXT:]
    behind = joined(elements[picture.after + 1 : picture.after + 4])[:_CONTEXT]
    return f"{_from_word(before)}\n{_to_word(behind)}".strip()


def _from_word(text: str) -> str:
    return text.partition(" ")[2] if len(text) == _CONTEXT else text


def _to_word(text: str) -> str:
    return text.rpartition(" ")[0] if len(text) == _CONTEXT else text
