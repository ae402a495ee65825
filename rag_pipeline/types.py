"""The values that pass between the stages.

What enters and leaves each stage is one of these frozen dataclasses, checked when it is made:

    SourceFile -> Document (Elements, Figures) -> Chunk -> Point  ....  Hit -> FusedHit

Hits are tuples with names, which are made more than three times as fast: a search makes a thousand of them.

What a person is shown, Evidence and Answer, is in ``evidence.py``. This module knows nothing of any vendor: no torch,
no Unstructured, no Qdrant, no LlamaIndex.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "Attachment",
    "Box",
    "Chunk",
    "Context",
    "Document",
    "Element",
    "Facts",
    "Figure",
    "FloatMatrix",
    "FusedHit",
    "Hit",
    "LegRank",
    "Mode",
    "Place",
    "Point",
    "Record",
    "Scalar",
    "SourceFile",
    "SparseVector",
    "TextVectors",
    "TokenIds",
    "VectorValue",
    "chunk_id",
    "contextual_text",
    "document_id",
]

FloatMatrix = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.int64]
Mode = Literal["hybrid", "dense", "sparse", "image"]
Scalar = str | int | float
Context = Literal["none", "neighbours", "section"]

NAMESPACE = uuid.UUID("6f1c2f0e-5a53-5e0c-9d0b-7c1f3f1d2a90")
"""Root of every id in an index. Changing it makes every existing index unreadable."""


def document_id(content_hash: str) -> str:
    """Return the id of a content: ``uuid5(NAMESPACE, content_hash)``, ``content_hash`` in lower-case hex."""
    return str(uuid.uuid5(NAMESPACE, content_hash))


def chunk_id(document: str, position: int, text: str) -> str:
    """Return the point id of a chunk: ``uuid5(document id, position and text)``.

    >>> chunk_id("6f1c2f0e-5a53-5e0c-9d0b-7c1f3f1d2a90", 0, "a") == chunk_id(
    ...     "6f1c2f0e-5a53-5e0c-9d0b-7c1f3f1d2a90", 1, "a")
    False
    """
    return str(uuid.uuid5(uuid.UUID(document), f"{position}\n{text}"))


# ---------------------------------------------------------------------------------- documents


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as it was found in a folder. ``path`` is absolute; ``content_hash`` is SHA-256 in hex.

    ``unpacked`` is where its bytes lie, for a file that came out of another: ``path`` is then the mail's path with the
    attachment's name behind it. ``sidecar`` is the text of the file beside it that says something of it.
    """

    path: Path
    root: Path
    size: int
    mtime_ns: int
    content_hash: str
    unpacked: Path | None = None
    sidecar: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.path.is_absolute():
            raise ValueError(f"SourceFile.path must be absolute, got {self.path}")
        if len(self.content_hash) != 64:
            raise ValueError(f"SourceFile.content_hash must be 64 hex digits, got {self.content_hash!r}")

    @property
    def document_id(self) -> str:
        """Id of the content, the same for every copy of the file."""
        return document_id(self.content_hash)

    @property
    def location(self) -> Path:
        """Where the bytes are read from."""
        return self.unpacked or self.path


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on a page. ``page`` counts from 1; the rest are fractions of the page in [0, 1], origin top left."""

    page: int
    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if self.page < 1:
            raise ValueError(f"Box.page counts from 1, got {self.page}")
        if not (0 <= self.left <= self.right <= 1 and 0 <= self.top <= self.bottom <= 1):
            raise ValueError(f"Box edges must be ordered fractions of the page, got {self}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where ``text[start:end]`` of a document stands: on ``page``, from 1, and within ``box`` where one is known."""

    start: int
    end: int
    page: int
    box: Box | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end or self.page < 1:
            raise ValueError(f"Place is impossible: {self}")

    def to_list(self) -> list[int | float]:
        """Return start, end and page, and then the box's edges, to a ten-thousandth of the page: a pixel at 800 dpi."""
        box = self.box
        edges = () if box is None else (box.left, box.top, box.right, box.bottom)
        return [self.start, self.end, self.page, *(round(edge, 4) for edge in edges)]


