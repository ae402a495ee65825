"""A question -> ranked nodes: every leg in one request, fused, payloads fetched for the finalists only.

Enters: a question, or a picture. Leaves: LlamaIndex nodes with a score, each with its rank and score in every leg
(metadata ``legs``). This module knows neither the engine nor the models: a Store and encoders are passed in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from copy import copy

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from rag_pipeline.errors import ConfigError, InputError
from rag_pipeline.protocols import ImageEncoder, Store, TextEncoder
from rag_pipeline.retrieval.evidence import legs_metadata
from rag_pipeline.retrieval.fusion import reciprocal_rank_fusion
from rag_pipeline.retrieval.trace import Trace, current_trace, step, tracing
from rag_pipeline.types import FusedHit, Hit, LegRank, Mode, VectorValue

__all__ = ["HybridRetriever"]

logger = logging.getLogger(__name__)


class HybridRetriever(BaseRetriever):
    """LlamaIndex retriever over the legs ``dense``, ``sparse`` and, with an image encoder, ``image``.

    Args:
        store: The engine.
        encoder: Makes the vectors of a question; must be the one that made the passages'.
        image_encoder: Makes the vectors of the image leg; None: pictures are found by caption and context only.
        mode: ``hybrid`` fuses all legs; the name of one leg gives that leg's own order and scores.
        top_k: How many nodes to return.
        leg_depth: How many hits each leg gives to the fusion; at least ``top_k`` are taken.
        rrf_k: The k of reciprocal rank fusion, ranks from 1.
        exact_below: Up to this many points the dense legs are searched exactly, above by HNSW.
        languages: ISO 639-1 codes of the documents; a question's language is looked for among them. None or empty:
            the encoder decides.
    """

    def __init__(
        self,
        store: Store,
        encoder: TextEncoder,
        *,
        image_encoder: ImageEncoder | None = None,
        mode: Mode = "hybrid",
        top_k: int = 5,
        leg_depth: int = 100,
        rrf_k: float = 60.0,
        exact_below: int = 50_000,
        languages: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        self._store = store
        self._encoder = encoder
        self._image_encoder = image_encoder
        self._mode: Mode = mode
        self._top_k = top_k
        self._leg_depth = leg_depth
        self._rrf_k = rrf_k
        self._exact_below = exact_below
        self._languages = frozenset(languages or ())

    def with_top_k(self, top_k: int) -> HybridRetriever:
        """Return the same retriever, over the same engine and models, that gives ``top_k`` nodes."""
        other = copy(self)
        other._top_k = top_k
        return other

    def search(
        self,
        query: str,
        *,
        top_k: int | None = None,
        mode: Mode | None = None,
        filters: Mapping[str, str | int] | None = None,
        image: bytes | None = None,
        trace: Trace | None = None,
    ) -> list[NodeWithScore]:
        """Return the best nodes, best first.

        Args:
            query: The question; may be blank where ``image`` is given.
            top_k: How many nodes; None: the retriever's own.
            mode: Which legs; None: the retriever's own.
            filters: Payload keys and the values they must have.
            image: Bytes of a picture: the image leg alone is searched, with this picture.
            trace: Filled with times, legs and arithmetic.

        Raises:
            InputError: the query is blank, or longer than the encoder takes.
            ConfigError: pictures are asked for and there is no image encoder.
            UnavailableError: the engine does not answer.
        """
        top_k = top_k or self._top_k
        mode = "image" if image is not None else mode or self._mode
        with tracing(trace) if trace is not None else nullcontext():
            with step("encode"):
                vectors = self._vectors(query, mode, image)
            exact = self._store.count() <= self._exact_below
            with step("search"):
                legs = self._store.search(vectors, max(self._leg_depth, top_k), filters=filters, exact=exact)
            with step("fuse"):
                fused = self._fuse(legs, mode, top_k)
            with step("fetch"):
                nodes = self._nodes(fused)
            running = current_trace()
            if running is not None:
                running.record_search(legs, fused, rrf_k=self._rrf_k if mode == "hybrid" else None, exact=exact)
        logger.debug("mode %s, legs %s, %s nodes", mode, {leg: len(hits) for leg, hits in legs.items()}, len(nodes))
        return nodes

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self.search(query_bundle.query_str)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _vectors(self, query: str, mode: Mode, image: bytes | None) -> dict[str, VectorValue]:
        """Encode the question for each leg of ``mode``."""
        if mode == "image":
            return {"image": self._image_vector(query, image)}
        _refuse_blank(query)
        encoded = self._encoder.encode_queries([query], self._languages)
        legs: dict[str, VectorValue] = {}
        if mode in ("hybrid", "dense"):
            legs["dense"] = encoded.dense[0]
        # A question of stop words alone has no terms, and engines refuse an empty sparse query.
        if mode in ("hybrid", "sparse") and len(encoded.sparse[0].indices):
            legs["sparse"] = encoded.sparse[0]
        if mode == "hybrid" and self._image_encoder is not None:
            legs["image"] = self._image_vector(query, None)
        return legs

    def _image_vector(self, query: str, image: bytes | None) -> VectorValue:
        if self._image_encoder is None:
            raise ConfigError(
                "mode 'image' needs an image encoder and this profile has none: pictures are found by caption and "
                "context only; search in mode hybrid, or choose a profile with an image model (configs/bge-m3.yaml)"
            )
        if image is not None:
            rows = self._image_encoder.encode_images([image])
        else:
            _refuse_blank(query)
            rows = self._image_encoder.encode_queries([query])
        vector: VectorValue = rows[0]
        return vector

    def _fuse(self, legs: Mapping[str, Sequence[Hit]], mode: Mode, top_k: int) -> list[FusedHit]:
        if mode == "hybrid":
            return reciprocal_rank_fusion(legs, k=self._rrf_k, limit=top_k)
        hits = legs.get(mode, ())[:top_k]
        return [FusedHit(hit.id, hit.rank, hit.score, {mode: LegRank(hit.rank, hit.score)}) for hit in hits]

    def _nodes(self, fused: Sequence[FusedHit]) -> list[NodeWithScore]:
        """Fetch the finalists' payloads; one that was deleted since the search is left out."""
        from rag_pipeline.store.payload import node_of

        records = {record.id: record for record in self._store.retrieve([hit.id for hit in fused])}
        nodes = []
        for hit in fused:
            if hit.id in records:
                node = node_of(hit.id, records[hit.id].payload)
                node.metadata["legs"] = legs_metadata(hit.legs)
                node.excluded_embed_metadata_keys.append("legs")
                node.excluded_llm_metadata_keys.append("legs")
                nodes.append(NodeWithScore(node=node, score=hit.score))
        return nodes


def _refuse_blank(query: str) -> None:
    if not query.strip():
        raise InputError(f"the query is blank ({query!r}); write what to look for")
