import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_pipeline.errors import ConfigError
from rag_pipeline.filters import Condition, Filter, Op, equalities, parse_filter
from rag_pipeline.store.edge import EdgeStore
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Point
from tests.filter_oracle import passes

SCHEMA = CollectionSchema.of(dense_dim=2, sparse_idf=False)
MADE_BY = Fingerprint(text="t", sparse="s", image="", chunking="c")
UP = np.array([1, 0], np.float32)


def key(number: int) -> str:
    return str(uuid.UUID(int=number))


def point(number: int, **payload: object) -> Point:
    return Point(key(number), {"dense": UP}, payload)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeStore]:
    with EdgeStore.open(tmp_path_factory.mktemp("filters") / "index", SCHEMA, MADE_BY, create=True) as opened:
        opened.index_payload({"meta.author": "keyword", "meta.size": "integer"})
        yield opened


@pytest.fixture
def library(store: EdgeStore) -> EdgeStore:
    """Five passages; 5 is of a document without anything of its own."""
    store.delete([record.id for record in store.scroll()])
    pdf, mail = "application/pdf", "message/rfc822"
    store.upsert(
        [
            point(
                1, paths=["/d/reports/2024/a.pdf"], pages=[1, 2], media_type=pdf, tags=["finance"], date="2024-03-01"
            ),
            point(2, paths=["/d/reports/b.pdf", "/e/b.pdf"], pages=[2, 9], media_type=pdf, tags=[], date="2023-12-31"),
            point(
                3, paths=["/d/mail/c.eml"], pages=[], media_type=mail, tags=["finance", "q1 2024"], date="2024-03-31"
            ),
            point(4, paths=["/d/reports/x/y/d [1].pdf"], pages=[3], media_type=pdf, meta={"author": "Ann", "size": 3}),
            point(5, paths=["/d/e.txt"], media_type="text/plain", meta={"author": 7, "size": "3"}, other="text 3"),
        ]
    )
    return store


def found(store: EdgeStore, *written: str) -> list[int]:
    wanted = Filter(all=tuple(map(parse_filter, written)))
    numbers = [uuid.UUID(record.id).int for record in store.scroll(filters=wanted)]
    assert store.count(wanted) == len(numbers)
    hits = store.search({"dense": UP}, 10, filters=wanted)["dense"]
    assert sorted(uuid.UUID(hit.id).int for hit in hits) == numbers
    return numbers


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("path=reports/**/*.pdf", [1, 2, 4]),
        ("path=reports/*.pdf", [2]),
        ("path=reports/", [1, 2, 4]),
        ("path=/d/reports/**", [1, 2, 4]),
        ("path=/e/**", [2]),
        ("path=/d/*", [5]),
        ("path=*.pdf", [1, 2, 4]),
        ("path=d [1].pdf", [4]),
        ("path=/d/e.txt", [5]),
        ("path=/d/?.txt", [5]),
        ("path=nowhere/", []),
        ("path!=reports/", [3, 5]),
        ("type=pdf", [1, 2, 4]),
        ("type=eml", [3]),
        ("type!=pdf", [3, 5]),
        ("page=2", [1, 2]),
        ("page>=3", [2, 4]),
        ("page=3..7", [4]),  # 2 has pages on either side, and none within
        ("page!=2", [3, 4, 5]),
        ("date=2024", [1, 3]),
        ("date=2024-03", [1, 3]),
        ("date=2024-03-01", [1]),
        ("date>2024-03-01", [3]),
        ("date>=2024-03-01", [1, 3]),
        ("date<2024", [2]),
        ("date<=2023", [2]),
        ("date=2023..2024-03-01", [1, 2]),
        ("tag=finance", [1, 3]),
        ("tag=q1*", [3]),
        ("tag=*", [1, 3]),
        ("tag!=*", [2, 4, 5]),
        ("author=Ann", [4]),
        ("author=A*", [4]),
        ("author=7", [5]),
        ("meta.author=Ann", [4]),
        ("size=3", [4, 5]),  # a number in one document, text in the other
        ("size>2", [4]),
        ("other=text 3", [5]),
        ("id=" + key(3), [3]),
        ("id=of nothing", []),
    ],
)
def test_each_condition_finds_what_it_says(library: EdgeStore, written: str, expected: Sequence[int]) -> None:
    assert found(library, written) == expected


def test_several_must_all_hold(library: EdgeStore) -> None:
    assert found(library, "path=reports/", "date>=2024", "tag=finance") == [1]


def test_filters_nest(library: EdgeStore) -> None:
    either = Filter(any=(parse_filter("type=eml"), parse_filter("page=9")))
    assert [uuid.UUID(one.id).int for one in library.scroll(filters=either)] == [2, 3]
    neither = Filter(none=(either,), all=(parse_filter("path=/d/**"),))
    assert [uuid.UUID(one.id).int for one in library.scroll(filters=neither)] == [1, 4, 5]


def test_a_part_of_a_text_is_looked_for_with_case(library: EdgeStore) -> None:
    def numbers(part: str) -> list[int]:
        wanted = Filter(all=(Condition("other", "contains", part),))
        return [uuid.UUID(one.id).int for one in library.scroll(filters=wanted)]

    assert (numbers("ext 3"), numbers("Text")) == ([5], [])


