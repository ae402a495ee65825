import pytest

from rag_pipeline.errors import MismatchError
from rag_pipeline.store.schema import CollectionSchema, Fingerprint, Leg

MADE_BY = Fingerprint(text="bge-small:abc", sparse="bm25:1", image="", chunking='{"max_tokens": 256}')


def test_a_schema_and_a_fingerprint_survive_json() -> None:
    schema = CollectionSchema.of(dense_dim=384, sparse_idf=True, image_dim=512)
    assert CollectionSchema.from_dict(schema.to_dict()) == schema
    assert Fingerprint.from_dict(MADE_BY.to_dict()) == MADE_BY


def test_the_image_leg_is_there_only_where_pictures_are_encoded() -> None:
    with_pictures = CollectionSchema.of(dense_dim=2, sparse_idf=False, image_dim=3)
    without = CollectionSchema.of(dense_dim=2, sparse_idf=False)
    assert [leg.name for leg in with_pictures.legs] == ["dense", "sparse", "image"]
    assert [leg.name for leg in without.legs] == ["dense", "sparse"]
    assert without.leg("image") is None


def test_the_late_leg_is_there_only_where_it_is_asked_for() -> None:
    schema = CollectionSchema.of(dense_dim=2, sparse_idf=False, image_dim=3, late=True)
    assert schema.leg("late") == Leg("late", "multi", 2)
    assert CollectionSchema.from_dict(schema.to_dict()) == schema
    assert CollectionSchema.of(dense_dim=2, sparse_idf=False).leg("late") is None


def test_equal_fingerprints_pass() -> None:
    MADE_BY.check(Fingerprint.from_dict(MADE_BY.to_dict()))


def test_a_mismatch_names_what_differs_both_values_and_the_remedy() -> None:
    in_use = Fingerprint(text="minilm:def", sparse="bm25:1", image="", chunking='{"max_tokens": 128}')
    with pytest.raises(MismatchError) as caught:
        in_use.check(MADE_BY)
    message = str(caught.value)
    assert "text is 'minilm:def' but the index has 'bge-small:abc'" in message
    assert "chunking is" in message
    assert "sparse" not in message
    assert "--config" in message
    assert "--index" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "make",
    [
        lambda: Leg("dense", "dense"),
        lambda: Leg("dense", "dense", 0),
        lambda: Leg("sparse", "sparse", 3),
        lambda: Leg("dense", "dense", 3, idf=True),
        lambda: Leg("late", "multi"),
        lambda: Leg("late", "multi", 3, idf=True),
        lambda: CollectionSchema((Leg("a", "sparse"), Leg("a", "sparse"))),
    ],
)
def test_impossible_legs_are_refused(make: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        make()
