"""Encoders that remember give what the bare ones give, and run them for what is new only."""

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_pipeline.config import CacheSettings, Settings, SparseSettings, TextSettings
from rag_pipeline.encoders.cache import EmbeddingCache
from rag_pipeline.encoders.cached import CachedDense, CachedText
from rag_pipeline.errors import InputError, OutOfMemoryError
from rag_pipeline.parts import make_text_encoder
from rag_pipeline.protocols import DenseEncoder, TextEncoder
from rag_pipeline.types import FloatMatrix, TextVectors
from tests.fakes import HashEncoder

MB = 2**20


class ThreeWays(HashEncoder):
    """A TextEncoder that writes down what it is asked, and says which text of a call is too long."""

    def __init__(self, dim: int = 16, max_tokens: int = 6, name: str = "three ways", late: bool = False) -> None:
        super().__init__(dim, max_tokens, late=late)
        self.asked: list[list[str]] = []
        self.name = name

    @property
    def fingerprint(self) -> str:
        return self.name

    def _encode(self, texts: Sequence[str], truncate: bool) -> TextVectors:
        self.asked.append(list(texts))
        for number, tokens in enumerate(self.count_tokens(texts), start=1):
            if tokens > self.max_tokens and not truncate:
                raise InputError(f"text {number} of {len(texts)} has {tokens} tokens, {self.max_tokens} are read")
        return super()._encode(texts, truncate)


class OneWay:
    """A DenseEncoder: the dense part of ThreeWays, of passages turned around."""

    def __init__(self, **options: Any) -> None:
        self.encoder = ThreeWays(**options)
        self.fingerprint, self.dim, self.max_tokens = "one way", self.encoder.dim, self.encoder.max_tokens
        self.asked = self.encoder.asked

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.encoder.count_tokens(texts)

    def encode_passages(self, texts: Sequence[str], *, truncate: bool = False) -> FloatMatrix:
        return -self.encoder.encode_passages(texts, truncate=truncate).dense

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        return self.encoder.encode_queries(texts).dense


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[EmbeddingCache]:
    cache = EmbeddingCache(tmp_path / "cache.sqlite", 64 * MB)
    yield cache
    cache.close()


