"""What a person is shown: a ranked passage, a quote of it, and an answer made of quotes.

Frozen values, checked when they are made, that can draw their page and show themselves in a notebook. This module
knows no vendor; what draws and what shows is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rag_pipeline.types import Box, LegRank, Place

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Answer", "Citation", "Evidence", "Hits"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A ranked chunk with all that a reader needs to check it.

    ``score`` is what the list is ordered by; ``logit`` is the reranker's raw one, None where none has read the text.
    ``page`` counts from 1, and is the first of the passage that was found.
    ``start`` is the offset of ``text`` in the document's text, and ``places`` tells where on which pages it stands.
    ``paths`` are all files that have this text. ``figure`` is the stored picture of a figure: its path, or the digest
    of its bytes from a retriever that does not know the folder. ``merged`` are the ids of other hits that are shown
    within this one: copies of it elsewhere, and passages that its context has reached.
    """

    id: str
    rank: int
    score: float
    path: str
    text: str
    page: int | None
    heading: tuple[str, ...]
    boxes: tuple[Box, ...]
    legs: Mapping[str, LegRank]
    logit: float | None = None
    start: int = 0
    paths: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    figure: str | None = None
    language: str = ""
    document_id: str = ""
    places: tuple[Place, ...] = ()
    merged: tuple[str, ...] = ()

    def places_of(self, start: int, end: int) -> tuple[Place, ...]:
        """Return where ``self.text[start:end]`` stands; what is said of a figure stands where the figure is."""
        if self.figure is not None:
            return self.places
        start, end = self.start + start, self.start + end
        return tuple(
            replace(place, start=max(place.start, start), end=min(place.end, end))
            for place in self.places
            if place.start < end and start < place.end
        )

    def page_image(self, *, page: int | None = None, scale: float = 2.0) -> Image:
        """Return a picture of the page (default: :attr:`page`) with the passage marked, or the figure outlined.

        The file is read now, and must be what was indexed; it is drawn in a process of its own. A file that is a
        picture is shown itself. ``scale`` is in pixels per point (2.0: 144 dpi), less where the page is very large.

        Raises:
            ConfigError: the scale is not within (0, 10], or there is no such page.
            InputError: the format has no pages that can be drawn, or this one cannot be drawn.
            UnavailableError: the file is gone, or has changed since it was indexed.
        """
        from rag_pipeline.documents.page_image import mark_page

        return mark_page(self, page=page, scale=scale).image

    def _repr_html_(self) -> str:
        from rag_pipeline.display import hit_html

        return hit_html(self)


class Hits(list[Evidence]):
    """A list of evidence, best first, which a notebook shows as such."""

    def _repr_html_(self) -> str:
        from rag_pipeline.display import hits_html

        return hits_html(self)


@dataclass(frozen=True, slots=True)
class Citation:
    """What a statement rests on: number ``n`` in the answer, and the exact quote with its place.

    ``start`` and ``end`` are offsets of the quote in the document's text, both the figure's where the quote is of its
    caption. ``page`` counts from 1, and is where the quote begins. ``boxes`` are those of the paragraphs it is in.
    """

    n: int
    path: str
    page: int | None
    quote: str
    start: int
    end: int
    boxes: tuple[Box, ...]
    heading: tuple[str, ...] = ()
    chunk_id: str = ""
    document_id: str = ""
    places: tuple[Place, ...] = ()
    paths: tuple[str, ...] = ()
    figure: str | None = None

    def page_image(self, *, page: int | None = None, scale: float = 2.0) -> Image:
        """Return a picture of the page with the quote marked; as :meth:`Evidence.page_image`."""
        from rag_pipeline.documents.page_image import mark_page

        return mark_page(self, page=page, scale=scale).image

    def word_boxes(self) -> tuple[Box, ...]:
        """Return boxes of the very words, one for each line, read from the text of a PDF now.

        What is not found there keeps the box of its paragraph.

        Raises:
            InputError: the format has no pages that can be read again.
            UnavailableError: the file is gone, or has changed since it was indexed.
        """
        from rag_pipeline.documents.page_image import word_boxes

        return word_boxes(self)

    def _repr_html_(self) -> str:
        from rag_pipeline.display import citation_html

        return citation_html(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """Text whose every statement cites evidence; ``abstained``: the documents do not answer, for ``reason``.

    ``confidence`` is the probability, from 0 to 1, that the evidence answers; None where nobody judged it. ``dropped``
    is what was left out, each behind its reason: statements that their evidence does not support, and evidence that a
    language model had no room for.
    """

    text: str
    citations: tuple[Citation, ...]
    abstained: bool
    reason: str = ""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    confidence: float | None = None
    dropped: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        from rag_pipeline.display import answer_html

        return answer_html(self)
