from __future__ import annotations

import asyncio
import json

import pytest

from rag_pipeline.retrieval.trace import Trace, current_trace, step, tracing
from rag_pipeline.types import FusedHit, Hit, LegRank


def test_steps_are_timed_and_added_up_by_name() -> None:
    with tracing(Trace()) as trace:
        with step("encode"):
            pass
        before = trace.timings_ms["encode"]
        with step("encode"):
            pass
    assert list(trace.timings_ms) == ["encode"]
    assert trace.timings_ms["encode"] >= before >= 0


def test_a_step_without_a_trace_costs_nothing_and_keeps_nothing() -> None:
    with step("encode"):
        assert current_trace() is None


def test_a_failed_step_is_timed_and_the_trace_is_let_go() -> None:
    trace = Trace()
    with pytest.raises(KeyError), tracing(trace), step("search"):
        raise KeyError
    assert list(trace.timings_ms) == ["search"]
    assert current_trace() is None


def test_threads_and_tasks_see_the_trace_of_their_own_query() -> None:
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


def test_the_arithmetic_of_fusion_is_json() -> None:
    trace = Trace(timings_ms={"search": 1.23456})
    fused = [FusedHit("a", 1, 1 / 61 + 1 / 63, {"dense": LegRank(1, 0.9), "sparse": LegRank(3, 7.0)})]
    trace.record_search({"dense": [Hit("a", 1, 0.9)], "sparse": []}, fused, rrf_k=60.0, exact=True)
    assert json.loads(json.dumps(trace.to_dict())) == {
        "timings_ms": {"search": 1.235},
        "legs": {"dense": 1, "sparse": 0},
        "exact": True,
        "formula": "score = sum over legs of 1 / (60 + rank)",
        "fused": [
            {
                "id": "a",
                "rank": 1,
                "score": 1 / 61 + 1 / 63,
                "legs": {
                    "dense": {"rank": 1, "score": 0.9, "adds": 1 / 61},
                    "sparse": {"rank": 3, "score": 7.0, "adds": 1 / 63},
                },
            }
        ],
    }


def test_a_single_leg_has_no_formula() -> None:
    trace = Trace()
    hit = FusedHit("a", 1, 0.9, {"dense": LegRank(1, 0.9)})
    trace.record_search({"dense": [Hit("a", 1, 0.9)]}, [hit], rrf_k=None, exact=False)
    told = trace.to_dict()
    assert told["formula"] is None
    assert told["fused"] == [{"id": "a", "rank": 1, "score": 0.9, "legs": {"dense": {"rank": 1, "score": 0.9}}}]
