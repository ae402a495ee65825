import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_pipeline.errors import ConfigError, InputError, MismatchError, RagError, UnavailableError
from rag_pipeline.protocols import Store
from rag_pipeline.store.edge import EdgeStore
from rag_pipeline.store.edge_errors import translated
from rag_pipeline.store.edge_folder import require_space
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Point, SparseVector

FEW = {"paths": "keyword", "page": "integer"}  # each payload index costs a few fsyncs when an index is made
SCHEMA = replace(CollectionSchema.of(dense_dim=2, sparse_idf=False, image_dim=2), indexes=FEW)
MADE_BY = Fingerprint(text="t", sparse="s", image="i", chunking="c")


def key(number: int) -> str:
    return str(uuid.UUID(int=number))


def unit(x: float, y: float) -> np.ndarray:
    return (np.array([x, y]) / np.hypot(x, y)).astype(np.float32)


def point(number: int, x: float = 1, y: float = 0, terms: dict[int, float] | None = None, **payload: object) -> Point:
    vectors = {"dense": unit(x, y), "sparse": SparseVector.from_weights(terms or {1: 1.0})}
    return Point(key(number), vectors, payload)


def open_store(folder: Path, create: bool = True) -> EdgeStore:
    return EdgeStore.open(folder, SCHEMA, MADE_BY, create=create)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    with open_store(tmp_path / "index") as opened:
        yield opened


def test_it_keeps_the_contract(store: EdgeStore) -> None:
    contract: Store = store  # and so says mypy
    assert contract.count() == 0


def test_points_come_back_after_closing(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.upsert([point(2, 3, 4, {5: 0.25, 9: 2.0}, text="zwei", pages=[1, 2]), point(1)])
    with open_store(tmp_path, create=False) as store:
        (record,) = store.retrieve([key(2)], with_vectors=True)
        assert store.count() == 2
    assert record.payload == {"text": "zwei", "pages": [1, 2]}
    assert set(record.vectors) == {"dense", "sparse"}
    np.testing.assert_allclose(record.vectors["dense"], [0.6, 0.8], atol=1e-6)
    sparse = record.vectors["sparse"]
    assert isinstance(sparse, SparseVector)
    assert (sparse.indices.tolist(), sparse.values.tolist()) == ([5, 9], [0.25, 2.0])


def test_legs_are_ranked_by_score_each_in_its_own_unit(store: EdgeStore) -> None:
    store.upsert([point(1, 1, 0, {7: 1.0}), point(2, 0, 1, {7: 3.0}), point(3, 3, 4, {8: 1.0})])
    found = store.search({"dense": unit(0, 1), "sparse": SparseVector.from_weights({7: 2.0})}, 10)
    assert [(hit.id, hit.rank, round(hit.score, 4)) for hit in found["dense"]] == [
        (key(2), 1, 1.0),
        (key(3), 2, 0.8),
        (key(1), 3, 0.0),
    ]
    assert [(hit.id, hit.score) for hit in found["sparse"]] == [(key(2), 6.0), (key(1), 2.0)]


def test_a_leg_that_a_point_lacks_does_not_find_it(store: EdgeStore) -> None:
    picture = Point(key(2), {"dense": unit(1, 0), "image": unit(0, 1)}, {})
    store.upsert([point(1), picture])
    assert [hit.id for hit in store.search({"image": unit(0, 1)}, 10)["image"]] == [key(2)]
    assert store.search({"sparse": SparseVector.from_weights({})}, 10) == {"sparse": ()}


def test_idf_weighs_rare_terms_only_where_the_schema_says_so(tmp_path: Path) -> None:
    schema = replace(CollectionSchema.of(dense_dim=2, sparse_idf=True), indexes={})
    with EdgeStore.open(tmp_path, schema, MADE_BY, create=True) as store:
        store.upsert([point(1, terms={1: 1.0}), point(2, terms={1: 1.0}), point(3, terms={2: 1.0})])
        hits = store.search({"sparse": SparseVector.from_weights({1: 1.0, 2: 1.0})}, 3)["sparse"]
    # ln(1 + (N - n + .5) / (n + .5)) with N = 3: n = 1 gives .9808, n = 2 gives .4700
    assert [(hit.id, round(hit.score, 4)) for hit in hits] == [(key(3), 0.9808), (key(1), 0.47), (key(2), 0.47)]


@pytest.mark.parametrize("limit", [1, 5, 40])
def test_equal_scores_are_cut_by_id(store: EdgeStore, limit: int) -> None:
    # 200 equals are more than the margin: the ids at the cut-off are settled by asking for more.
    store.upsert([point(number) for number in (n * 7919 % 200 for n in range(200))])
    found = store.search({"dense": unit(1, 0), "sparse": SparseVector.from_weights({1: 1.0})}, limit)
    for leg in ("dense", "sparse"):
        assert [hit.id for hit in found[leg]] == [key(number) for number in range(limit)]
        assert [hit.rank for hit in found[leg]] == list(range(1, limit + 1))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 70))
