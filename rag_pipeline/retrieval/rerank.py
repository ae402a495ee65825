"""Retrieved nodes -> the same nodes in the order of a cross-encoder, as a LlamaIndex postprocessor.

Enters: scored nodes, best first, and the question. Leaves: the same, those that were read with their raw logit. This
module knows nothing of how the nodes were found, nor of the model behind :class:`~rag_pipeline.protocols.Reranker`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
from rag_pipeline.retrieval.leg_weights import question_language
from rag_pipeline.retrieval.trace import current_trace, step

__all__ = ["BgeReranker", "blended", "lacking"]

dispatcher = get_dispatcher(__name__)

Scores = npt.NDArray[np.float64]


def blended(scores: Scores, logits: Scores, blend: float) -> Scores:
    """Return the scores of candidates after reading them: what they had, and a lift by what was read.

    ``score + b / (1 - b) * range(scores) * minmax(logit)``: the order is that of the convex combination
    ``(1 - b) * minmax(score) + b * minmax(logit)`` (Bruch, Gai and Ingber, TOIS 2023), in the unit of the scores. No
    lift is negative: what was not read, and stood behind, still does. A candidate without a logit gets the mean lift of
    the others. With b = 1 the score is the logit.

    Args:
        scores: (n,) of the candidates, in any unit.
        logits: (n,); NaN for a candidate that has nothing to read.
        blend: b, in [0, 1].
    """
    read = ~np.isnan(logits)
    if not read.any():
        return scores
    if blend == 1:
        return np.where(read, logits, logits[read].mean())
    filled = np.where(read, logits, logits[read].mean())
    scaled = (filled - filled.min()) / (float(np.ptp(filled)) or 1.0)
    lifted: Scores = scores + blend / (1 - blend) * (float(np.ptp(scores)) or 1.0) * scaled
    return lifted


def lacking(languages: Collection[str], question: str, documents: Collection[str]) -> list[str]:
    """Return the languages that a reranker would have to read and was not trained on.

    Those are the question's, and the documents' where the question is in none of them, or cannot be told.

    >>> lacking(["en"], "en", ["de", "en"]), lacking(["en"], "en", ["de"]), lacking(["en"], "", ["de", "en"])
    ([], ['de'], ['de'])
    """
    read = {question} if question in documents else {question, *documents} - {""}
    return sorted(read.difference(languages))


class BgeReranker(BaseNodePostprocessor):
    """Reorder the first ``depth`` nodes by a cross-encoder and the scores they came with; ties by node id.

    See :func:`blended` for the score; the raw logit is in the metadata, under ``logit``. The model reads what was
    embedded: heading path, then text. A node without any text, such as a picture with no caption, is not read: it gets
    the mean lift of those that are, and so keeps its place among them. What is beyond ``depth`` follows in its order;
    with a blend of 1, where scores are logits, it is left out, since scores of two units may not share a list.

    Nothing is read, and the trace says why, where ``depth`` is 0 or the model was not trained on the question's
    language: there it costs more than it gives. Nodes are copied, never changed.

    ``to_dict`` keeps the model's name and not its weights: ``from_dict(data, reranker=...)`` brings it back.
    """

    reranker: Reranker = Field(exclude=True, repr=False, description="Gives the logits.")
    depth: int = Field(default=20, ge=0, description="How many nodes are scored; 0: none.")
    top_n: int | None = Field(default=None, ge=1, description="How many nodes are returned; None: all.")
    blend: float = Field(default=1.0, ge=0, le=1, description="Weight of the logit beside the scores before.")
    languages: tuple[str, ...] | None = Field(default=None, description="The model's; None: unknown, read anything.")
    documents: tuple[str, ...] = Field(default=(), description="The documents'; empty: unknown.")

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
        kept = ("depth", "top_n", "blend", "languages", "documents")
        return cls(reranker=reranker, **{name: data[name] for name in kept if name in data})

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ConfigError("BgeReranker got no question; pass query_bundle= or query_str=")
        dispatcher.event(
            ReRankStartEvent(
                query=query_bundle, nodes=nodes, top_n=self.top_n or len(nodes), model_name=self.reranker.fingerprint
            )
        )
        with step("rerank"):
            off = self._off(query_bundle.query_str)
            ranked = nodes if off else self._reread(query_bundle.query_str, nodes)
        best = ranked[: self.top_n]
        dispatcher.event(ReRankEndEvent(nodes=best))
        self._record(nodes, ranked, best, off)
        return best

    def _off(self, question: str) -> str:
        """Return why nothing is read, ``""`` where it is."""
        if self.depth == 0:
            return "off: it does not pay, as rag tune found (calibration.json)"
        if self.languages is None:
            return ""
        language = question_language(question, self.documents, self.languages)
        unknown = ", ".join(lacking(self.languages, language, self.documents))
        model = self.reranker.fingerprint.partition("@")[0]
        return f"off: {model} was not trained on {unknown}" if unknown else ""

    def _reread(self, question: str, nodes: Sequence[NodeWithScore]) -> list[NodeWithScore]:
        head = nodes[: self.depth]
        readable = [bool(node.node.get_content(MetadataMode.NONE).strip()) for node in head]
        texts = [node.node.get_content(MetadataMode.EMBED) for node, reads in zip(head, readable, strict=True) if reads]
        logits = np.full(len(head), np.nan)
        if texts:
            logits[np.array(readable)] = self.reranker.score(question, texts)
        scores = blended(np.array([node.get_score() for node in head], dtype=np.float64), logits, self.blend)
        ranked = list(map(_scored, head, scores.tolist(), logits.tolist()))
        ranked.sort(key=lambda node: (-node.get_score(), node.node.node_id))
        return ranked if self.blend == 1 else [*ranked, *nodes[self.depth :]]

    def _record(
        self, nodes: Sequence[NodeWithScore], ranked: Sequence[NodeWithScore], best: Sequence[NodeWithScore], off: str
    ) -> None:
        trace = current_trace()
        if trace is None:
            return
        read = {
            node.node.node_id: (node.node.metadata["logit"], node.get_score())
            for node in ranked
            if "logit" in node.node.metadata
        }
        how = f"{self.reranker.fingerprint}: score = " + (
            "logit"
            if self.blend == 1
            else f"fused + {self.blend / (1 - self.blend):.3g} * range of the first {self.depth} * minmax(logit)"
        )
        trace.record_reranking(off or how, {} if off else read)
        kept = {node.node.node_id for node in ranked}
        trace.record_cut((node.node.node_id for node in nodes if node.node.node_id not in kept), "not reranked")
        trace.record_result([node.node.node_id for node in best], f"beyond rank {self.top_n} after reranking")


def _scored(found: NodeWithScore, score: float, logit: float) -> NodeWithScore:
    if np.isnan(logit):
        return NodeWithScore(node=found.node, score=score)
    node = found.node.model_copy(
        update={
            "metadata": {**found.node.metadata, "logit": logit},
            "excluded_embed_metadata_keys": [*found.node.excluded_embed_metadata_keys, "logit"],
            "excluded_llm_metadata_keys": [*found.node.excluded_llm_metadata_keys, "logit"],
        }
    )
    return NodeWithScore(node=node, score=score)
