"""Encoders that remember: passages on disk, questions in memory.

Enters: an encoder and a cache. Leaves: an encoder of the same Protocol, which gives what the other would and runs it
only for what is new, each text of a call once. A vector is kept under what it depends on: the text, the encoder's
fingerprint, what runs it and in which precision, and whether the text may be cut. This module knows nothing of SQLite.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from copy import deepcopy
from typing import Generic, Literal, TypeVar, cast

import numpy as np

from rag_pipeline.encoders.cache import EmbeddingCache
from rag_pipeline.errors import InputError, OutOfMemoryError
from rag_pipeline.protocols import DenseEncoder, TextEncoder
from rag_pipeline.types import FloatMatrix, SparseVector, TextVectors

__all__ = ["CachedDense", "CachedText"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
Vectors = TypeVar("Vectors", bound="tuple[FloatMatrix | SparseVector, ...]")
Kind = Literal["dense", "sparse", "multi"]
Row = tuple[FloatMatrix, SparseVector] | tuple[FloatMatrix, SparseVector, FloatMatrix]
"""A text's dense and sparse vectors and, where the encoder gives them, those of its tokens."""


class CachedDense:
    """A :class:`DenseEncoder` over another; threads may share one if they may share that.

    Args:
        dense: what encodes.
        runner: what runs it, and in which precision: two runners differ in the last bits.
        cache: keeps passages; None: nothing does.
        queries: questions that are remembered, in memory.
    """

    def __init__(self, dense: DenseEncoder, runner: str, cache: EmbeddingCache | None, *, queries: int) -> None:
        self._dense = dense
        self._passages = _Passages(dense, runner, cache)
        self._queries: _Recent[FloatMatrix] = _Recent(queries)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of what encodes."""
        return self._dense.fingerprint

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self._dense.dim

    @property
    def max_tokens(self) -> int:
        """Most tokens a text may have, special tokens and prefixes included."""
        return self._dense.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included."""
        return self._dense.count_tokens(texts)

    def encode_passages(self, texts: Sequence[str], *, truncate: bool = False) -> FloatMatrix:
        """Encode texts to be found, (n, dim) float32 unit rows.

        Raises:
            InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
        """

        def encode(some: Sequence[str]) -> list[tuple[FloatMatrix]]:
            return [(row,) for row in self._dense.encode_passages(some, truncate=truncate)]

        return _stacked([row for (row,) in self._passages.get(texts, ("dense",), encode, truncate)], self.dim)

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        """Encode questions, (n, dim) float32 unit rows.

        Raises:
            InputError: a question is longer than ``max_tokens``.
        """
        found = self._queries.get(texts)
        rows, fresh = _completed(texts, found, lambda some: list(self._dense.encode_queries(some)))
        self._queries.put({text: row.copy() for text, row in fresh.items()})  # a row alone holds on to its batch
        return _stacked(rows, self.dim)


class CachedText:
    """A :class:`TextEncoder` over one whose vectors all come from one model; see :class:`CachedDense`."""

    def __init__(self, encoder: TextEncoder, runner: str, cache: EmbeddingCache | None, *, queries: int) -> None:
        self._encoder = encoder
        self._passages = _Passages(encoder, runner, cache)
        self._queries: _Recent[Row] = _Recent(queries)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of what encodes."""
        return self._encoder.fingerprint

    @property
    def dim(self) -> int:
        """Width of a dense vector."""
        return self._encoder.dim

    @property
    def max_tokens(self) -> int:
        """Most tokens a text may have, special tokens and prefixes included."""
        return self._encoder.max_tokens

    @property
    def sparse_needs_idf(self) -> bool:
        """Whether the engine must apply inverse document frequency."""
        return self._encoder.sparse_needs_idf

    @property
    def late(self) -> bool:
        """Whether texts come with a vector of each token, too."""
        return self._encoder.late

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included."""
        return self._encoder.count_tokens(texts)

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[str] | None = None, *, truncate: bool = False
    ) -> TextVectors:
        """Encode texts to be found. ``languages`` changes nothing: one model reads them all.

        Raises:
            InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
        """

        def encode(some: Sequence[str]) -> list[Row]:
            return _rows(self._encoder.encode_passages(some, truncate=truncate))

        kinds: tuple[Kind, ...] = ("dense", "sparse", "multi") if self.late else ("dense", "sparse")
        return _joined(self._passages.get(texts, kinds, encode, truncate), self.dim, late=self.late)

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> TextVectors:
        """Encode questions.

        Raises:
            InputError: a question is longer than ``max_tokens``.
        """
        among = None if candidates is None else frozenset(candidates)
        found = {text: row for (text, _), row in self._queries.get([(text, among) for text in texts]).items()}
        rows, fresh = _completed(texts, found, lambda some: _rows(self._encoder.encode_queries(some, candidates)))
        # A row alone holds on to its batch.
        self._queries.put({(text, among): deepcopy(row) for text, row in fresh.items()})
        return _joined(rows, self.dim, late=self.late)