def test_a_ranking_is_a_total_order(store: EdgeStore, weights: list[int], limit: int) -> None:
    store.delete([record.id for record in store.scroll()])
    store.upsert([point(n, terms={1: 1.0, 2: float(weight)}) for n, weight in enumerate(weights)])
    hits = store.search({"sparse": SparseVector.from_weights({1: 1.0, 2: 1.0})}, limit)["sparse"]
    expected = sorted((-(1.0 + weight), key(n)) for n, weight in enumerate(weights))[:limit]
    assert [(-hit.score, hit.id) for hit in hits] == expected


def test_an_unknown_leg_is_named(store: EdgeStore) -> None:
    with pytest.raises(ConfigError, match="no leg 'late', only dense, sparse, image"):
        store.search({"late": unit(1, 0)}, 1)


def test_retrieve_keeps_the_order_and_leaves_out_the_unknown(store: EdgeStore) -> None:
    store.upsert([point(n) for n in range(5)])
    assert [r.id for r in store.retrieve([key(3), key(99), key(1)])] == [key(3), key(1)]
    assert store.retrieve([]) == []
    assert store.retrieve([key(3)])[0].vectors == {}


def test_scroll_is_ordered_and_crosses_pages(store: EdgeStore) -> None:
    numbers = [n * 7919 % 600 for n in range(600)]
    store.upsert([point(number) for number in numbers])
    assert [record.id for record in store.scroll()] == [key(number) for number in range(600)]


def test_set_payload_leaves_other_keys_and_vectors_alone(store: EdgeStore) -> None:
    store.upsert([point(1, 3, 4, a=1, b=2)])
    store.set_payload([key(1)], {"b": 3})
    (record,) = store.retrieve([key(1)], with_vectors=True)
    assert record.payload == {"a": 1, "b": 3}
    np.testing.assert_allclose(record.vectors["dense"], [0.6, 0.8], atol=1e-6)


def test_delete_does_not_mind_the_unknown(store: EdgeStore) -> None:
    store.upsert([point(1), point(2)])
    store.delete([key(1), key(50)])
    store.delete([])
    store.upsert([])
    assert [record.id for record in store.scroll()] == [key(2)]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Point("not-a-uuid", {"dense": unit(1, 0)}, {}), InputError),
        (Point(key(1), {"dense": unit(1, 0)}, {"text": "\udcff"}), InputError),
        (Point(key(1), {"dense": np.array([np.nan, 1], np.float32)}, {}), InputError),
        (Point(key(1), {"dense": np.ones(3, np.float32)}, {}), MismatchError),
        (Point(key(1), {"late": unit(1, 0)}, {}), MismatchError),
    ],
)
def test_a_bad_point_is_refused_in_one_line_and_writes_nothing(
    store: EdgeStore, bad: Point, error: type[RagError]
) -> None:
    with pytest.raises(error) as caught:
        store.upsert([bad])
    assert "\n" not in str(caught.value)
    assert store.count() == 0


