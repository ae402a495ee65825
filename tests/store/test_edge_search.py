"""What the engine finds and scores, against every point scored one by one in Python."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_pipeline.filters import equalities
from rag_pipeline.store.edge import EdgeStore
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Hit, Point, SparseVector, VectorValue
from tests.fakes import MemoryStore

SCHEMA = replace(
    CollectionSchema.of(dense_dim=4, sparse_idf=False, image_dim=4, late=True), indexes={"kind": "keyword"}
)
MADE_BY = Fingerprint(text="t", sparse="s", image="i", chunking="c")

# Of unit length, with products that are exact in every float format: equal scores are equal, whoever adds them up.
ROWS = [np.array(row, dtype=np.float32) for row in (
    [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [-1, 0, 0, 0],
    [0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, -0.5], [-0.5, 0.5, 0.5, -0.5],
)]  # fmt: skip
row = st.sampled_from(ROWS)
rows = st.lists(row, min_size=1, max_size=3).map(np.stack)
terms = st.dictionaries(st.integers(0, 5), st.sampled_from([0.5, 1.0, 2.0]), max_size=3).map(SparseVector.from_weights)
vectors = st.fixed_dictionaries({"dense": row, "sparse": terms, "late": rows}, optional={"image": row})
questions = st.fixed_dictionaries({}, optional={"dense": row, "sparse": terms, "image": row, "late": rows})


def key(number: int) -> str:
    return str(uuid.UUID(int=number))


@dataclass(frozen=True)
class Filled:
    """The same points in the engine and in a dict."""

    engine: EdgeStore
    oracle: MemoryStore

    def fill(self, points: Sequence[Point]) -> None:
        self.engine.delete([record.id for record in self.engine.scroll()])
        self.oracle.points.clear()
        for store in (self.engine, self.oracle):
            store.upsert(points)

    def forget(self, kind: str) -> None:
        """Remove points from the dict, which filters nothing here: that is the engine's work."""
        self.oracle.delete([id_ for id_, point in self.oracle.points.items() if point.payload["kind"] == kind])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with EdgeStore.open(tmp_path_factory.mktemp("index"), SCHEMA, MADE_BY, create=True) as engine:
        yield Filled(engine, MemoryStore())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(vectors, st.sampled_from("ab")), max_size=60),
    st.lists(questions, max_size=3),
    st.integers(1, 20),
    st.booleans(),
    st.booleans(),
)
def test_legs_score_each_others_candidates(
    both: Filled,
    points: list[tuple[Mapping[str, VectorValue], str]],
    queries: list[Mapping[str, VectorValue]],
    limit: int,
    filtered: bool,
    exact: bool,
) -> None:
    both.fill([Point(key(n * 7919 % 101), made, {"kind": kind}) for n, (made, kind) in enumerate(points)])
    filters = equalities({"kind": "a"}) if filtered else None
    if filtered:
        both.forget("b")
    expected = both.oracle.search_batch(queries, limit)
    assert both.engine.search_batch(queries, limit, filters=filters, exact=exact) == expected
    assert [both.engine.search(legs, limit, filters=filters, exact=exact) for legs in queries] == expected


def test_by_hand(both: Filled) -> None:
    def point(number: int, dense: int, terms: dict[int, float]) -> Point:
        return Point(key(number), {"dense": ROWS[dense], "sparse": SparseVector.from_weights(terms)}, {})

    both.fill([point(1, 0, {7: 1}), point(2, 4, {7: 3}), point(3, 1, {7: 2}), point(4, 3, {8: 9}), point(5, 3, {8: 9})])
    found = both.engine.search({"dense": ROWS[0], "sparse": SparseVector.from_weights({7: 1, 8: 1})}, 2, exact=True)
    # dense finds 1 and 2, sparse 4 and 5: each list is the union, and point 3, which neither has among its two, is out.
    assert found["dense"] == (Hit(key(1), 1, 1.0), Hit(key(2), 2, 0.5), Hit(key(4), 3, -1.0), Hit(key(5), 4, -1.0))
    assert found["sparse"] == (Hit(key(4), 1, 9.0), Hit(key(5), 2, 9.0), Hit(key(2), 3, 3.0), Hit(key(1), 4, 1.0))


