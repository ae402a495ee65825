"""The contracts of the parts: what an encoder, a reranker and an engine must do, whoever makes them.

This module knows no implementation. The values that go in and out are those of ``types.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

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
        """Set these payload keys on these points and leave their other keys and vectors alone."""

    def search(
        self,
        legs: Mapping[str, VectorValue],
        limit: int,
        *,
        filters: Mapping[str, str | int] | None = None,
        exact: bool = False,
    ) -> dict[str, tuple[Hit, ...]]:
        """Search each leg; return its best ``limit`` hits, by score descending, then id. No payloads are read."""

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        """Return the records of these ids in this order; unknown ids are left out."""

    def scroll(self, *, with_vectors: bool = False) -> Iterator[Record]:
        """Yield every record, ordered by id, in bounded memory."""

    def count(self) -> int:
        """Return the number of points."""

    def flush(self) -> None:
        """Return once everything written so far is on disk."""

    def optimize(self) -> None:
        """Put what was written in good order for searching; may take minutes after many writes."""

    def close(self) -> None:
        """Flush and let go of the index; a second call does nothing."""
