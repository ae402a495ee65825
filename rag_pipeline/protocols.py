"""The contracts of the parts: what an encoder, a reranker and an engine must do, whoever makes them.

This module knows no implementation. The values that go in and out are those of ``types.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from rag_pipeline.filters import Filter, IndexKind
from rag_pipeline.types import FloatMatrix, Hit, Point, Record, TextVectors, VectorValue

__all__ = ["DenseEncoder", "ImageEncoder", "Reranker", "Store", "TextEncoder"]


@runtime_checkable
class DenseEncoder(Protocol):
    """Texts to dense vectors only; beside BM25 it makes a :class:`TextEncoder`."""

    @property
    def fingerprint(self) -> str:
        """What must be equal for two vectors to be comparable: weights, pooling, prefixes."""

    @property
    def dim(self) -> int:
        """Width of a vector."""

    @property
    def max_tokens(self) -> int:
        """Most tokens a text may have, special tokens and prefixes included."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included."""

    def encode_passages(self, texts: Sequence[str], *, truncate: bool = False) -> FloatMatrix:
        """Encode texts to be found, (n, dim) float32 unit rows.

        Raises:
            InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
        """

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        """Encode questions, (n, dim) float32 unit rows; the one place where a query instruction is added.

        Raises:
            InputError: a question is longer than ``max_tokens``.
        """


@runtime_checkable
class TextEncoder(Protocol):
    """Texts to dense and sparse vectors. Queries and passages have methods of their own, even where equal."""

    @property
    def fingerprint(self) -> str:
        """What must be equal for two vectors to be comparable: models, versions, pooling, prefixes."""

    @property
    def dim(self) -> int:
        """Width of a dense vector."""

    @property
    def max_tokens(self) -> int:
        """Most tokens a text may have, special tokens and prefixes included."""

    @property
    def sparse_needs_idf(self) -> bool:
        """Whether the engine must apply inverse document frequency (true of BM25, false of learned weights)."""

    @property
    def late(self) -> bool:
        """Whether texts come with a vector of each token, too (``TextVectors.late``), for late interaction."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as the dense model counts them, special tokens included."""

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[str] | None = None, *, truncate: bool = False
    ) -> TextVectors:
        """Encode texts to be found. ``languages`` are ISO 639-1 codes, ``""`` or None to detect.

        Raises:
            InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
        """

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> TextVectors:
        """Encode questions; the one place where a query instruction is added.

        ``candidates`` are the languages of the passages (ISO 639-1), among which that of a question is looked for.

        Raises:
            InputError: a question is longer than ``max_tokens``.
        """


@runtime_checkable
class ImageEncoder(Protocol):
    """Pictures and the texts that look for them, in one space: rows (n, dim) float32, unit length."""

    @property
    def fingerprint(self) -> str:
        """What must be equal for two vectors to be comparable."""

    @property
    def dim(self) -> int:
        """Width of a vector."""

    def encode_images(self, images: Sequence[bytes]) -> FloatMatrix:
        """Encode pictures given as encoded bytes (PNG, JPEG, ...)."""

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        """Encode texts that look for pictures."""


@runtime_checkable
class Reranker(Protocol):
    """A cross-encoder: one raw logit for each (query, passage)."""

    @property
    def fingerprint(self) -> str:
        """Model and weights, for traces and reports."""

    def score(self, query: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (n,) float32 raw logits, higher is more relevant. Long passages are scored by their best window."""


@runtime_checkable
class Store(Protocol):
    """The engine's contract: points in, hits and records out. Leg names are the names of the vectors."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, replacing those of the same id; acknowledged means durable after :meth:`flush`."""

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points; unknown ids are no error."""

    def set_payload(self, ids: Sequence[str], payload: Mapping[str, object]) -> None:
        """Set these payload keys on these points, or remove those that are None; leave all else of them alone."""

    def delete_where(self, filters: Filter) -> None:
        """Remove the points that pass the filters, which must not be empty."""

    def index_payload(self, keys: Mapping[str, IndexKind]) -> None:
        """Make filters on these payload keys fast; a second call does nothing."""

    def search(
        self,
        legs: Mapping[str, VectorValue],
        limit: int,
        *,
        filters: Filter | None = None,
        exact: bool = False,
    ) -> dict[str, tuple[Hit, ...]]:
        """Search each leg: :meth:`search_batch` of one query."""

    def search_batch(
        self,
        queries: Sequence[Mapping[str, VectorValue]],
        limit: int,
        *,
        filters: Filter | None = None,
        exact: bool = False,
    ) -> list[dict[str, tuple[Hit, ...]]]:
        """Search each leg of each query among the points that pass the filters; no payloads are read.

        A leg lists its best ``limit`` hits, then, ranks going on, what only other legs have among theirs, with this
        leg's true score; by score descending, then id. A point is not listed where it has no vector of the leg, or
        shares no term with a sparse one. A leg of multi-vectors only scores what others found, unless it is alone.
        """

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        """Return the records of these ids in this order; unknown ids are left out."""

    def scroll(self, *, filters: Filter | None = None, with_vectors: bool = False) -> Iterator[Record]:
        """Yield every record that passes the filters, ordered by id, in bounded memory."""

    def count(self, filters: Filter | None = None, *, exact: bool = True) -> int:
        """Return the number of points that pass the filters; unless ``exact``, about how many, at no cost."""

    def flush(self) -> None:
        """Return once everything written so far is on disk."""

    def optimize(self) -> None:
        """Put what was written in good order for searching; may take minutes after many writes."""

    def close(self) -> None:
        """Flush and let go of the index; a second call does nothing."""
