from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_pipeline.retrieval.fusion import (
    convex_fusion,
    distribution_based_fusion,
    reciprocal_rank_fusion,
    relative_score_fusion,
    with_pictures,
)
from rag_pipeline.types import FusedHit, Hit, LegRank

Legs = Mapping[str, list[Hit]]
Fuse = Callable[..., list[FusedHit]]

EVERY = pytest.mark.parametrize(
    "fuse", [reciprocal_rank_fusion, convex_fusion, relative_score_fusion, distribution_based_fusion]
)
BY_SCORE = pytest.mark.parametrize("fuse", [convex_fusion, relative_score_fusion, distribution_based_fusion])


def ranked(*ids: str) -> list[Hit]:
    return [Hit(id_, rank, 1.0 / rank) for rank, id_ in enumerate(ids, start=1)]


def scored(**scores: float) -> list[Hit]:
    order = sorted(scores, key=lambda id_: (-scores[id_], id_))
    return [Hit(id_, rank, scores[id_]) for rank, id_ in enumerate(order, start=1)]


def scores_of(fused: list[FusedHit]) -> dict[str, float]:
    return {hit.id: hit.score for hit in fused}


class TestReciprocalRank:
    def test_the_formula_by_hand(self) -> None:
        fused = reciprocal_rank_fusion({"dense": ranked("a", "b"), "sparse": ranked("b", "c")})
        assert [(hit.id, hit.rank) for hit in fused] == [("b", 1), ("a", 2), ("c", 3)]
        assert scores_of(fused) == pytest.approx({"b": 1 / 62 + 1 / 61, "a": 1 / 61, "c": 1 / 62})

    def test_each_legs_rank_score_and_part_are_kept(self) -> None:
        first = reciprocal_rank_fusion({"dense": ranked("a", "b"), "sparse": ranked("b")})[0]
        assert dict(first.legs) == {"dense": LegRank(2, 0.5, 1 / 62), "sparse": LegRank(1, 1.0, 1 / 61)}

    def test_weights(self) -> None:
        fused = reciprocal_rank_fusion({"dense": ranked("a"), "sparse": ranked("b")}, weights={"sparse": 3.0})
        assert [(hit.id, hit.score) for hit in fused] == [("b", 3 / 61), ("a", 0.0)], "who is not named counts 0"

    def test_k_decides_between_one_first_rank_and_two_middling_ones(self) -> None:
        # k = 60: 1/61 < 2/63. k = 0.5: 1/1.5 = .667 > 2/3.5 = .571.
        legs = {"dense": ranked("a", "x", "b"), "sparse": ranked("y", "z", "b")}
        assert reciprocal_rank_fusion(legs)[0].id == "b"
        assert reciprocal_rank_fusion(legs, k=0.5)[0].id == "a"

    def test_what_lies_beyond_the_depth_was_not_found(self) -> None:
        fused = reciprocal_rank_fusion({"dense": ranked("a", "b"), "sparse": ranked("b", "a")}, depth=1)
        assert scores_of(fused) == pytest.approx({"a": 1 / 61, "b": 1 / 61})
        assert fused[0].legs["sparse"] == LegRank(2, 0.5, 0.0)

    def test_k_must_be_positive(self) -> None:
        with pytest.raises(ValueError, match="k must be positive"):
            reciprocal_rank_fusion({"dense": ranked("a")}, k=0)