@dataclass(frozen=True, slots=True)
class Element:
    """One piece of a document as Unstructured names it: its text, category and place.

    ``depth`` is the level of a heading, 0 the highest, and None for anything that is not a heading.
    """

    text: str
    category: str
    page: int | None = None
    depth: int | None = None
    html: str | None = None
    box: Box | None = None

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(f"Element.text must not be blank (category {self.category})")


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture: a file of its own, or one inside a document, with its caption and place.

    ``image`` holds the encoded bytes (PNG, JPEG, ...) and ``context`` the text around the picture.
    ``after`` is the index of the element that it follows, -1 at the start of the document.
    """

    image: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    caption: str = ""
    context: str = ""
    page: int | None = None
    box: Box | None = None
    after: int = -1


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file inside a mail: a name that is safe to write to a disk, and its bytes."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said of a document besides its text, by itself or in a file beside it. It is filtered by, never embedded.

    ``date`` is the day that it names, ISO 8601, ``""`` for none; ``meta`` is everything else, under its own keys.
    """

    date: str = ""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.date and len(self.date) != len("2024-03-01"):
            raise ValueError(f"Facts.date must be a day, got {self.date!r}")

    def before(self, other: Facts) -> Facts:
        """Return what both say: tags of either, and this one's word where they differ."""
        tags = tuple(dict.fromkeys((*self.tags, *other.tags)))
        return Facts(self.date or other.date, tags, {**other.meta, **self.meta})


@dataclass(frozen=True, slots=True)
class Document:
    """What parsing one file yields. ``language`` is an ISO 639-1 code, ``""`` where none was recognised.

    ``notes`` are things a person should know, such as "page 3 has no text: install Tesseract to read scans".
    ``lacking`` names what would have read more of it: outside programs that are not installed, or "attachments" where
    those were not asked for. ``named`` tells that text in it was taken from the file's name.
    """

    source: SourceFile
    elements: tuple[Element, ...]
    figures: tuple[Figure, ...] = ()
    language: str = ""
    media_type: str = ""
    title: str = ""
    notes: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    lacking: tuple[str, ...] = ()
    named: bool = False
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True)
class Chunk:
    """What is embedded and stored: a run of a document's text, or a figure described by caption and context.

    ``text`` is exactly ``document_text[start:end]`` for a chunk of text (see ``documents.chunk``). ``tables`` are
    the tables in it as HTML. ``figure`` names the picture file, by content hash, and is None for a chunk of text.
    ``gap`` is the white space between the chunk before and this one, which belongs to none: with it, chunks that follow
    each other are a slice again. ``places`` says where on which pages the text stands, in formats that have pages.
    """

    document_id: str
    position: int
    text: str
    start: int
    end: int
    heading: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    categories: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    tokens: int = 0
    language: str = ""
    figure: str | None = None
    gap: str = ""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(f"Chunk.text must not be blank (document {self.document_id}, position {self.position})")
        if self.position < 0 or self.start < 0 or self.end < self.start:
            raise ValueError(f"Chunk place is impossible: position {self.position}, span {self.start}-{self.end}")

    @cached_property
    def id(self) -> str:
        """The point id: the same bytes give the same id however often a run is repeated."""
        return chunk_id(self.document_id, self.position, self.text)

    @property
    def pages(self) -> tuple[int, ...]:
        """The pages it stands on, in order."""
        return tuple(sorted({place.page for place in self.places}))

    @property
    def embed_text(self) -> str:
        """The text that is encoded: the heading path on a line of its own, then the text."""
        return contextual_text(self.heading, self.text)

    def metadata(self) -> dict[str, object]:
        """Return what it says about itself beside its text, as JSON values."""
        return {
            "page": self.pages[0] if self.pages else None,
            "pages": list(self.pages),
            "heading": list(self.heading),
            "categories": list(self.categories),
            "places": [place.to_list() for place in self.places],
            "tables": list(self.tables),
            "position": self.position,
            "start": self.start,
            "end": self.end,
            "gap": self.gap,
            "tokens": self.tokens,
            "language": self.language,
            "kind": "text" if self.figure is None else "figure",
        }


