from __future__ import annotations

from rag_pipeline.retrieval.trace import Trace
from rag_pipeline.retrieval.trace_view import facts, summary, table
from rag_pipeline.types import FusedHit, Hit, LegRank


def traced() -> Trace:
    """Dense finds a and more, sparse finds b; c was found too, and deleted."""
    trace = Trace(query="<b>buoy</b>", mode="hybrid", started="2026-11-21T12:00:00.000+00:00")
    trace.record_search(
        {"dense": [Hit("a", 1, 0.9), Hit("b", 2, 0.1)], "sparse": [Hit("b", 1, 7.0)]},
        [
            FusedHit("a", 1, 0.3, {"dense": LegRank(1, 0.9, 0.3)}),
            FusedHit("b", 2, 0.2, {"dense": LegRank(2, 0.1, -0.1), "sparse": LegRank(1, 7.0, 0.3)}),
            FusedHit("c", 3, 0.1, {"sparse": LegRank(2, 1.0, 0.1)}),
        ],
        depth=1,
        exact=True,
        formula="a sum",
        weights={"dense": 0.25, "sparse": 0.75},
    )  # fmt: skip
    trace.record_places({"a": "/docs/a.md", "b": "/docs/<i>b.pdf, page 2"})
    trace.record_cut(["c"], "deleted since the search")
    trace.record_result(["b", "a"], "beyond rank 2")
    trace.add_time("encode", 12.34)
    return trace


def test_facts_say_what_holds_for_the_query() -> None:
    assert facts(traced()) == {
        "query": "<b>buoy</b>",
        "asked": "2026-11-21T12:00:00.000+00:00, hybrid, exact search",
        "legs": "dense 1 and more below, sparse 1 and more below",
        "fusion": "a sum",
        "weights": "dense 0.25, sparse 0.75",
        "cut": "1 deleted since the search",
        "time": "encode 12.3 ms",
    }
    assert facts(Trace()) == {}


def test_a_picture_is_part_of_the_question() -> None:
    assert facts(Trace(query="buoy", picture=True))["query"] == "buoy [and a picture]"


def test_a_row_shows_each_legs_share() -> None:
    assert table(traced()) == [
        {"": "1", "place": "<i>b.pdf, page 2", "dense": "(2.) 0.1000 -0.1000", "sparse": "1. 7.0000 +0.3000",
         "fused": "2. 0.2000", "cut": ""},
        {"": "2", "place": "a.md", "dense": "1. 0.9000 +0.3000", "sparse": "", "fused": "1. 0.3000", "cut": ""},
        {"": "", "place": "c", "dense": "", "sparse": "(2.) 1.0000 +0.1000", "fused": "3. 0.1000",
         "cut": "deleted since the search"},
    ]  # fmt: skip


def test_reranking_shows_the_rank_after_it() -> None:
    trace = traced()
    trace.record_reranking("by the logit", {"a": (2.5, 0.9)})
    rows = table(trace, most_cut=0)
    assert [(row["logit"], row["reranked"]) for row in rows] == [("", ""), ("2.50", "1. 0.9000")]


def test_a_single_leg_is_not_fused() -> None:
    trace = Trace()
    trace.record_search({"dense": [Hit("a", 1, 0.9)]}, [FusedHit("a", 1, 0.9, {"dense": LegRank(1, 0.9)})],
                        depth=9, exact=False)  # fmt: skip
    assert table(trace) == [{"": "", "place": "a", "dense": "1. 0.9000", "cut": ""}]
    assert facts(trace)["asked"] == "approximate search (HNSW)"


def test_a_query_is_one_row_among_others() -> None:
    assert summary(traced()) == {
        "asked": "2026-11-21T12:00:00", "ms": "12", "mode": "hybrid", "hits": "2",
        "query": "<b>buoy</b>", "first": "<i>b.pdf, page 2",
    }  # fmt: skip


def test_a_notebook_shows_it_escaped() -> None:
    shown = traced()._repr_html_()
    assert "&lt;b&gt;buoy&lt;/b&gt;" in shown
    assert "<b>buoy" not in shown
    assert "<i>" not in shown
    assert shown.count("<tr>") == 4, "a head and three candidates"
    assert "<tr>" not in Trace()._repr_html_(), "an empty trace can be shown, too"