class TestByScore:
    """Dense .9, .7, .5 for a, b, c; sparse 6 and 3 for b and c, and 0 for a, which shares no term."""

    LEGS: Mapping[str, list[Hit]] = {"dense": scored(a=0.9, b=0.7, c=0.5), "sparse": scored(b=6.0, c=3.0)}

    def test_convex_by_hand(self) -> None:
        # Dense: mean .7, sd sqrt(.08 / 3) = .1633, so z = 1.2247, 0, -1.2247. Sparse: sd of 0, 6, 3 is sqrt(6).
        fused = convex_fusion(self.LEGS)
        half = 0.5 * math.sqrt(1.5)
        assert scores_of(fused) == pytest.approx({"b": 3 / math.sqrt(6), "a": half, "c": 0.0})
        assert [hit.id for hit in fused] == ["b", "a", "c"]
        assert fused[1].legs["dense"].adds == pytest.approx(half)
        assert set(fused[1].legs) == {"dense"}

    def test_convex_weights(self) -> None:
        # .8 * 1.2247 = .980 for a; .2 * 2.4495 = .490 for b.
        fused = convex_fusion(self.LEGS, weights={"dense": 0.8, "sparse": 0.2})
        assert [(hit.id, round(hit.score, 3)) for hit in fused] == [("a", 0.98), ("b", 0.49), ("c", -0.735)]

    def test_relative_by_hand(self) -> None:
        assert scores_of(relative_score_fusion(self.LEGS)) == pytest.approx({"a": 0.5, "b": 0.75, "c": 0.25})

    def test_distribution_based_by_hand(self) -> None:
        # Dense: mean .7, sample sd .2, from .1 to 1.3. Sparse: sample sd 3, 18 wide, counted from 0.
        assert scores_of(distribution_based_fusion(self.LEGS)) == pytest.approx(
            {"a": 0.5 * 0.8 / 1.2, "b": 0.5 * (0.6 / 1.2 + 6 / 18), "c": 0.5 * (0.4 / 1.2 + 3 / 18)}
        )

    @BY_SCORE
    def test_a_leg_of_equals_says_nothing(self, fuse: Fuse) -> None:
        legs = {"dense": scored(a=0.3, b=0.2), "sparse": scored(a=2.0, b=2.0)}
        fused = fuse(legs)
        assert [hit.id for hit in fused] == ["a", "b"]
        assert [hit.legs["sparse"].adds for hit in fused] == [0.0, 0.0]

    @BY_SCORE
    def test_what_only_other_searches_found_is_scored_and_moves_nobody(self, fuse: Fuse) -> None:
        before = fuse(self.LEGS, depth=3)
        deeper = {"dense": [*self.LEGS["dense"], Hit("d", 4, 0.1)], "sparse": [*self.LEGS["sparse"], Hit("e", 4, 0.5)]}
        after = fuse(deeper, depth=3)
        assert {hit.id: hit.score for hit in after if hit.id in "abc"} == scores_of(before)
        assert {hit.id for hit in after} == set("abcde")

    def test_the_mean_is_what_a_missing_dense_vector_gets(self) -> None:
        # d has no dense vector; the dense leg's mean and deviation are those of a, b and c.
        legs = {"dense": self.LEGS["dense"], "sparse": scored(b=6.0, d=6.0)}
        fused = {hit.id: hit for hit in convex_fusion(legs)}
        assert fused["a"].score == pytest.approx(0.5 * math.sqrt(1.5))
        assert fused["b"].score == pytest.approx(fused["d"].score), "b is at the mean of the dense leg"


class TestPictures:
    """Of five pictures one stands out: scores .9 and four times .1 give z = 2 and -.5; sqrt(2 ln 5) = 1.794."""

    PICTURES = scored(p=0.9, q=0.1, r=0.1, s=0.1, t=0.1)
    LEAST = math.sqrt(2 * math.log(5))

    def test_one_that_stands_out_comes_among_the_texts(self) -> None:
        text = convex_fusion({"dense": scored(x=9.0, y=1.0, z=1.0, v=1.0, w=1.0, u=1.0, a=1.0)})
        fused = with_pictures(text, self.PICTURES)
        # x stands sqrt(6) = 2.45 above the mean of the texts, p 2 above that of the pictures.
        assert [(hit.id, round(hit.score, 3)) for hit in fused[:3]] == [("x", 2.449), ("p", 2.0), ("a", -0.408)]
        assert [hit.id for hit in fused[-4:]] == ["q", "r", "s", "t"], "the others come behind every text"
        assert fused[-1].score == pytest.approx(-0.408 - 0.5 - self.LEAST, abs=1e-3)

    def test_one_with_a_caption_keeps_what_its_text_has(self) -> None:
        text = convex_fusion({"dense": scored(p=0.9, q=0.7, x=0.5)})
        fused = {hit.id: hit for hit in with_pictures(text, self.PICTURES)}
        assert fused["p"].score == pytest.approx(math.sqrt(1.5) + 2 - self.LEAST)
        assert fused["p"].legs["image"] == LegRank(1, 0.9, pytest.approx(2 - self.LEAST))  # type: ignore[arg-type]
        assert fused["q"].score == pytest.approx(0.0, abs=1e-9)
        assert fused["q"].legs["image"].adds == 0.0

    def test_a_weak_image_leg_costs_nothing(self) -> None:
        text = convex_fusion({"dense": scored(x=0.9, y=0.7), "sparse": scored(y=2.0)})
        # The best of six evenly spread pictures is 1.46 above their mean, and sqrt(2 ln 6) = 1.89.
        fused = with_pictures(text, scored(p=0.30, q=0.29, r=0.28, s=0.27, t=0.26, u=0.25))
        assert fused[:2] == text
        assert [hit.id for hit in fused[2:]] == ["p", "q", "r", "s", "t", "u"]

    def test_two_pictures_alone_are_ranked_by_likeness(self) -> None:
        assert [hit.id for hit in with_pictures([], scored(p=0.1, q=0.9))] == ["q", "p"]
        assert with_pictures([], []) == []

    def test_what_lies_beyond_the_depth_does_not_count_in_the_mean(self) -> None:
        more = [*self.PICTURES, Hit("far", 6, -9.0)]
        assert scores_of(with_pictures([], more, depth=5))["p"] == pytest.approx(2.0)


