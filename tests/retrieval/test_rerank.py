"""The postprocessor reorders by logit, with a reranker whose logits are written out by hand."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode

from rag_pipeline.errors import ConfigError, MismatchError
from rag_pipeline.retrieval.rerank import BgeReranker
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


def test_a_blend_weighs_the_logit_against_the_score_before() -> None:
    """Scores 1/61, 1/62, 1/63 scale to 1, .492, 0 and logits 0, 4, 8 to 0, .5, 1."""
    model = TableReranker(a=0, b=4, c=8)
    mostly_before = BgeReranker(reranker=model, blend=0.25).postprocess_nodes(found("a", "b", "c"), query_str="q")
    assert ids(mostly_before) == ["a", "b", "c"]
    assert [node.get_score() for node in mostly_before] == pytest.approx([0.75, 0.494, 0.25], abs=1e-3)
    assert [node.node.metadata["logit"] for node in mostly_before] == [0, 4, 8]
    assert ids(BgeReranker(reranker=model, blend=0.75).postprocess_nodes(found("a", "b", "c"), query_str="q")) == [
        "c", "b", "a",
    ]  # fmt: skip


def test_a_blend_reads_the_scores_of_the_legs() -> None:
    """Dense .9 .5 .7 scale to 1 0 .5, sparse 8 4 and absent to 1 0 0: means 1, 0, .25; the logits are all equal."""
    nodes = found("a", "b", "c")
    for node, dense, sparse in zip(nodes, (0.9, 0.5, 0.7), (8.0, 4.0, None), strict=True):
        node.node.metadata["legs"] = {"dense": {"rank": 1, "score": dense}}
        if sparse is not None:
            node.node.metadata["legs"]["sparse"] = {"rank": 1, "score": sparse}
        node.node.excluded_embed_metadata_keys.append("legs")
    blended = BgeReranker(reranker=TableReranker(a=1, b=1, c=1), blend=0.2).postprocess_nodes(nodes, query_str="q")
    assert ids(blended) == ["a", "c", "b"]
    assert [node.get_score() for node in blended] == pytest.approx([0.8, 0.2, 0.0], abs=1e-6)


def test_a_blend_of_equals_keeps_the_order_of_ids() -> None:
    nodes = BgeReranker(reranker=TableReranker(a=1, b=1), blend=0.5).postprocess_nodes(
        [NodeWithScore(node=TextNode(id_=name, text=name), score=1.0) for name in ("b", "a")], query_str="q"
    )
    assert ids(nodes) == ["a", "b"]


def test_only_the_first_are_read_and_the_best_returned() -> None:
    model = TableReranker(a=0, b=1, c=2, d=9)
    nodes = BgeReranker(reranker=model, depth=3, top_n=2).postprocess_nodes(found("a", "b", "c", "d"), query_str="q")
    assert ids(nodes) == ["c", "b"], "d has a fused score only, and cannot stand in a list of logits"
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


def test_a_node_without_text_is_left_out() -> None:
    nodes = [NodeWithScore(node=ImageNode(id_="p", image_path="p.png"), score=0.9), *found("a")]
    assert ids(BgeReranker(reranker=TableReranker(a=-3)).postprocess_nodes(nodes, query_str="q")) == ["a"]


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
