from __future__ import annotations

import pytest
from llama_index.core.schema import NodeWithScore, TextNode

from rag_pipeline.evidence import Evidence
from rag_pipeline.retrieval.evidence import evidence_of, legs_metadata
from rag_pipeline.types import LegRank


def test_a_node_of_another_store_is_evidence_without_a_place() -> None:
    evidence = evidence_of(NodeWithScore(node=TextNode(id_="n", text="Two years.")), rank=4)
    assert evidence == Evidence(
        id="n", rank=4, score=0.0, path="", text="Two years.", page=None, heading=(), boxes=(), legs={}
    )


def test_legs_survive_the_way_through_metadata() -> None:
    legs = {"dense": LegRank(2, 0.7), "sparse": LegRank(1, 9.5)}
    node = TextNode(text="Two years.", metadata={"legs": legs_metadata(legs)})
    assert evidence_of(NodeWithScore(node=node, score=0.03), rank=1).legs == legs


@pytest.mark.parametrize(("metadata", "logit"), [({}, None), ({"logit": -2.5}, -2.5)])
def test_a_rerankers_logit_is_kept(metadata: dict[str, float], logit: float | None) -> None:
    node = NodeWithScore(node=TextNode(text="Two years.", metadata=metadata), score=-3.5)
    assert evidence_of(node, rank=1).logit == logit