class _Passages:
    """The vectors of texts, from the cache or else from the encoder."""

    def __init__(self, encoder: DenseEncoder | TextEncoder, runner: str, cache: EmbeddingCache | None) -> None:
        self._encoder = encoder
        self._runner = runner
        self._cache = cache

    def get(
        self,
        texts: Sequence[str],
        kinds: tuple[Kind, ...],
        encode: Callable[[Sequence[str]], Sequence[Vectors]],
        truncate: bool,
    ) -> Sequence[Vectors]:
        """Return for each text its vectors of these kinds."""
        if self._cache is None:
            return encode(texts)
        spaces = [self._space(kind, truncate) for kind in kinds]
        keys = {text: [_key(space, text) for space in spaces] for text in texts}
        kept = self._cache.get([key for several in keys.values() for key in several])
        found: dict[str, Vectors] = {}
        for text, several in keys.items():
            read = [_read(kind, kept.get(key), self._encoder.dim) for kind, key in zip(kinds, several, strict=True)]
            if all(vector is not None for vector in read):
                found[text] = cast("Vectors", tuple(read))
        rows, fresh = _completed(texts, found, encode)
        values = {
            key: _written(vector)
            for text, vectors in fresh.items()
            if all(map(_is_finite, vectors))
            for key, vector in zip(keys[text], vectors, strict=True)
        }
        if values:
            self._cache.put(values)
        self._cache.count(hits=len(found), misses=len(fresh))
        return rows

    def _space(self, kind: Kind, truncate: bool) -> bytes:
        """Return a hash of all but the text that a vector depends on."""
        encoder = self._encoder
        names = [encoder.fingerprint, self._runner, kind, encoder.dim, encoder.max_tokens, truncate]
        return hashlib.sha256(json.dumps(names).encode()).digest()


class _Recent(Generic[T]):
    """The ``size`` values that were last asked for; threads may share one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, keys: Sequence[K]) -> dict[K, T]:
        with self._lock:
            found = {key: self._values[key] for key in keys if key in self._values}
            for key in found:
                self._values.move_to_end(key)
        return found

    def put(self, values: Mapping[K, T]) -> None:
        with self._lock:
            for key, value in values.items():
                self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)


def _key(space: bytes, text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20, key=space).digest()


def _completed(
    texts: Sequence[str], found: Mapping[str, T], encode: Callable[[Sequence[str]], Sequence[T]]
) -> tuple[list[T], dict[str, T]]:
    """Return a value for each text, and of those the ones that were not ``found`` but encoded now.

    Raises:
        InputError: a text is too long.
        OutOfMemoryError: the device has no memory for one text.
    """
    missing = [text for text in dict.fromkeys(texts) if text not in found]
    try:
        fresh = dict(zip(missing, encode(missing), strict=True)) if missing else {}
    except InputError:
        if len(missing) < len(texts):
            encode(texts)  # says which one it is of those that the caller knows
        raise
    except OutOfMemoryError as exc:
        if len(missing) < len(texts):
            raise OutOfMemoryError(f"of {len(texts)} texts, {len(missing)} are new: {exc}") from exc
        raise
    return [found[text] if text in found else fresh[text] for text in texts], fresh


def _rows(vectors: TextVectors) -> list[Row]:
    if vectors.late is None:
        return list(zip(vectors.dense, vectors.sparse, strict=True))
    return list(zip(vectors.dense, vectors.sparse, vectors.late, strict=True))


def _joined(rows: Sequence[Row], dim: int, *, late: bool) -> TextVectors:
    multi = tuple(row[2] for row in rows if len(row) == 3)
    return TextVectors(_stacked([row[0] for row in rows], dim), tuple(row[1] for row in rows), multi if late else None)


def _stacked(rows: Sequence[FloatMatrix], dim: int) -> FloatMatrix:
    """Return the rows as a matrix of its own: a caller may change what it was given."""
    return np.stack(rows) if rows else np.empty((0, dim), dtype=np.float32)


def _is_finite(vector: FloatMatrix | SparseVector) -> bool:
    """Tell what a number format too narrow has not spoilt: it would be spoilt for good."""
    return bool(np.isfinite(vector.values if isinstance(vector, SparseVector) else vector).all())


def _written(vector: FloatMatrix | SparseVector) -> bytes:
    """Return float32, little-endian, row by row; of a sparse vector its indices, uint32, before them."""
    if isinstance(vector, SparseVector):
        return vector.indices.astype("<u4").tobytes() + vector.values.astype("<f4").tobytes()
    return vector.astype("<f4").tobytes()


def _read(kind: Kind, kept: bytes | None, dim: int) -> FloatMatrix | SparseVector | None:
    """Return what was written, or None where there is nothing, or nothing of the right length."""
    if kept is None or len(kept) % (8 if kind == "sparse" else 4 * dim):
        return None
    if kind == "sparse":
        half = len(kept) // 2
        indices, weights = np.frombuffer(kept[:half], dtype="<u4"), np.frombuffer(kept[half:], dtype="<f4")
        return SparseVector(indices.astype(np.uint32), weights.astype(np.float32))
    numbers = np.frombuffer(kept, dtype="<f4").astype(np.float32)
    if kind == "multi":
        return numbers.reshape(-1, dim)
    return numbers if len(numbers) == dim else None