@pytest.mark.parametrize(
    ("vendor", "error", "says"),
    [
        (Exception("failed to open WAL x: Can't init WAL: Kind(WouldBlock)"), UnavailableError, "held"),
        (Exception("IO error: No space left on device (os error 28)"), UnavailableError, "free space"),
        (Exception("Vector dimension error: expected dim: 4, got 5"), MismatchError, "--config"),
        (Exception("Service runtime error: Shard is not initialized"), UnavailableError, "closed"),
        (Exception("something else\nwith a long tail"), UnavailableError, "something else"),
        (ValueError("failed to parse hello as UUID"), InputError, "UUID"),
    ],
)
def test_what_the_engine_raises_is_translated(vendor: Exception, error: type[RagError], says: str) -> None:
    with pytest.raises(error, match=says) as caught, translated(Path(".rag")):
        raise vendor
    assert caught.value.__cause__ is vendor
    assert "\n" not in str(caught.value)


def test_a_nearly_full_disk_is_refused_before_the_engine_meets_it(tmp_path: Path) -> None:
    require_space(tmp_path, least=0)
    with pytest.raises(UnavailableError, match="MiB free, 1099511627776 are needed"):
        require_space(tmp_path, least=2**60)


def test_using_a_closed_index_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.close()
    store.close()
    with pytest.raises(UnavailableError, match="was closed"):
        store.count()


def test_reading_where_there_is_no_index_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="rag ingest"):
        open_store(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_every_open_checks_what_the_index_was_made_with(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    other = Fingerprint(text="other", sparse="s", image="i", chunking="c")
    for create in (True, False):
        with pytest.raises(MismatchError, match="text is 'other' but the index has 't'"):
            EdgeStore.open(tmp_path, SCHEMA, other, create=create)
    wider = replace(CollectionSchema.of(dense_dim=3, sparse_idf=False, image_dim=2), indexes=FEW)
    with pytest.raises(MismatchError, match="legs"):
        EdgeStore.open(tmp_path, wider, MADE_BY, create=False)
    assert EdgeStore.read_fingerprint(tmp_path) == MADE_BY
    assert EdgeStore.read_schema(tmp_path) == SCHEMA
    open_store(tmp_path, create=False).close()  # and a refused open let go of the lock


def test_a_lost_description_is_not_taken_for_a_new_index(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    (tmp_path / "index.json").unlink()
    with pytest.raises(UnavailableError, match=r"index\.json"):
        open_store(tmp_path)


def test_an_index_that_was_never_finished_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "shard.partial").mkdir()
    (tmp_path / "shard.partial" / "rest").write_text("x")
    with open_store(tmp_path) as store:
        assert store.count() == 0


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    for state in (tmp_path / "shard").glob("segments/*/segment.json"):
        state.write_text("x")
    with pytest.raises(UnavailableError, match="engine failed") as caught:
        open_store(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_second_holder_is_told_who_is_first(tmp_path: Path) -> None:
    with open_store(tmp_path), pytest.raises(UnavailableError) as caught:
        open_store(tmp_path)
    assert f"index {tmp_path} is held by process {os.getpid()} (" in str(caught.value)
    assert ", since " in str(caught.value)
    assert "use another --index" in str(caught.value)


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.store.test_edge import key, open_store, point
store = open_store(Path(sys.argv[1]))
store.upsert([point(n, text="kept") for n in range(100)])
store.set_payload([key(1)], {"text": "changed"})
store.delete([key(2)])
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] == "die" else sys.stdin.read()
"""


def test_acknowledged_writes_survive_kill_without_flush(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), "die"], capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    with open_store(tmp_path, create=False) as store:  # the kernel let go of the lock
        assert store.count() == 99
        assert store.retrieve([key(1)])[0].payload == {"text": "changed"}


def test_another_process_is_refused_by_name(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with pytest.raises(UnavailableError, match=f"held by process {child.pid} "):
            open_store(tmp_path)
    finally:
        child.communicate("")
    with open_store(tmp_path) as store:
        assert store.count() == 99
