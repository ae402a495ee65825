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
from pathlib import Path
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from rag_pipeline.errors import ConfigError, InputError, MismatchError
from rag_pipeline.filters import Filter, all_of
from rag_pipeline.protocols import ImageEncoder, Store, TextEncoder
from rag_pipeline.retrieval.evidence import legs_metadata
from rag_pipeline.retrieval.fusion import (
    FORMULAS,
    FUSIONS,
    Method,
    convex_fusion,
    reciprocal_rank_fusion,
    with_pictures,
)
from rag_pipeline.retrieval.leg_weights import LegWeights, Weighing
from rag_pipeline.retrieval.question import QuestionEncoder, mode_with
from rag_pipeline.retrieval.trace import Trace, current_trace, step, tracing
from rag_pipeline.store.metadata_filters import FilterLike, as_filter
from rag_pipeline.types import FusedHit, Hit, LegRank, Mode, Record

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
        fusion: How legs become one list: ``auto`` weighs them by language and lets only a picture that stands out pass
            texts; the others are the functions of ``fusion.py``, to which the image leg is one like any other.
        weights: What each leg counts; None: by the rule of ``leg_weights.py`` with ``auto``, all the same otherwise.
        rrf_k: The k of reciprocal rank fusion, ranks from 1.
        exact_below: Up to this many points the dense legs are searched exactly, above by HNSW.
        languages: ISO 639-1 codes of the documents; a question's language is looked for among them. None or empty:
            the encoder decides.
        model_languages: Those that the dense model was trained on; None: unknown.
        tuned: The dense leg's share by the language of the question, as `rag tune` found it.
        pictures: The folder of stored pictures: the metadata ``figure`` of a figure is then its path there. None: it
            is the digest of the picture's bytes.
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
        fusion: Method = "auto",
        weights: Mapping[str, float] | None = None,
        rrf_k: float = 60.0,
        exact_below: int = 50_000,
        languages: Collection[str] | None = None,
        model_languages: Collection[str] | None = None,
        tuned: Mapping[str, float] | None = None,
        pictures: Path | None = None,
    ) -> None:
        super().__init__()
        self._store = store
        self._mode: Mode = mode
        self._top_k = top_k
        self._leg_depth = leg_depth
        self._fusion: Method = fusion
        self._weights = weights
        self._rrf_k = rrf_k
        self._exact_below = exact_below
        self._pictures = pictures
        self._filters: Filter | None = None
        self._questions = QuestionEncoder(encoder, image_encoder, frozenset(languages or ()))
        self._leg_weights = LegWeights(self._questions.languages, model_languages, tuned or {})

    @classmethod
    def class_name(cls) -> str:
        """Return the name that marks the class in saved form."""
        return "HybridRetriever"

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values, with the encoders' fingerprints and neither weights nor index."""
        if self._filters:
            raise ConfigError(f"{self._filters} cannot be saved; save the retriever without, call with_filters again")
        questions, weighing = self._questions, self._leg_weights
        return {
            "class_name": self.class_name(),
            "model": questions.text.fingerprint,
            "image_model": questions.image and questions.image.fingerprint,
            "mode": self._mode,
            "top_k": self._top_k,
            "leg_depth": self._leg_depth,
            "fusion": self._fusion,
            "weights": self._weights and dict(self._weights),
            "rrf_k": self._rrf_k,
            "exact_below": self._exact_below,
            "languages": sorted(questions.languages),
            "model_languages": None if weighing.model is None else sorted(weighing.model),
            "tuned": dict(weighing.tuned),
            "pictures": self._pictures and str(self._pictures),
        }

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        store: Store | None = None,
        encoder: TextEncoder | None = None,
        image_encoder: ImageEncoder | None = None,
    ) -> HybridRetriever:
        """Rebuild from :meth:`to_dict`; pass the open index and the encoders again.

        Raises:
            ConfigError: the store or an encoder was not passed.
            MismatchError: an encoder is another one than the saved one.
        """
        models = {"model": encoder, "image_model": image_encoder}
        if store is None or any(data[name] is not None and model is None for name, model in models.items()):
            raise ConfigError("a saved HybridRetriever holds no index and no weights; pass store= and encoder=")
        for name, model in models.items():
            if model is not None and model.fingerprint != data[name]:
                raise MismatchError(f"saved with {name} {data[name]!r}, got {model.fingerprint!r}; pass the saved one")
        kept = {name: value for name, value in data.items() if name not in ("class_name", "pictures", *models)}
        pictures = None if data["pictures"] is None else Path(data["pictures"])
        assert encoder is not None  # it always has a fingerprint
        return cls(store, encoder, image_encoder=image_encoder, pictures=pictures, **kept)

    def with_top_k(self, top_k: int) -> HybridRetriever:
        """Return the same retriever, over the same engine and models, that gives ``top_k`` nodes."""
        other = copy(self)
        other._top_k = top_k
        return other

    def with_filters(self, filters: FilterLike | None) -> HybridRetriever:
        """Return the same retriever, that finds nothing but what passes these filters and its own.

        Raises:
            ConfigError: the filters cannot be read.
        """
        other = copy(self)
        other._filters = all_of(self._filters, as_filter(filters))
        return other

    def search(
        self,
        query: str,
        *,
        top_k: int | None = None,
        mode: Mode | None = None,
        filters: FilterLike | None = None,
        image: bytes | None = None,
        trace: Trace | None = None,
    ) -> list[NodeWithScore]:
        """Return the best nodes, best first.

        Args:
            query: The question; may be blank where ``image`` is given.
            top_k: How many nodes; None: the retriever's own.
            mode: Which legs; None: the retriever's own.
            filters: What may be found: a Filter, keys and their values, LlamaIndex's MetadataFilters, or words as in
                ``rag search --filter``.
            image: Bytes of a picture, for which the image leg looks. Without a query it is the only leg; with one,
                the other legs look for the words, and fusion joins them (hybrid).
            trace: Filled with times, legs and arithmetic.

        Raises:
            InputError: the query is blank, or longer than the encoder takes.
            ConfigError: a filter names an unknown key, pictures are asked for and there is no image encoder, or a
                picture in a mode that has no
                place for it.
            UnavailableError: the engine does not answer.
        """
        top_k = top_k or self._top_k
        mode = mode_with(image, query, mode or self._mode)
        depth = max(self._leg_depth, top_k)
        wanted = all_of(self._filters, as_filter(filters))
        with tracing(trace) if trace is not None else nullcontext():
            with step("encode"):
                [vectors] = self._questions.vectors([query], mode, image)
            exact = self._store.count(exact=False) <= self._exact_below
            with step("search"):
                legs = self._store.search(vectors, depth, filters=wanted, exact=exact)
            with step("fuse"):
                weighing = self._weigh(query, legs, mode)
                fused = self._fuse(legs, mode, weighing)
            with step("fetch"):
                [nodes] = self._nodes([fused[:top_k]])
            running = current_trace()
            if running is not None:
                running.record_query(query, mode, picture=image is not None)
                running.record_search(legs, fused, depth=depth, exact=exact, **self._told(mode, weighing))
                _record_nodes(running, fused[:top_k], nodes, f"beyond rank {top_k} of the search")
        logger.debug("mode %s, legs %s, %s nodes", mode, {leg: len(hits) for leg, hits in legs.items()}, len(nodes))
        return nodes

    def search_many(
        self,
        queries: Sequence[str],
        *,
        top_k: int | None = None,
        mode: Mode | None = None,
        filters: FilterLike | None = None,
    ) -> list[list[NodeWithScore]]:
        """Return the best nodes of each query: encoded in one batch, searched in one request, payloads fetched once.

        Arguments and errors are those of :meth:`search`; a trace that is running gets the times of them all.
        """
        top_k, mode = top_k or self._top_k, mode or self._mode
        wanted = all_of(self._filters, as_filter(filters))
        with step("encode"):
            vectors = self._questions.vectors(queries, mode)
        exact = self._store.count(exact=False) <= self._exact_below
        with step("search"):
            found = self._store.search_batch(vectors, max(self._leg_depth, top_k), filters=wanted, exact=exact)
        with step("fuse"):
            fused = [
                self._fuse(legs, mode, self._weigh(query, legs, mode))[:top_k]
                for query, legs in zip(queries, found, strict=True)
            ]
        with step("fetch"):
            return self._nodes(fused)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        path = query_bundle.image_path
        return self.search(query_bundle.query_str, image=_read(path) if path else None)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)

    def _weigh(self, query: str, legs: Mapping[str, Sequence[Hit]], mode: Mode) -> Weighing | None:
        """Return what each leg counts; None: there is one leg, or all count the same."""
        if mode != "hybrid":
            return None
        if self._weights is not None:
            return Weighing(self._weights, "by the settings")
        if self._fusion != "auto":
            return None
        return self._leg_weights.weigh(query, _text(legs), self._leg_depth)

    def _fuse(self, legs: Mapping[str, Sequence[Hit]], mode: Mode, weighing: Weighing | None) -> list[FusedHit]:
        """Return every candidate, best first. That depends on ``leg_depth`` only, not on how many were asked for."""
        if mode != "hybrid":
            hits = legs.get(mode, ())
            return [FusedHit(hit.id, hit.rank, hit.score, {mode: LegRank(hit.rank, hit.score)}) for hit in hits]
        weights, depth = (weighing.weights if weighing else None), self._leg_depth
        if self._fusion == "rrf":
            return reciprocal_rank_fusion(legs, weights=weights, depth=depth, k=self._rrf_k)
        if self._fusion != "auto":
            return FUSIONS[self._fusion](legs, weights=weights, depth=depth)
        fused = convex_fusion(_text(legs), weights=weights, depth=depth)
        return with_pictures(fused, legs.get("image", ()), depth)

    def _told(self, mode: Mode, weighing: Weighing | None) -> dict[str, Any]:
        """Return how fusion scored, for a trace."""
        if mode != "hybrid":
            return {}
        formula = FORMULAS[self._fusion].format(k=self._rrf_k)
        if weighing is None:
            return {"formula": formula}
        return {"formula": f"{formula}; {weighing.why}", "weights": weighing.weights}

    def _nodes(self, fused: Sequence[Sequence[FusedHit]]) -> list[list[NodeWithScore]]:
        """Fetch all finalists' payloads at once; one that was deleted since the search is left out."""
        ids = dict.fromkeys(hit.id for hits in fused for hit in hits)
        records = {record.id: record for record in self._store.retrieve(list(ids))}
        return [[self._node(hit, records[hit.id]) for hit in hits if hit.id in records] for hits in fused]

    def _node(self, hit: FusedHit, record: Record) -> NodeWithScore:
        from rag_pipeline.store.payload import node_of

        node = node_of(hit.id, record.payload)
        figure = node.metadata.get("figure")
        if figure is not None and self._pictures is not None:
            from rag_pipeline.documents.figures import find_picture

            node.metadata["figure"] = str(find_picture(self._pictures, figure) or figure)
        node.metadata["legs"] = legs_metadata(hit.legs)
        node.excluded_embed_metadata_keys.append("legs")
        node.excluded_llm_metadata_keys.append("legs")
        return NodeWithScore(node=node, score=hit.score)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise InputError(f"cannot read picture {path}: {exc.strerror}; pass a file that can be read") from exc


def _record_nodes(trace: Trace, wanted: Sequence[FusedHit], nodes: Sequence[NodeWithScore], rest: str) -> None:
    found = {node.node.node_id: node.node.metadata for node in nodes}
    trace.record_places({id_: str(data.get("source") or data.get("path") or "") for id_, data in found.items()})
    trace.record_cut((hit.id for hit in wanted if hit.id not in found), "deleted since the search")
    trace.record_result(list(found), rest)


def _text(legs: Mapping[str, Sequence[Hit]]) -> dict[str, Sequence[Hit]]:
    return {leg: hits for leg, hits in legs.items() if leg != "image"}
