from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.retrieval.fusion import reciprocal_rank_fusion
from rag_pipeline.types import Hit, LegRank

Legs = Mapping[str, list[Hit]]


def ranked(*ids: str) -> list[Hit]:
    return [Hit(id_, rank, 1.0 / rank) for rank, id_ in enumerate(ids, start=1)]


def test_the_formula_by_hand() -> None:
    fused = reciprocal_rank_fusion({"dense": ranked("a", "b"), "sparse": ranked("b", "c")})
    assert [hit.id for hit in fused] == ["b", "a", "c"]
    assert fused[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert fused[1].score == pytest.approx(1 / 61)
    assert fused[2].score == pytest.approx(1 / 62)
    assert [hit.rank for hit in fused] == [1, 2, 3]


def test_each_legs_rank_and_score_are_kept() -> None:
    first = reciprocal_rank_fusion({"dense": ranked("a", "b"), "sparse": ranked("b")})[0]
    assert dict(first.legs) == {"dense": LegRank(2, 0.5), "sparse": LegRank(1, 1.0)}


def test_k_decides_between_one_first_rank_and_two_middling_ones() -> None:
    # k = 60: 1/61 < 2/63. k = 0.5: 1/1.5 = .667 > 2/3.5 = .571.
    legs = {"dense": ranked("a", "x", "b"), "sparse": ranked("y", "z", "b")}
    assert reciprocal_rank_fusion(legs)[0].id == "b"
    assert reciprocal_rank_fusion(legs, k=0.5)[0].id == "a"


def test_ties_are_broken_by_id() -> None:
    fused = reciprocal_rank_fusion({"dense": ranked("b", "a"), "sparse": ranked("a", "b")})
    assert [hit.id for hit in fused] == ["a", "b"]
    assert fused[0].score == fused[1].score


def test_nothing_found_fuses_to_nothing() -> None:
    assert reciprocal_rank_fusion({}) == []
    assert reciprocal_rank_fusion({"dense": [], "sparse": []}) == []


def test_limit_keeps_the_best() -> None:
    assert [hit.id for hit in reciprocal_rank_fusion({"dense": ranked("a", "b", "c")}, limit=2)] == ["a", "b"]


def test_a_point_twice_in_a_leg_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        reciprocal_rank_fusion({"dense": [Hit("a", 1, 1.0), Hit("a", 2, 0.5)]})


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="k must be positive"):
        reciprocal_rank_fusion({"dense": ranked("a")}, k=0)


IDS = st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=10)
LEGS = st.dictionaries(st.sampled_from(["dense", "sparse", "image", "late"]), IDS, max_size=4).map(
    lambda legs: {leg: ranked(*ids) for leg, ids in legs.items()}
)


@given(LEGS, st.randoms(use_true_random=False))
def test_order_of_legs_and_of_hits_does_not_matter(legs: Legs, random: object) -> None:
    names = list(legs)
    random.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: random.sample(legs[name], len(legs[name])) for name in names}  # type: ignore[attr-defined]
    assert reciprocal_rank_fusion(shuffled) == reciprocal_rank_fusion(legs)


@given(LEGS)
def test_every_point_comes_once_in_a_total_order(legs: Legs) -> None:
    fused = reciprocal_rank_fusion(legs)
    assert sorted(hit.id for hit in fused) == sorted({hit.id for hits in legs.values() for hit in hits})
    assert [(-hit.score, hit.id) for hit in fused] == sorted((-hit.score, hit.id) for hit in fused)


@given(LEGS, st.data())
def test_moving_up_in_one_leg_never_lowers_a_point(legs: Legs, data: st.DataObject) -> None:
    movable = [(leg, i) for leg, hits in legs.items() for i in range(1, len(hits))]
    if not movable:
        return
    leg, i = data.draw(st.sampled_from(movable))
    ids = [hit.id for hit in legs[leg]]
    ids[i - 1], ids[i] = ids[i], ids[i - 1]
    raised = ids[i - 1]

    def rank_of(these: Legs) -> int:
        return next(hit.rank for hit in reciprocal_rank_fusion(these) if hit.id == raised)

    assert rank_of({**legs, leg: ranked(*ids)}) <= rank_of(legs)


@given(IDS)
def test_one_leg_keeps_its_order(ids: list[str]) -> None:
    assert [hit.id for hit in reciprocal_rank_fusion({"dense": ranked(*ids)})] == ids
