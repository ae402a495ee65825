from collections.abc import Sequence

import numpy as np
import pytest

from rag_pipeline.encoders.bm25 import Bm25Encoder
from rag_pipeline.encoders.composed import ComposedEncoder
from rag_pipeline.errors import InputError
from rag_pipeline.protocols import TextEncoder
from rag_pipeline.types import FloatMatrix


class LengthEncoder:
    """A DenseEncoder: one dimension for passages, another for queries; three tokens at most."""

    fingerprint = "length"
    dim = 2
    max_tokens = 3

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def encode_passages(self, texts: Sequence[str], *, truncate: bool = False) -> FloatMatrix:
        if not truncate and max(self.count_tokens(texts), default=0) > self.max_tokens:
            raise InputError("too long")
        return np.tile(np.array([[1, 0]], dtype=np.float32), (len(texts), 1))

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        return np.tile(np.array([[0, 1]], dtype=np.float32), (len(texts), 1))


BM25 = Bm25Encoder()
ENCODER = ComposedEncoder(LengthEncoder(), BM25)


def test_is_a_text_encoder() -> None:
    assert isinstance(ENCODER, TextEncoder)
    assert (ENCODER.dim, ENCODER.max_tokens, ENCODER.sparse_needs_idf) == (2, 3, True)
    assert ENCODER.count_tokens(["a b"]) == [2]


def test_the_fingerprint_has_both_parts() -> None:
    assert ENCODER.fingerprint == "length + bm25/1 language=auto k1=1.2 b=0.75 average_length=256"
    assert (ENCODER.dense.fingerprint, ENCODER.sparse.fingerprint) == ("length", BM25.fingerprint)


def test_passages_and_queries_go_their_own_ways() -> None:
    passages = ENCODER.encode_passages(["die Häuser", "houses"], ["de", "en"])
    queries = [ENCODER.encode_queries(["Haus"], ["de"]), ENCODER.encode_queries(["house"], ["en"])]
    assert passages.dense.tolist() == [[1, 0], [1, 0]]
    assert [query.dense.tolist() for query in queries] == [[[0, 1]], [[0, 1]]]
    for passage, (query,) in zip(passages.sparse, (query.sparse for query in queries), strict=True):
        assert passage.indices.tolist() == query.indices.tolist()
        assert query.values.tolist() == [1.0]


def test_a_long_text_is_refused_or_cut_for_the_dense_part_alone() -> None:
    with pytest.raises(InputError):
        ENCODER.encode_passages(["one two three four"], ["en"])
    vectors = ENCODER.encode_passages(["pump valve sensor cable"], ["en"], truncate=True)
    assert len(vectors.sparse[0].indices) == 4


def test_nothing_in_nothing_out() -> None:
    assert ENCODER.encode_passages([]).dense.shape == ENCODER.encode_queries([]).dense.shape == (0, 2)