def flat(value: object) -> object:
    """Arrays and vectors as what can be compared: type, shape and every bit."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, TextVectors):
        terms = [(flat(one.indices), flat(one.values)) for one in value.sparse]
        return flat(value.dense), terms, flat(value.late)
    return [flat(one) for one in value] if isinstance(value, tuple) else value


def outcome(encoder: object, name: str, texts: Sequence[str], options: Mapping[str, Any]) -> object:
    try:
        return flat(getattr(encoder, name)(texts, **options))
    except InputError as exc:
        return str(exc)


TEXTS = st.lists(
    st.sampled_from(
        ["", "a", "b", "a b", "b a", "c d e", "\ud800", "ä\u0308", "1 2 3 4 too long", "too long 1 2 3 4 5"]
    ),
    max_size=6,
)
CALLS = st.one_of(
    st.tuples(st.just("encode_passages"), TEXTS, st.fixed_dictionaries({"truncate": st.booleans()})),
    st.tuples(
        st.just("encode_queries"),
        TEXTS,
        st.fixed_dictionaries({"candidates": st.sampled_from([None, (), ("en",), ("de", "en")])}),
    ),
    st.tuples(st.just("close"), st.just([]), st.just({})),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CALLS, max_size=12), st.sampled_from([1, 40_000, 60_000, MB]), st.integers(0, 3), st.booleans())
def test_any_calls_give_what_the_bare_encoder_gives(
    calls: list[tuple[str, list[str], dict[str, Any]]], max_bytes: int, queries: int, late: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(Path(folder) / "cache.sqlite", max_bytes, least_free=0)
        cached = CachedText(ThreeWays(late=late), "runner", cache, queries=queries)
        dense = CachedDense(OneWay(), "runner", cache, queries=queries)
        for name, texts, options in calls:
            if name == "close":
                cache.close()
                continue
            assert outcome(cached, name, texts, options) == outcome(ThreeWays(late=late), name, texts, options)
            options.pop("candidates", None)
            assert outcome(dense, name, texts, options) == outcome(OneWay(), name, texts, options)
        cache.close()


def test_they_are_encoders(cache: EmbeddingCache) -> None:
    dense, text = (
        CachedDense(OneWay(), "runner", cache, queries=1),
        CachedText(ThreeWays(), "runner", cache, queries=1),
    )
    assert isinstance(dense, DenseEncoder)
    assert isinstance(text, TextEncoder)
    assert (dense.fingerprint, dense.dim, dense.max_tokens, dense.count_tokens(["a b"])) == ("one way", 16, 6, [4])
    assert (text.fingerprint, text.dim, text.max_tokens, text.count_tokens(["a b"])) == ("three ways", 16, 6, [4])
    assert not text.sparse_needs_idf


def test_only_what_is_new_is_encoded_and_only_once(cache: EmbeddingCache, tmp_path: Path) -> None:
    bare = OneWay()
    dense = CachedDense(bare, "runner", cache, queries=0)
    dense.encode_passages(["a", "b", "a"])
    dense.encode_passages(["b", "c", "a"])
    dense.encode_passages(["c", "a"])
    assert bare.asked == [["a", "b"], ["c"]]
    another = OneWay()  # in another run
    CachedDense(another, "runner", cache, queries=0).encode_passages(["c", "b"])
    assert another.asked == []
    cache.close()
    stats = EmbeddingCache.read_stats(tmp_path / "cache.sqlite")
    assert (stats.entries, stats.hits, stats.misses) == (3, 6, 3)


def test_kinds_are_kept_apart_and_found_by_each_other(cache: EmbeddingCache) -> None:
    bare, plain = ThreeWays(late=True), ThreeWays()
    late, early = (CachedText(encoder, "runner", cache, queries=0) for encoder in (bare, plain))
    late.encode_passages(["a", "b"])
    early.encode_passages(["a", "b"])
    early.encode_passages(["c"])
    late.encode_passages(["c", "a"])
    assert plain.asked == [["c"]]
    assert bare.asked == [["a", "b"], ["c"]], "what had no vectors of its tokens yet is encoded again"


@pytest.mark.parametrize(
    ("bare", "runner", "truncate"),
    [
        (ThreeWays(name="others"), "runner", False),
        (ThreeWays(), "another runner", False),
        (ThreeWays(max_tokens=7), "runner", False),
        (ThreeWays(dim=17), "runner", False),
        (ThreeWays(), "runner", True),
    ],
    ids=["weights", "runner", "limit", "width", "may be cut"],
)
def test_what_was_made_otherwise_is_not_taken(
    cache: EmbeddingCache, bare: ThreeWays, runner: str, truncate: bool
) -> None:
    CachedText(ThreeWays(), "runner", cache, queries=0).encode_passages(["a"])
    CachedText(bare, runner, cache, queries=0).encode_passages(["a"], truncate=truncate)
    assert bare.asked == [["a"]]


def test_a_text_that_is_too_long_is_named_by_its_place_before_anything_is_kept(
    cache: EmbeddingCache, tmp_path: Path
) -> None:
    dense = CachedDense(OneWay(), "runner", cache, queries=0)
    dense.encode_passages(["a"])
    with pytest.raises(InputError, match="text 3 of 3 has 7 tokens"):
        dense.encode_passages(["a", "new", "one two three four five"])
    cache.close()
    assert EmbeddingCache.read_stats(tmp_path / "cache.sqlite").entries == 1


def test_a_text_for_which_there_is_no_memory_is_numbered_among_the_new_ones(cache: EmbeddingCache) -> None:
    class Small(OneWay):
        def encode_passages(self, texts: Sequence[str], *, truncate: bool = False) -> FloatMatrix:
            if "b" in texts:
                raise OutOfMemoryError(f"text {texts.index('b') + 1} of {len(texts)} does not fit")
            return super().encode_passages(texts, truncate=truncate)

    dense = CachedDense(Small(), "runner", cache, queries=0)
    dense.encode_passages(["a"])
    with pytest.raises(OutOfMemoryError, match="of 3 texts, 2 are new: text 2 of 2 does not fit"):
        dense.encode_passages(["a", "c", "b"])
    with pytest.raises(OutOfMemoryError, match=r"^text 1 of 1 does not fit"):
        dense.encode_passages(["b"])


def test_what_a_caller_does_to_its_vectors_is_its_own_business(cache: EmbeddingCache) -> None:
    dense = CachedDense(OneWay(), "runner", cache, queries=4)
    for call in (dense.encode_passages, dense.encode_queries):
        first = call(["a", "b"])
        expected = first.copy()
        first[:] = 0
        again = call(["a", "b"])
        assert again.tolist() == expected.tolist()
        again[:] = 0
        assert call(["a", "b"]).tolist() == expected.tolist()


def test_what_is_no_number_is_not_kept(cache: EmbeddingCache) -> None:
    class Overflowing(OneWay):
        def encode_passages(self, texts: Sequence[str], *, truncate: bool = False) -> FloatMatrix:
            rows = super().encode_passages(texts, truncate=truncate)
            rows[0, 0] = np.inf
            return rows

    bare = Overflowing()
    dense = CachedDense(bare, "runner", cache, queries=0)
    for _ in range(2):
        dense.encode_passages(["a", "b"])
    assert bare.asked == [["a", "b"], ["a"]]


# ------------------------------------------------------------------------------------------ questions


def test_the_last_questions_are_remembered() -> None:
    bare = ThreeWays()
    text = CachedText(bare, "runner", None, queries=2)
    for question in ("a", "b", "a", "c", "b"):
        text.encode_queries([question])
    assert bare.asked == [["a"], ["b"], ["c"], ["b"]], "b was asked longest ago when c came"
    for candidates in (["en", "de"], ["de", "en"], ["de"], []):
        text.encode_queries(["b"], candidates)
    assert bare.asked[4:] == [["b"]] * 3, "the order of the languages is none"


def test_threads_may_ask_at_once() -> None:
    dense = CachedDense(OneWay(), "runner", None, queries=3)
    expected = OneWay().encode_queries(["a", "b", "c", "d"]).tolist()
    wrong: list[object] = []

    def ask(offset: int) -> None:
        for number in range(500):
            at = (number * offset) % 4
            if dense.encode_queries(["abcd"[at]]).tolist() != [expected[at]]:
                wrong.append(at)

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in (1, 2, 3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -------------------------------------------------------------------------------------- real models

PASSAGES = ["The office in Lindau opens at nine.", "Der Akku hält acht Stunden.", "buoy " * 40, "buoy"]


def test_the_compact_model_to_the_last_bit(cache: EmbeddingCache) -> None:
    """Real weights (bge-small-en-v1.5, INT8): every text is a forward of its own, so that nothing differs."""
    bare = make_text_encoder(Settings(cache=CacheSettings(max_mb=0, queries=0)))
    cached = make_text_encoder(Settings(), cache)
    expected = flat(bare.encode_passages(PASSAGES, ["en", "de", "en", "en"]))
    assert flat(cached.encode_passages(PASSAGES[1:3], ["de", "en"])) == flat(
        bare.encode_passages(PASSAGES[1:3], ["de", "en"])
    )
    for _ in range(2):
        assert flat(cached.encode_passages(PASSAGES, ["en", "de", "en", "en"])) == expected
        assert flat(cached.encode_queries(PASSAGES[:2], ["en"])) == flat(bare.encode_queries(PASSAGES[:2], ["en"]))


def test_bge_m3_in_all_three_ways(cache: EmbeddingCache, tiny_bge_m3: Path) -> None:
    """The true architecture at small width with random weights: this proves the path, not the meaning."""

    def made(late: bool, cache: EmbeddingCache | None) -> TextEncoder:
        text = TextSettings(model="bge-m3", path=tiny_bge_m3, device="cpu", late=late)
        remembered = CacheSettings() if cache else CacheSettings(max_mb=0, queries=0)
        return make_text_encoder(Settings(text=text, sparse=SparseSettings(model="bge-m3"), cache=remembered), cache)

    cached, expected = made(True, cache), made(True, None).encode_passages(PASSAGES)
    first = flat(cached.encode_passages(PASSAGES))
    vectors = cached.encode_passages(PASSAGES)
    assert flat(vectors) == first, "read back to the last bit"
    np.testing.assert_allclose(vectors.dense, expected.dense, atol=1e-6)
    for one, other in zip(vectors.sparse, expected.sparse, strict=True):
        assert one.indices.tolist() == other.indices.tolist()
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)
    assert vectors.late is not None
    assert expected.late is not None
    for own, others in zip(vectors.late, expected.late, strict=True):
        np.testing.assert_allclose(own, others, atol=1e-6)
    assert flat(made(False, cache).encode_passages(PASSAGES)) == flat(TextVectors(vectors.dense, vectors.sparse))