@EVERY
class TestAll:
    def test_ties_are_broken_by_id(self, fuse: Fuse) -> None:
        fused = fuse({"dense": ranked("b", "a"), "late": ranked("a", "b")})
        assert [hit.id for hit in fused] == ["a", "b"]
        assert fused[0].score == fused[1].score

    def test_nothing_found_fuses_to_nothing(self, fuse: Fuse) -> None:
        assert fuse({}) == []
        assert fuse({"dense": [], "sparse": []}) == []

    def test_a_point_twice_in_a_leg_is_refused(self, fuse: Fuse) -> None:
        with pytest.raises(ValueError, match="twice"):
            fuse({"dense": [Hit("a", 1, 1.0), Hit("a", 2, 0.5)]})

    def test_a_negative_weight_is_refused(self, fuse: Fuse) -> None:
        with pytest.raises(ValueError, match="weights must be 0 or more"):
            fuse({"dense": ranked("a")}, weights={"dense": -1.0})


SCORES = st.integers(-100, 100).map(lambda number: number / 64)
"""In steps that floats hold exactly, so that equal scores are equal."""


def leg(scores: Mapping[str, float]) -> list[Hit]:
    return scored(**scores)


LEGS = st.dictionaries(
    st.sampled_from(["dense", "sparse", "late"]), st.dictionaries(st.sampled_from("abcdefghij"), SCORES), max_size=3
).map(lambda legs: {name: leg(scores) for name, scores in legs.items()})


@EVERY
@settings(deadline=None)
@given(legs=LEGS, random=st.randoms(use_true_random=False))
def test_order_of_legs_and_of_hits_does_not_matter(fuse: Fuse, legs: Legs, random: object) -> None:
    names = list(legs)
    random.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: random.sample(legs[name], len(legs[name])) for name in names}  # type: ignore[attr-defined]
    assert fuse(shuffled) == fuse(legs)


@EVERY
@settings(deadline=None)
@given(legs=LEGS)
def test_every_point_comes_once_in_a_total_order_and_its_parts_add_up(fuse: Fuse, legs: Legs) -> None:
    fused = fuse(legs)
    assert sorted(hit.id for hit in fused) == sorted({hit.id for hits in legs.values() for hit in hits})
    assert [(-hit.score, hit.id) for hit in fused] == sorted((-hit.score, hit.id) for hit in fused)
    assert [hit.rank for hit in fused] == list(range(1, len(fused) + 1))
    for hit in fused:
        assert hit.score == pytest.approx(sum(place.adds for place in hit.legs.values()))
        assert math.isfinite(hit.score)


@EVERY
@settings(deadline=None)
@given(scores=st.dictionaries(st.sampled_from("abcdefghij"), SCORES))
def test_one_leg_keeps_its_order(fuse: Fuse, scores: Mapping[str, float]) -> None:
    legs = {"dense": leg(scores)}
    assert [hit.id for hit in fuse(legs)] == [hit.id for hit in legs["dense"]]


@settings(deadline=None)
@given(LEGS, st.data())
def test_moving_up_in_one_leg_never_lowers_a_point(legs: Legs, data: st.DataObject) -> None:
    movable = [(name, i) for name, hits in legs.items() for i in range(1, len(hits))]
    if not movable:
        return
    name, i = data.draw(st.sampled_from(movable))
    ids = [hit.id for hit in legs[name]]
    ids[i - 1], ids[i] = ids[i], ids[i - 1]
    raised = ids[i - 1]

    def rank_of(these: Legs) -> int:
        return next(hit.rank for hit in reciprocal_rank_fusion(these) if hit.id == raised)

    assert rank_of({**legs, name: ranked(*ids)}) <= rank_of({**legs, name: ranked(*[hit.id for hit in legs[name]])})


@BY_SCORE
@settings(deadline=None)
@given(legs=LEGS, factor=st.sampled_from([0.25, 2.0, 8.0]), offset=st.sampled_from([-4.0, 0.0, 3.0]))
def test_the_unit_and_origin_of_a_dense_leg_do_not_matter(fuse: Fuse, legs: Legs, factor: float, offset: float) -> None:
    moved = {**legs, "dense": [Hit(hit.id, hit.rank, hit.score * factor + offset) for hit in legs.get("dense", [])]}
    assert scores_of(fuse(moved)) == pytest.approx(scores_of(fuse({"dense": [], **legs})))


@settings(deadline=None)
@given(LEGS, st.dictionaries(st.sampled_from(["a", "b", "p", "q", "r", "s", "t", "u"]), SCORES))
def test_pictures_take_nothing_from_what_has_none(legs: Legs, likeness: Mapping[str, float]) -> None:
    text = convex_fusion(legs)
    fused = with_pictures(text, leg(likeness))
    without = [hit for hit in text if hit.id not in likeness]
    assert [(hit.id, hit.score) for hit in fused if hit.id not in likeness] == [(hit.id, hit.score) for hit in without]
    assert all(scores_of(fused)[hit.id] >= hit.score for hit in text), "and a picture loses nothing of its text's score"
    for hit in fused:
        assert hit.score == pytest.approx(sum(place.adds for place in hit.legs.values()))
