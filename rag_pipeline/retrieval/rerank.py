"""Retrieved nodes -> the same nodes in the order of a cross-encoder, as a LlamaIndex postprocessor.

Enters: scored nodes, best first, and the question. Leaves: the best of them, each with its raw logit. This module
knows nothing of how the nodes were found, nor of the model behind :class:`~rag_pipeline.protocols.Reranker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_index.core.bridge.pydantic import Field
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index_instrumentation import get_dispatcher

from rag_pipeline.errors import ConfigError, MismatchError
from rag_pipeline.protocols import Reranker
from rag_pipeline.retrieval.trace import step

__all__ = ["BgeReranker"]

dispatcher = get_dispatcher(__name__)


class BgeReranker(BaseNodePostprocessor):
    """Reorder the first ``depth`` nodes by a cross-encoder, best first, ties by node id; return ``top_n``.

    The score is ``blend * minmax(logit) + (1 - blend) * mean over legs of minmax(leg score)``, a convex combination
    over the nodes that were read (Bruch, Gai, Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS
    2023). A leg that did not find a node counts as the lowest score it gave; nodes of another retriever, which name
    no legs, count by the score they came with. With a blend of 1 the score is the raw logit, which is in the metadata
    in any case, under ``logit``.

    The model reads what was embedded: heading path, then text. Nodes beyond ``depth`` are left out, since scores of
    different units may not share a list. So are nodes without any text, such as a picture from elsewhere with no
    caption: a cross-encoder has nothing to read there. Nodes are copied, never changed.

    ``to_dict`` keeps the model's name and not its weights: ``from_dict(data, reranker=...)`` brings it back.
    """

    reranker: Reranker = Field(exclude=True, repr=False, description="Gives the logits.")
    depth: int = Field(default=20, ge=1, description="How many nodes are scored.")
    top_n: int = Field(default=5, ge=1, description="How many nodes are returned.")
    blend: float = Field(default=1.0, ge=0, le=1, description="Weight of the logit beside the legs' scores.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name that marks the class in serialised form."""
        return "BgeReranker"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the settings, and the model's fingerprint under ``model``."""
        return super().to_dict(**kwargs) | {"model": self.reranker.fingerprint}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> BgeReranker:
        """Rebuild from :meth:`to_dict`; pass the model again as ``reranker``.

        Raises:
            ConfigError: ``reranker`` was not passed.
            MismatchError: it is another model than the saved one.
        """
        saved, reranker = data.get("model"), kwargs.get("reranker")
        if reranker is None:
            raise ConfigError(f"a saved BgeReranker holds no weights, it names {saved!r}; pass reranker=")
        if saved != reranker.fingerprint:
            raise MismatchError(f"saved with reranker {saved!r}, got {reranker.fingerprint!r}; pass the saved one")
        return cls(reranker=reranker, depth=data["depth"], top_n=data["top_n"], blend=data["blend"])

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ConfigError("BgeReranker got no question; pass query_bundle= or query_str=")
        dispatcher.event(
            ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=self.top_n, model_name=self.reranker.fingerprint)
        )
        with step("rerank"):
            readable = [node for node in nodes[: self.depth] if node.node.get_content(MetadataMode.NONE).strip()]
            logits = self.reranker.score(
                query_bundle.query_str, [node.node.get_content(MetadataMode.EMBED) for node in readable]
            )
            scores = logits.tolist()
            if self.blend < 1:
                scores = (self.blend * _minmax(logits) + (1 - self.blend) * _first_stage(readable)).tolist()
            reranked = list(map(_scored, readable, scores, logits.tolist()))
            reranked.sort(key=lambda node: (-node.get_score(), node.node.node_id))
        dispatcher.event(ReRankEndEvent(nodes=reranked[: self.top_n]))
        return reranked[: self.top_n]


def _first_stage(nodes: Sequence[NodeWithScore]) -> npt.NDArray[np.float32]:
    """Return in [0, 1] what the legs said: their scores keep how far apart two passages are, which ranks lose."""
    found = [{leg: at["score"] for leg, at in node.node.metadata.get("legs", {}).items()} for node in nodes]
    legs = sorted(set().union(*found))
    if not legs:
        return _minmax(np.array([node.get_score() for node in nodes], dtype=np.float32))
    lowest = {leg: min(scores[leg] for scores in found if leg in scores) for leg in legs}
    table = [[scores.get(leg, lowest[leg]) for scores in found] for leg in legs]
    scaled = np.stack([_minmax(np.array(row, dtype=np.float32)) for row in table])
    mean: npt.NDArray[np.float32] = scaled.mean(axis=0, dtype=np.float32)
    return mean


def _minmax(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale to [0, 1]; values that are all equal say nothing, and become 0."""
    spread = np.ptp(values) if len(values) else 0.0
    return (values - values.min()) / spread if spread > 0 else np.zeros_like(values)


def _scored(found: NodeWithScore, score: float, logit: float) -> NodeWithScore:
    node = found.node.model_copy(
        update={
            "metadata": {**found.node.metadata, "logit": logit},
            "excluded_embed_metadata_keys": [*found.node.excluded_embed_metadata_keys, "logit"],
            "excluded_llm_metadata_keys": [*found.node.excluded_llm_metadata_keys, "logit"],
        }
    )
    return NodeWithScore(node=node, score=score)