def test_a_leg_does_not_list_what_it_has_no_vector_or_no_term_for(both: Filled) -> None:
    pictures = Point(key(1), {"dense": ROWS[1], "image": ROWS[0]}, {})
    words = Point(key(2), {"dense": ROWS[0], "sparse": SparseVector.from_weights({1: 1})}, {})
    both.fill([pictures, words])
    asked = {"dense": ROWS[0], "sparse": SparseVector.from_weights({1: 1}), "image": ROWS[0]}
    found = both.engine.search(asked, 5, exact=True)
    assert {leg: [hit.id for hit in hits] for leg, hits in found.items()} == {
        "dense": [key(2), key(1)], "sparse": [key(2)], "image": [key(1)],
    }  # fmt: skip


def test_multi_vectors_score_what_others_found_and_find_only_when_alone(both: Filled) -> None:
    many = [Point(key(n), {"dense": ROWS[n % 2], "late": np.stack([ROWS[n % 2]])}, {}) for n in range(1, 80)]
    best = Point(key(99), {"dense": ROWS[3], "late": np.stack([ROWS[4], ROWS[1]])}, {})
    both.fill([*many, best])
    late = np.stack([ROWS[4], ROWS[4], ROWS[1]])  # of the last point: 1 + 1 + 1; of the even ones 1 / 2 + 1 / 2 + 0
    alone = both.engine.search({"late": late}, 2)["late"]
    assert alone[0] == Hit(key(99), 1, 3.0)
    beside = both.engine.search({"dense": ROWS[0], "late": late}, 2, exact=True)
    assert beside["late"] == (Hit(key(2), 1, 1.0), Hit(key(4), 2, 1.0)), "what the dense leg found"


def test_idf_weighs_the_candidates_of_other_legs_too(tmp_path: Path) -> None:
    schema = replace(CollectionSchema.of(dense_dim=4, sparse_idf=True), indexes={"kind": "keyword"})
    weights = [{1: 1.0}, {1: 0.5}, {2: 1.0}, {3: 1.0}]
    with EdgeStore.open(tmp_path, schema, MADE_BY, create=True) as store:
        store.upsert(
            [
                Point(
                    key(n),
                    {"dense": ROWS[n], "sparse": SparseVector.from_weights(w)},
                    {"kind": "a" if n else "b"},
                )
                for n, w in enumerate(weights)
            ]
        )
        asked = {"sparse": SparseVector.from_weights({1: 1.0, 2: 1.0}), "dense": ROWS[1]}
        for filters in (None, equalities({"kind": "a"})):
            found = {hit.id: hit.score for hit in store.search(asked, 1, filters=filters, exact=True)["sparse"]}
            # ln(1 + (N - n + .5) / (n + .5)), N = 4, whatever the filter: n = 1 gives 1.2040, n = 2 gives .6931.
            assert found == {key(2): pytest.approx(1.2040, abs=1e-4), key(1): pytest.approx(0.6931 / 2, abs=1e-4)}


def test_nothing_asked_is_nothing_found(both: Filled) -> None:
    assert both.engine.search_batch([], 3) == []
    assert both.engine.search_batch([{}, {}], 3) == [{}, {}]


def test_a_graph_on_quantized_copies_finds_what_exact_search_finds_and_scores_it_with_whole_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_pipeline.store.edge_folder._HNSW_FROM", 1000)
    source = np.random.default_rng(0)
    dense = source.normal(size=(3000, 96)).astype(np.float32)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    weights = [{int(term): 1.0 for term in source.choice(50, 5, replace=False)} for _ in dense]
    with EdgeStore.open(tmp_path, CollectionSchema.of(dense_dim=96, sparse_idf=True), MADE_BY, create=True) as store:
        store.upsert(
            [
                Point(key(n), {"dense": vector, "sparse": SparseVector.from_weights(terms)}, {})
                for n, (vector, terms) in enumerate(zip(dense, weights, strict=True))
            ]
        )
        store.optimize()
        assert list(tmp_path.rglob("quantized.data")), "the engine made no copies"
        recalls = []
        for n in range(50):
            asked = {"dense": dense[n] + 0.05 * dense[n + 1], "sparse": SparseVector.from_weights(weights[n + 2])}
            near, found = (
                [hit.id for hit in store.search({"dense": asked["dense"]}, 10, exact=exact)["dense"]]
                for exact in (True, False)
            )
            recalls.append(len({*near} & {*found}) / 10)
            for hit in store.search(asked, 10)["dense"]:
                whole = float(dense[uuid.UUID(hit.id).int] @ asked["dense"]) / float(np.linalg.norm(asked["dense"]))
                assert hit.score == pytest.approx(whole, abs=1e-5)
        assert np.mean(recalls) > 0.95
