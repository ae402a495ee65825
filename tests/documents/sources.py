"""Files for the tests of this room, written on the spot."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.documents.parse import parse
from rag_pipeline.types import Document, Element, SourceFile


def source_of(path: Path) -> SourceFile:
    """The file as discovery finds it, in its folder."""
    return next(read_source(one) for one in discover([path.parent]).files if one.path == path)


def parsed(path: Path, content: bytes | str) -> Document:
    """Write a file and parse it."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return parse(source_of(path))


def picture(path: Path, size: tuple[int, int] = (64, 48), colour: str = "navy") -> Path:
    """Write a picture with one stripe."""
    image = Image.new("RGB", size, colour)
    ImageDraw.Draw(image).line((0, 0, *size), fill="white", width=3)
    image.save(path)
    return path


def document_of(*elements: Element, title: str = "") -> Document:
    """A document that no file stands behind."""
    return Document(SourceFile(Path("/a.txt"), Path("/"), 1, 0, "0" * 64), elements, title=title)


def words(texts: list[str] | tuple[str, ...]) -> list[int]:
    """Count tokens as words, plus two for special tokens."""
    return [len(text.split()) + 2 for text in texts]