def contextual_text(heading: Sequence[str], text: str) -> str:
    r"""Join a heading path and a text as the encoders see them.

    >>> contextual_text(("Warranty", "Claims"), "Write to us.")
    'Warranty > Claims\nWrite to us.'
    """
    return f"{' > '.join(heading)}\n{text}" if heading else text


# ------------------------------------------------------------------------------------- vectors


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """Term weights: ``indices`` (n,) uint32, strictly ascending; ``values`` (n,) float32, positive."""

    indices: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.indices.shape != self.values.shape or self.indices.ndim != 1:
            raise ValueError(f"SparseVector shapes differ: {self.indices.shape} and {self.values.shape}")
        if not (self.indices[1:] > self.indices[:-1]).all():
            raise ValueError("SparseVector.indices must be strictly ascending")

    @classmethod
    def from_weights(cls, weights: Mapping[int, float]) -> SparseVector:
        """Build from ``{token id: weight}``; weights of zero or less are left out."""
        kept = sorted((i, w) for i, w in weights.items() if w > 0)
        return cls(np.array([i for i, _ in kept], dtype=np.uint32), np.array([w for _, w in kept], dtype=np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class TextVectors:
    """The vectors of n texts: ``dense`` (n, dim) float32 with unit rows, ``sparse`` n term-weight vectors.

    ``late``, where the encoder gives it, is for late interaction: n matrices (tokens, dim) float32 with unit rows.
    """

    dense: FloatMatrix
    sparse: tuple[SparseVector, ...]
    late: tuple[FloatMatrix, ...] | None = None

    def __post_init__(self) -> None:
        if self.dense.ndim != 2 or self.dense.dtype != np.float32:
            raise ValueError(f"TextVectors.dense must be (n, dim) float32, got {self.dense.shape} {self.dense.dtype}")
        if len(self.sparse) != len(self.dense):
            raise ValueError(f"TextVectors has {len(self.dense)} dense and {len(self.sparse)} sparse vectors")
        if self.late is not None and len(self.late) != len(self.dense):
            raise ValueError(f"TextVectors has {len(self.dense)} dense and {len(self.late)} late vectors")

    def legs(self, row: int) -> dict[str, VectorValue]:
        """Return the vectors of one text by the names that they have in the engine."""
        legs: dict[str, VectorValue] = {"dense": self.dense[row], "sparse": self.sparse[row]}
        return legs if self.late is None else legs | {"late": self.late[row]}


VectorValue = FloatMatrix | npt.NDArray[np.float32] | SparseVector


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """What is written to the engine: an id, its named vectors, and a JSON payload."""

    id: str
    vectors: Mapping[str, VectorValue]
    payload: Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What is read back from the engine; ``vectors`` is empty unless it was asked for."""

    id: str
    payload: Mapping[str, object]
    vectors: Mapping[str, VectorValue] = field(default_factory=dict)


# ----------------------------------------------------------------------------------- retrieval


class Hit(NamedTuple):
    """One entry of one leg's ranked list. ``rank`` counts from 1; ``score`` is in the leg's own unit."""

    id: str
    rank: int
    score: float


class LegRank(NamedTuple):
    """Where one leg put a point: rank from 1, score in the leg's own unit, and what it ``adds`` to the fused score."""

    rank: int
    score: float
    adds: float = 0.0


class FusedHit(NamedTuple):
    """A point after fusion: its fused score, its rank from 1, and where each leg had put it."""

    id: str
    rank: int
    score: float
    legs: Mapping[str, LegRank]
