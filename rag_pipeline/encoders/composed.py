"""Two encoders as one: dense vectors from a model, sparse vectors from BM25.

Enters: texts and their languages. Leaves: :class:`TextVectors`. This module encodes nothing itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rag_pipeline.encoders.bm25 import Bm25Encoder
from rag_pipeline.protocols import DenseEncoder
from rag_pipeline.types import TextVectors

__all__ = ["ComposedEncoder"]


class ComposedEncoder:
    """A :class:`TextEncoder` of two parts; an index records the fingerprint of each (``dense``, ``sparse``)."""

    sparse_needs_idf = True
    late = False

    def __init__(self, dense: DenseEncoder, sparse: Bm25Encoder) -> None:
        self.dense = dense
        self.sparse = sparse

    @property
    def fingerprint(self) -> str:
        """The fingerprints of both parts."""
        return f"{self.dense.fingerprint} + {self.sparse.fingerprint}"

    @property
    def dim(self) -> int:
        """Width of a dense vector."""
        return self.dense.dim

    @property
    def max_tokens(self) -> int:
        """Most tokens a text may have for the dense model; BM25 has no limit."""
        return self.dense.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as the dense model counts them, special tokens included."""
        return self.dense.count_tokens(texts)

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[str] | None = None, *, truncate: bool = False
    ) -> TextVectors:
        """Encode texts to be found; ``truncate`` cuts a long text for the dense model only.

        Raises:
            InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
        """
        dense = self.dense.encode_passages(texts, truncate=truncate)
        return TextVectors(dense, tuple(self.sparse.encode_passages(texts, languages)))

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> TextVectors:
        """Encode questions.

        Raises:
            InputError: a question is longer than ``max_tokens``.
        """
        return TextVectors(self.dense.encode_queries(texts), tuple(self.sparse.encode_queries(texts, candidates)))