def test_what_passes_can_be_deleted(library: EdgeStore) -> None:
    library.delete_where(parse_filter("type=pdf"))
    assert [uuid.UUID(one.id).int for one in library.scroll()] == [3, 5]
    with pytest.raises(ConfigError, match="empty filter"):
        library.delete_where(Filter())
    assert library.count() == 2


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("autor=Ann", "has the key 'autor', did you mean 'author'? known: date, document_id"),
        ("no key=1", "has the key 'no key'"),
        ('"; x=1', "has the key"),
        ("page=three", "pages is a number"),
        ("date=yesterday", "date is a date such as 2024-03-01"),
        ("path>/d", "paths is text, which has no order"),
        ("other=*x*", "is for indexed text: document_id"),
        ("other>x", "compared with numbers and dates only"),
        ("id>3", "ids can be listed"),
    ],
)
def test_what_would_find_nothing_without_a_word_is_refused(library: EdgeStore, written: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        library.count(parse_filter(written))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_index_knows_no_keys_and_refuses_none(tmp_path: Path) -> None:
    with EdgeStore.open(tmp_path / "index", SCHEMA, MADE_BY, create=True) as store:
        assert store.count(parse_filter("author=Ann")) == 0


def test_an_index_of_an_earlier_version_gets_the_payload_indexes_that_it_lacks(tmp_path: Path) -> None:
    earlier = CollectionSchema(SCHEMA.legs, {"paths": "keyword", "page": "integer"})
    with EdgeStore.open(tmp_path, earlier, MADE_BY, create=True) as store:
        store.upsert([point(1, tags=["a"], date="2024-03-01", meta={"author": "Ann"})])
    with EdgeStore.open(tmp_path, SCHEMA, MADE_BY, create=False) as store:
        store.index_payload({"meta.author": "keyword"})
        assert found(store, "tag=a*", "date=2024", "author=A*") == [1]
    with EdgeStore.open(tmp_path, SCHEMA, MADE_BY, create=False) as store:
        assert found(store, "author=A*") == [1], "what was indexed stays so"


# --------------------------------------------------------------- against an evaluation in plain Python

NAMES = st.sampled_from(["a", "ab", "a.pdf", "[a]"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
DAYS = st.dates().map(lambda day: day.replace(year=2023 + day.year % 2).isoformat() if day.day < 29 else "2024-02-29")
NUMBERS = st.integers(0, 4)
ANY = st.sampled_from(["a", "ab", "3", "2024-02-29", 3, 2.5, 2024])
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "paths": st.lists(PATHS, min_size=1, max_size=2),
        "pages": st.lists(NUMBERS, max_size=3),
        "tags": st.lists(st.sampled_from(["a", "ab", "b"]), max_size=2),
        "date": st.none() | DAYS,
        "other": ANY | st.lists(ANY, max_size=2),
        "meta": st.fixed_dictionaries({}, optional={"author": ANY, "size": ANY}),
    },
)
GLOBS = st.lists(st.sampled_from(["**", "*", "a*", "?", "*.pdf", "a", "ab", "[a]"]), min_size=1, max_size=4).map(
    "/".join
)
DATES = st.sampled_from(["2023", "2024", "2024-02", "2024-02-29", "2023-05-05"])
ORDERED: st.SearchStrategy[Op] = st.sampled_from(["eq", "lt", "lte", "gt", "gte"])


def two(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(values, values)


CONDITIONS = st.one_of(
    st.builds(Condition, st.just("paths"), st.just("glob"), GLOBS.map(lambda one: f"/{one}") | GLOBS),
    st.builds(Condition, st.just("paths"), st.just("eq"), PATHS),
    st.builds(Condition, st.just("tags"), st.just("glob"), st.sampled_from(["a*", "*", "*b", "a"])),
    st.builds(Condition, st.just("pages"), ORDERED, NUMBERS | NUMBERS.map(str)),
    st.builds(Condition, st.just("pages"), st.just("between"), two(NUMBERS)),
    st.builds(Condition, st.just("date"), ORDERED, DATES),
    st.builds(Condition, st.just("date"), st.just("between"), two(DATES)),
    st.builds(Condition, st.sampled_from(["other", "author", "size"]), st.just("eq"), ANY),
    st.builds(
        Condition, st.sampled_from(["other", "author", "size"]), st.just("gte"), st.sampled_from([3, "3", "2024"])
    ),
    st.builds(
        Condition, st.sampled_from(["tags", "other", "size"]), st.just("in"), st.lists(ANY, max_size=2).map(tuple)
    ),
    st.builds(Condition, st.sampled_from(["tags", "date", "author", "other"]), st.just("exists")),
    st.builds(
        Condition, st.sampled_from(["other", "paths"]), st.just("contains"), st.sampled_from(["a", ".pdf", "/b"])
    ),
)


@st.composite
def a_filter(draw: st.DrawFn, depth: int = 2) -> Filter:
    """Up to two parts of each of all, any and none; a part is a condition or, above the lowest level, a filter."""
    part = CONDITIONS if depth == 0 else CONDITIONS | a_filter(depth - 1).filter(bool)
    some = st.lists(part, max_size=2).map(tuple)
    return Filter(draw(some), draw(some), draw(some))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PAYLOADS, min_size=1, max_size=6), a_filter())
def test_the_engine_finds_what_plain_reading_finds(
    store: EdgeStore, payloads: list[dict[str, Any]], wanted: Filter
) -> None:
    store.delete([record.id for record in store.scroll()])
    # Every key occurs, so that none is refused as unknown.
    occurring = point(999, other="z", meta={"author": "z", "size": 9})
    store.upsert([occurring, *(point(number, **payload) for number, payload in enumerate(payloads))])
    expected = {key(number) for number, payload in enumerate(payloads) if passes(wanted, payload, key(number))}
    assert {record.id for record in store.scroll(filters=wanted)} - {occurring.id} == expected
    assert {hit.id for hit in store.search({"dense": UP}, 20, filters=wanted)["dense"]} - {occurring.id} == expected


def test_equalities_are_a_filter(library: EdgeStore) -> None:
    wanted = equalities({"media_type": "application/pdf", "pages": 3})
    assert [uuid.UUID(one.id).int for one in library.scroll(filters=wanted)] == [4]
