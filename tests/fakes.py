"""Small, honest parts for tests: each does what its Protocol says, in plain Python and numpy, the same every time."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rag_pipeline.errors import InputError
from rag_pipeline.filters import Filter, IndexKind
from rag_pipeline.types import FloatMatrix, Hit, Point, Record, SparseVector, TextVectors, VectorValue
from tests.filter_oracle import passes

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower-case words of a text."""
    return _WORD.findall(text.lower())


class HashEncoder:
    """A TextEncoder: hashed bags of words. Texts that share words are near; texts that share none score 0.

    Tokens are words, plus two for the special tokens that a real model adds; with ``late``, each word has its vector.
    """

    def __init__(self, dim: int = 256, max_tokens: int = 512, *, late: bool = False) -> None:
        self._dim = dim
        self._max_tokens = max_tokens
        self._late = late
        self.passages_encoded = 0
        self.candidates: set[str] | None = None

    @property
    def fingerprint(self) -> str:
        return f"hash-words-{self._dim}"

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def max_tokens(self) -> int:
        return self._max_tokens

    @property
    def sparse_needs_idf(self) -> bool:
        return False

    @property
    def late(self) -> bool:
        return self._late

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(words(text)) + 2 for text in texts]

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[str] | None = None, *, truncate: bool = False
    ) -> TextVectors:
        self.passages_encoded += len(texts)
        return self._encode(texts, truncate)

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> TextVectors:
        self.candidates = None if candidates is None else set(candidates)
        return self._encode(texts, truncate=False)

    def _encode(self, texts: Sequence[str], truncate: bool) -> TextVectors:
        dense = np.zeros((len(texts), self._dim), dtype=np.float32)
        sparse, late = [], []
        for row, text in enumerate(texts):
            found = words(text)
            if len(found) + 2 > self._max_tokens and not truncate:
                raise InputError(f"text has {len(found) + 2} tokens, more than {self._max_tokens}; shorten it")
            hashes = [zlib.crc32(word.encode()) for word in found[: self._max_tokens - 2]]
            for code in hashes:
                dense[row, code % self._dim] += 1.0
            if not hashes:
                dense[row, 0] = 1.0
            dense[row] /= np.linalg.norm(dense[row])
            sparse.append(SparseVector.from_weights({code: 1 + math.log(n) for code, n in Counter(hashes).items()}))
            if self._late:
                late.append(np.eye(self._dim, dtype=np.float32)[[code % self._dim for code in hashes] or [0]])
        return TextVectors(dense, tuple(sparse), tuple(late) if self._late else None)


class WordImageEncoder:
    """An ImageEncoder over one-word "pictures": the bytes of a picture are the word that it shows."""

    def __init__(self, dim: int = 64) -> None:
        self._words = HashEncoder(dim)

    @property
    def fingerprint(self) -> str:
        return f"hash-images-{self.dim}"

    @property
    def dim(self) -> int:
        return self._words.dim

    def encode_images(self, images: Sequence[bytes]) -> FloatMatrix:
        return self._words.encode_passages([image.decode() for image in images]).dense

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        return self._words.encode_queries(texts).dense


class OverlapReranker:
    """A Reranker: the share of the query's words that the passage has, as a logit between -8 and 8."""

    @property
    def fingerprint(self) -> str:
        return "word-overlap"

    def score(self, query: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        asked = set(words(query))
        shares = [len(asked & set(words(passage))) / max(1, len(asked)) for passage in passages]
        return np.array([16 * share - 8 for share in shares], dtype=np.float32)


class MemoryStore:
    """A Store in a dict: every search is exhaustive, by dot product."""

    def __init__(self) -> None:
        self.points: dict[str, Point] = {}
        self.closed = False
        self.searches = 0
        self.retrieved: list[str] = []

    def upsert(self, points: Sequence[Point]) -> None:
        self.points.update({point.id: point for point in points})

    def delete(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            self.points.pop(id_, None)

    def set_payload(self, ids: Sequence[str], payload: Mapping[str, object]) -> None:
        for id_ in ids:
            if id_ in self.points:
                old = self.points[id_]
                merged = {**old.payload, **payload}
                gone = {key for key, value in payload.items() if value is None}
                self.points[id_] = Point(
                    id_, old.vectors, {key: value for key, value in merged.items() if key not in gone}
                )

    def search(
        self,
        legs: Mapping[str, VectorValue],
        limit: int,
        *,
        filters: Filter | None = None,
        exact: bool = False,
    ) -> dict[str, tuple[Hit, ...]]:
        return self.search_batch([legs], limit, filters=filters, exact=exact)[0]

    def search_batch(
        self,
        queries: Sequence[Mapping[str, VectorValue]],
        limit: int,
        *,
        filters: Filter | None = None,
        exact: bool = False,
    ) -> list[dict[str, tuple[Hit, ...]]]:
        self.searches += 1
        return [self._ranked(legs, limit, filters) for legs in queries]

    def _ranked(
        self, legs: Mapping[str, VectorValue], limit: int, filters: Filter | None
    ) -> dict[str, tuple[Hit, ...]]:
        order = {}
        for leg, query in legs.items():
            scored = [
                (-_dot(query, point.vectors[leg]), id_)
                for id_, point in self.points.items()
                if leg in point.vectors and passes(filters, point.payload, id_)
            ]
            # Like an inverted index, the sparse leg lists no point without a common term.
            order[leg] = sorted(entry for entry in scored if entry[0] < 0 or not isinstance(query, SparseVector))
        searching = [leg for leg, query in legs.items() if isinstance(query, SparseVector) or query.ndim == 1]
        best = {id_ for leg in searching or legs for _, id_ in order[leg][:limit]}
        return {
            leg: tuple(
                Hit(id_, rank, -score)
                for rank, (score, id_) in enumerate((entry for entry in entries if entry[1] in best), start=1)
            )
            for leg, entries in order.items()
        }

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        self.retrieved.extend(ids)
        return [self._record(id_, with_vectors) for id_ in ids if id_ in self.points]

    def delete_where(self, filters: Filter) -> None:
        self.delete([id_ for id_, point in self.points.items() if passes(filters, point.payload, id_)])

    def index_payload(self, keys: Mapping[str, IndexKind]) -> None:
        return None

    def scroll(self, *, filters: Filter | None = None, with_vectors: bool = False) -> Iterator[Record]:
        for id_ in sorted(self.points):
            if passes(filters, self.points[id_].payload, id_):
                yield self._record(id_, with_vectors)

    def _record(self, id_: str, with_vectors: bool) -> Record:
        point = self.points[id_]
        return Record(id_, dict(point.payload), dict(point.vectors) if with_vectors else {})

    def count(self, filters: Filter | None = None, *, exact: bool = True) -> int:
        return sum(passes(filters, point.payload, id_) for id_, point in self.points.items())

    def flush(self) -> None:
        return None

    def optimize(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True


def _dot(a: VectorValue, b: VectorValue) -> float:
    if isinstance(a, SparseVector) and isinstance(b, SparseVector):
        _, left, right = np.intersect1d(a.indices, b.indices, return_indices=True)
        return float(a.values[left] @ b.values[right])
    if isinstance(a, SparseVector) or isinstance(b, SparseVector):
        raise TypeError("a sparse vector only compares with a sparse one")
    if a.ndim == 2:  # MaxSim: each token of the query with its best of the passage
        return float((a @ b.T).max(axis=1).sum())
    return float(a @ b)
