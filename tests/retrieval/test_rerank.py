"""The postprocessor reorders by logit, with a reranker whose logits are written out by hand."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode

from rag_pipeline.errors import ConfigError, MismatchError
from rag_pipeline.retrieval.rerank import BgeReranker, blended
from rag_pipeline.retrieval.trace import Trace, tracing


class TableReranker:
    """A Reranker that looks the logit of a passage up by its last word."""

    fingerprint = "table"

    def __init__(self, **logits: float) -> None:
        self.logits = logits
        self.read: list[str] = []

    def score(self, query: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        self.read += passages
        return np.array([self.logits[passage.split()[-1]] for passage in passages], dtype=np.float32)


def found(*names: str) -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(id_=name, text=f"text {name}"), score=1 / (61 + i)) for i, name in enumerate(names)
    ]


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [node.node.node_id for node in nodes]


def test_nodes_come_back_by_logit_then_id() -> None:
    reranker = BgeReranker(reranker=TableReranker(a=0.5, b=-1, c=2, d=0.5), depth=4, top_n=4)
    nodes = reranker.postprocess_nodes(found("d", "b", "a", "c"), query_str="q")
    assert ids(nodes) == ["c", "a", "d", "b"]
    assert [node.score for node in nodes] == [2.0, 0.5, 0.5, -1.0]


def test_a_lift_by_hand() -> None:
    """Logits 0, 4, 8 scale to 0, .5, 1; a blend of .25 is 1/3, and the scores range over 2."""
    lifted = blended(np.array([3.0, 2.0, 1.0]), np.array([0.0, 4.0, 8.0]), 0.25)
    assert lifted.tolist() == pytest.approx([3.0, 2.0 + 1 / 3, 1.0 + 2 / 3])
    assert blended(np.array([3.0, 2.0]), np.array([-1.0, 5.0]), 1.0).tolist() == [-1.0, 5.0]


def test_equal_scores_leave_it_to_the_logits_and_equal_logits_to_the_scores() -> None:
    assert blended(np.array([2.0, 2.0]), np.array([0.0, 2.0]), 0.5).tolist() == [2.0, 3.0]
    assert blended(np.array([2.0, 1.0]), np.array([7.0, 7.0]), 0.5).tolist() == [2.0, 1.0]


def test_what_was_not_read_gets_the_mean_lift() -> None:
    """Logits 0 and 2, and 1 for the one in between."""
    lifted = blended(np.array([2.0, 2.0, 2.0]), np.array([0.0, np.nan, 2.0]), 0.5)
    assert lifted.tolist() == pytest.approx([2.0, 2.5, 3.0])
    scores = np.array([3.0, 2.0])
    assert blended(scores, np.array([np.nan, np.nan]), 0.5).tolist() == [3.0, 2.0]


NUMBERS = st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=8)


@settings(deadline=None)
@given(NUMBERS, st.data(), st.floats(0, 0.9))
def test_nobody_sinks_and_a_better_logit_never_lifts_less(
    scores: list[float], data: st.DataObject, blend: float
) -> None:
    logits = data.draw(st.lists(st.integers(-9, 9).map(float), min_size=len(scores), max_size=len(scores)))
    lift = blended(np.array(scores), np.array(logits), blend) - np.array(scores)
    assert (lift >= 0).all()
    order = np.argsort(logits)
    assert (np.diff(lift[order]) >= -1e-9).all()


def test_a_blend_weighs_the_logit_against_the_score_before() -> None:
    model = TableReranker(a=-8, b=0, c=8)
    mostly_before = BgeReranker(reranker=model, blend=0.25).postprocess_nodes(found("a", "b", "c"), query_str="q")
    assert ids(mostly_before) == ["a", "b", "c"]
    assert [node.node.metadata["logit"] for node in mostly_before] == [-8, 0, 8]
    mostly_logit = BgeReranker(reranker=model, blend=0.75).postprocess_nodes(found("a", "b", "c"), query_str="q")
    assert ids(mostly_logit) == ["c", "b", "a"]


def test_what_lies_beyond_the_depth_follows_with_the_score_it_had() -> None:
    nodes = BgeReranker(reranker=TableReranker(a=-9, b=9), depth=2, blend=0.6).postprocess_nodes(
        found("a", "b", "c", "d"), query_str="q"
    )
    assert ids(nodes) == ["b", "a", "c", "d"]
    assert [node.score for node in nodes[2:]] == [1 / 63, 1 / 64]
    assert nodes[1].get_score() > nodes[2].get_score()
    assert [("logit" in node.node.metadata) for node in nodes] == [True, True, False, False]


def test_with_the_logit_alone_what_was_not_read_is_left_out() -> None:
    nodes = BgeReranker(reranker=TableReranker(a=0, b=9), depth=2).postprocess_nodes(
        found("a", "b", "c"), query_str="q"
    )
    assert ids(nodes) == ["b", "a"], "c has a fused score only, and cannot stand in a list of logits"


def test_a_blend_of_equals_keeps_the_order_of_ids() -> None:
    nodes = BgeReranker(reranker=TableReranker(a=1, b=1), blend=0.5).postprocess_nodes(
        [NodeWithScore(node=TextNode(id_=name, text=name), score=1.0) for name in ("b", "a")], query_str="q"
    )
    assert ids(nodes) == ["a", "b"]


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ({"languages": ("en",), "documents": ("de",)}, "off: table was not trained on de"),
        ({"depth": 0}, "off: it does not pay, as rag tune found"),
    ],
)
def test_where_it_would_cost_nothing_is_read_and_the_trace_says_why(given_: dict[str, Any], why: str) -> None:
    model, trace, nodes = TableReranker(a=0, b=9), Trace(), found("a", "b")
    with tracing(trace):
        reranked = BgeReranker(reranker=model, blend=0.5, **given_).postprocess_nodes(nodes, query_str="Garantie")
    assert reranked == nodes
    assert model.read == []
    assert trace.reranking.startswith(why)


@pytest.mark.parametrize("languages", [None, ("de",), ("de", "en")])
def test_in_a_language_that_it_knows_or_may_know_it_reads(languages: tuple[str, ...] | None) -> None:
    reranker = BgeReranker(reranker=TableReranker(a=0, b=9), blend=0.9, languages=languages, documents=("de",))
    assert ids(reranker.postprocess_nodes(found("a", "b"), query_str="Garantie")) == ["b", "a"]


def test_only_the_first_are_read_and_the_best_returned() -> None:
    model = TableReranker(a=0, b=1, c=2, d=9)
    nodes = BgeReranker(reranker=model, depth=3, top_n=2).postprocess_nodes(found("a", "b", "c", "d"), query_str="q")
    assert ids(nodes) == ["c", "b"]
    assert model.read == ["text a", "text b", "text c"]


def test_the_model_reads_what_was_embedded() -> None:
    model = TableReranker(years=1)
    node = TextNode(
        text="Two years",
        metadata={"heading_path": "Warranty > Pump", "page": 3},
        metadata_template="{value}",
        text_template="{metadata_str}\n{content}",
        excluded_embed_metadata_keys=["page"],
    )
    BgeReranker(reranker=model).postprocess_nodes([NodeWithScore(node=node, score=1)], query_str="q")
    assert model.read == ["Warranty > Pump\nTwo years"]


def test_a_node_without_text_is_not_read_and_keeps_its_place() -> None:
    """The picture gets the mean of the two lifts: it stays between the passage that rises and the one that does not."""
    picture = NodeWithScore(node=ImageNode(id_="p", image_path="p.png"), score=2.0)
    text = [NodeWithScore(node=TextNode(id_=name, text=name), score=2.0) for name in ("a", "b")]
    model = TableReranker(a=-3, b=1)
    nodes = BgeReranker(reranker=model, blend=0.5).postprocess_nodes([picture, *text], query_str="q")
    assert ids(nodes) == ["b", "p", "a"]
    assert model.read == ["a", "b"]
    assert "logit" not in nodes[1].node.metadata
    alone = BgeReranker(reranker=model, blend=0.5).postprocess_nodes([picture], query_str="q")
    assert [node.score for node in alone] == [2.0]


def test_the_nodes_passed_in_stay_as_they_were() -> None:
    nodes = found("a", "b")
    reranked = BgeReranker(reranker=TableReranker(a=0, b=1)).postprocess_nodes(nodes, query_str="q")
    assert ids(nodes) == ["a", "b"]
    assert [node.score for node in nodes] == [1 / 61, 1 / 62]
    assert nodes[0].node.metadata == {}
    assert reranked[0].node.metadata == {"logit": 1.0}
    assert reranked[0].node.get_content("embed") == "text b"
    assert reranked[0].node.get_content("llm") == "text b"


def test_no_nodes_and_no_question() -> None:
    reranker = BgeReranker(reranker=TableReranker())
    assert reranker.postprocess_nodes([], query_str="q") == []
    with pytest.raises(ConfigError, match="pass query_bundle= or query_str="):
        reranker.postprocess_nodes(found("a"))


async def _reranked(reranker: BgeReranker) -> list[NodeWithScore]:
    return await reranker.apostprocess_nodes(found("a", "b"), query_str="q")


def test_the_async_way_gives_the_same() -> None:
    import asyncio

    assert ids(asyncio.run(_reranked(BgeReranker(reranker=TableReranker(a=0, b=1))))) == ["b", "a"]


def test_events_and_trace_tell_of_it() -> None:
    class Keeper(BaseEventHandler):
        kept: list[BaseEvent] = []  # noqa: RUF012 - a pydantic field, copied for each instance

        def handle(self, event: BaseEvent, **kwargs: Any) -> None:
            self.kept.append(event)

    keeper, trace = Keeper(), Trace()
    root = get_dispatcher()
    root.add_event_handler(keeper)
    try:
        with tracing(trace):
            BgeReranker(reranker=TableReranker(a=0, b=1), top_n=1).postprocess_nodes(found("a", "b"), query_str="q")
    finally:
        root.event_handlers.remove(keeper)
    start, end = [event for event in keeper.kept if isinstance(event, ReRankStartEvent | ReRankEndEvent)]
    assert isinstance(start, ReRankStartEvent)
    assert (start.model_name, start.top_n, len(start.nodes)) == ("table", 1, 2)
    assert isinstance(end, ReRankEndEvent)
    assert ids(end.nodes) == ["b"]
    assert list(trace.timings_ms) == ["rerank"]


def test_it_is_saved_without_the_model_and_comes_back_with_it() -> None:
    model = TableReranker(a=0)
    saved = json.loads(json.dumps(BgeReranker(reranker=model, depth=7, top_n=3).to_dict()))
    assert saved["class_name"] == "BgeReranker"
    again = BgeReranker.from_dict(saved, reranker=model)
    assert (again.depth, again.top_n, again.reranker) == (7, 3, model)
    with pytest.raises(ConfigError, match="names 'table'; pass reranker="):
        BgeReranker.from_dict(saved)
    model.fingerprint = "other"
    with pytest.raises(MismatchError, match="saved with reranker 'table', got 'other'"):
        BgeReranker.from_dict(saved, reranker=model)
