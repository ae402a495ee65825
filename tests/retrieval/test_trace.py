from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_pipeline.retrieval.trace import Candidate, Trace, current_trace, step, tracing
from rag_pipeline.types import FusedHit, Hit, LegRank

DENSE = [Hit("a", 1, 0.9), Hit("b", 2, 0.5), Hit("c", 3, 0.1)]
SPARSE = [Hit("c", 1, 7.0), Hit("a", 3, 2.0)]
A, B, C = (
    FusedHit("a", 1, 0.5, {"dense": LegRank(1, 0.9, 0.3), "sparse": LegRank(3, 2.0, 0.2)}),
    FusedHit("c", 2, 0.4, {"sparse": LegRank(1, 7.0, 0.4)}),
    FusedHit("b", 3, 0.2, {"dense": LegRank(2, 0.5, 0.2)}),
)

NUMBERS = st.floats(allow_nan=False)


def searched() -> Trace:
    trace = Trace()
    trace.record_search({"dense": DENSE, "sparse": SPARSE}, [A, B, C], depth=2, exact=True, formula="a sum")
    return trace


class TestTime:
    def test_steps_are_timed_and_added_up_by_name(self) -> None:
        with tracing(Trace()) as trace:
            with step("encode"):
                pass
            before = trace.timings_ms["encode"]
            with step("encode"):
                pass
        assert list(trace.timings_ms) == ["encode"]
        assert trace.timings_ms["encode"] >= before >= 0

    def test_a_step_without_a_trace_costs_nothing_and_keeps_nothing(self) -> None:
        with step("encode"):
            assert current_trace() is None

    def test_a_failed_step_is_timed_and_the_trace_is_let_go(self) -> None:
        trace = Trace()
        with pytest.raises(KeyError), tracing(trace), step("search"):
            raise KeyError
        assert list(trace.timings_ms) == ["search"]
        assert current_trace() is None

    def test_threads_and_tasks_see_the_trace_of_their_own_query(self) -> None:
        def work(name: str) -> None:
            with step(name):
                pass

        async def query(name: str) -> list[str]:
            with tracing(Trace()) as trace:
                await asyncio.sleep(0)
                await asyncio.to_thread(work, name)
            return list(trace.timings_ms)

        async def both() -> list[list[str]]:
            return list(await asyncio.gather(query("one"), query("two")))

        assert asyncio.run(both()) == [["one"], ["two"]]


class TestCandidates:
    def test_a_leg_counts_what_it_found_within_its_depth(self) -> None:
        """Dense lists c at rank 3 of 2: it was found by another leg, and dense only gives its score."""
        trace = searched()
        assert (trace.legs, trace.leg_depth) == ({"dense": 2, "sparse": 1}, 2)

    def test_what_is_not_returned_says_why(self) -> None:
        trace = searched()
        trace.record_cut(["b"], "deleted since the search")
        trace.record_result(["c"], "beyond rank 1")
        assert [(one.id, one.final, one.cut) for one in trace.ranked()] == [
            ("c", 1, ""),
            ("a", None, "beyond rank 1"),
            ("b", None, "deleted since the search"),
        ]

    def test_the_last_stage_says_what_was_returned(self) -> None:
        trace = searched()
        trace.record_result(["a", "c", "b"], "beyond rank 3")
        trace.record_reranking("by the logit", {"b": (3.0, 0.9), "a": (1.0, 0.1)})
        trace.record_cut(["c"], "no text to rerank by")
        trace.record_result(["b"], "beyond rank 1")
        assert [(one.id, one.rank, one.reranked, one.logit, one.final, one.cut) for one in trace.ranked()] == [
            ("b", 3, 1, 3.0, 1, ""),
            ("a", 1, 2, 1.0, None, "beyond rank 1"),
            ("c", 2, None, None, None, "no text to rerank by"),
        ]

    def test_a_second_search_takes_the_place_of_the_first(self) -> None:
        trace = searched()
        trace.record_reranking("by the logit", {"b": (3.0, 0.9)})
        trace.record_search({"dense": DENSE[:1]}, [FusedHit("a", 1, 0.9, {})], depth=9, exact=False)
        assert (list(trace.candidates), trace.legs, trace.reranking) == (["a"], {"dense": 1}, "")
        assert (trace.formula, trace.weights, trace.exact) == (None, {}, False)

    def test_nodes_of_another_retriever_are_ranked_as_they_arrive(self) -> None:
        trace = Trace()
        trace.record_reranking("by the logit", {"x": (3.0, 0.9), "y": (1.0, 0.1)})
        assert [(one.id, one.rank, one.logit) for one in trace.ranked()] == [("x", 1, 3.0), ("y", 2, 1.0)]


class TestJson:
    def test_the_arithmetic_of_fusion_is_json(self) -> None:
        trace = searched()
        trace.add_time("search", 1.23456)
        trace.record_places({"a": "guide.pdf, page 3"})
        trace.record_result(["a"], "beyond rank 1")
        told = json.loads(json.dumps(trace.to_dict()))
        first = told.pop("fused")[0]
        assert first == {
            "id": "a", "rank": 1, "score": 0.5, "place": "guide.pdf, page 3",
            "legs": {
                "dense": {"rank": 1, "score": 0.9, "adds": 0.3},
                "sparse": {"rank": 3, "score": 2.0, "adds": 0.2},
            },
            "logit": None, "blended": None, "reranked": None, "final": 1, "cut": "",
        }  # fmt: skip
        assert first["score"] == sum(at["adds"] for at in first["legs"].values())
        assert told == {
            "query": "", "picture": False, "mode": "", "started": "", "timings_ms": {"search": 1.235},
            "legs": {"dense": 2, "sparse": 1}, "leg_depth": 2, "exact": True, "formula": "a sum", "weights": {},
            "reranking": "",
            "context": "",
        }  # fmt: skip

    @settings(deadline=None)
    @given(
        st.builds(
            Trace,
            query=st.text(),
            picture=st.booleans(),
            timings_ms=st.dictionaries(st.text(), st.integers(0, 10**6).map(float)),
            legs=st.dictionaries(st.text(), st.integers()),
            formula=st.none() | st.text(),
            weights=st.dictionaries(st.text(), NUMBERS),
            candidates=st.lists(
                st.builds(
                    Candidate,
                    legs=st.dictionaries(st.text(), st.builds(LegRank, st.integers(), NUMBERS, NUMBERS)),
                    score=NUMBERS,
                    logit=st.none() | NUMBERS,
                    final=st.none() | st.integers(1),
                ),
                unique_by=lambda one: one.id,
            ).map(lambda rows: {row.id: row for row in rows}),
        )
    )
    def test_a_trace_comes_back_from_its_json(self, trace: Trace) -> None:
        assert Trace.from_dict(json.loads(json.dumps(trace.to_dict()))) == trace

    @pytest.mark.parametrize("values", [{}, {"fused": [{"id": "a"}]}, {"fused": [], "colour": "red"}])
    def test_what_is_no_trace_is_refused(self, values: dict[str, object]) -> None:
        with pytest.raises((KeyError, TypeError)):
            Trace.from_dict(values)
