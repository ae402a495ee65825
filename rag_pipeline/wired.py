"""Settings -> every part of a pipeline, wired to the others and built on first use.

Enters: settings. Leaves: LlamaIndex's own kinds over one index, and the models and stores behind them. With
``parts.py``, the only place that constructs. What is asked of the parts, ``app.py`` knows.
"""

from __future__ import annotations

import json
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rag_pipeline.config import RerankerSettings, Settings
from rag_pipeline.encoders.languages import trained_languages
from rag_pipeline.parts import make_cross_encoder, make_image_encoder, make_synthesizer, make_text_encoder
from rag_pipeline.protocols import ImageEncoder, Reranker, TextEncoder
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Context

if TYPE_CHECKING:
    from llama_index.core.query_engine import RetrieverQueryEngine
    from llama_index.core.response_synthesizers import BaseSynthesizer

    from rag_pipeline.documents.node_parser import TitleNodeParser
    from rag_pipeline.documents.reader import FolderReader
    from rag_pipeline.encoders.cache import EmbeddingCache
    from rag_pipeline.encoders.embedding import ImageTextEmbedding, TextEmbedding
    from rag_pipeline.indexing.manifest import Manifest
    from rag_pipeline.retrieval.calibration import Calibration
    from rag_pipeline.retrieval.context import ContextExpander
    from rag_pipeline.retrieval.rerank import BgeReranker
    from rag_pipeline.retrieval.retriever import HybridRetriever
    from rag_pipeline.retrieval.trace_file import TraceFile
    from rag_pipeline.store.edge import EdgeStore
    from rag_pipeline.store.metadata_filters import FilterLike
    from rag_pipeline.store.vector_store import RagVectorStore

__all__ = ["WiredParts"]


class WiredParts:
    """The parts of one pipeline. `rag status` loads no model and `rag search` no parser, as nothing is built before."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._store: EdgeStore | None = None

    # ------------------------------------------------------------------ LlamaIndex's own kinds

    @cached_property
    def retriever(self) -> HybridRetriever:
        """LlamaIndex ``BaseRetriever`` over every leg."""
        from rag_pipeline.retrieval.retriever import HybridRetriever

        search = self.settings.search
        return HybridRetriever(
            self.open_store(),
            self.encoder,
            image_encoder=self.image_encoder,
            top_k=search.top_k,
            leg_depth=search.leg_depth,
            fusion=search.fusion,
            weights=search.weights,
            rrf_k=search.rrf_k,
            exact_below=search.exact_below,
            languages=self._languages,
            model_languages=trained_languages(self.settings.text.model, self.settings.text.path),
            tuned=self.calibration.dense if self.calibration else None,
            pictures=self.settings.index / "figures",
        )

    @cached_property
    def reranker(self) -> BgeReranker | None:
        """LlamaIndex ``BaseNodePostprocessor``, or None where the profile has no reranker."""
        from rag_pipeline.retrieval.rerank import BgeReranker

        chosen = self._reranking
        if chosen is None or self.cross_encoder is None:
            return None
        return BgeReranker(
            reranker=self.cross_encoder,
            depth=chosen.depth,
            blend=chosen.blend,
            documents=self._languages,
            languages=trained_languages(chosen.model, chosen.path),
        )

    @cached_property
    def query_engine(self) -> RetrieverQueryEngine:
        """LlamaIndex ``RetrieverQueryEngine`` whose answers cite page and exact quote."""
        return self._engine(None)

    def _engine(self, filters: FilterLike | None) -> RetrieverQueryEngine:
        from rag_pipeline.answering.query_engine import build_query_engine

        depth = self.reranker.depth if self.reranker else 0
        retriever = self.retriever.with_top_k(max(depth, self.settings.answer.evidence)).with_filters(filters)
        # Extractive answers are sentences, from passages of any length; a language model has a window.
        budget = self.settings.answer.context_tokens if self.settings.llm else None
        expander = self._expander(self.settings.answer.context, top_n=self.settings.answer.evidence, max_tokens=budget)
        postprocessors = [self.reranker, expander] if self.reranker else [expander]
        return build_query_engine(retriever, self.synthesizer, postprocessors)

    def _expander(self, context: Context, *, top_n: int, max_tokens: int | None = None) -> ContextExpander:
        from rag_pipeline.retrieval.context import ContextExpander

        return ContextExpander(store=self.open_store(), context=context, top_n=top_n, max_tokens=max_tokens)

    @cached_property
    def embed_model(self) -> TextEmbedding:
        """LlamaIndex ``BaseEmbedding`` of the dense leg."""
        from rag_pipeline.encoders.embedding import TextEmbedding

        return TextEmbedding(encoder=self.encoder)

    @cached_property
    def image_embed_model(self) -> ImageTextEmbedding | None:
        """LlamaIndex ``MultiModalEmbedding`` of the image leg, or None where the profile has no image encoder."""
        from rag_pipeline.encoders.embedding import ImageTextEmbedding

        return None if self.image_encoder is None else ImageTextEmbedding(encoder=self.image_encoder)

    @property
    def reader(self) -> FolderReader:
        """LlamaIndex ``BaseReader`` that parses a folder as ingestion does."""
        from rag_pipeline.documents.reader import FolderReader

        limits = self.settings.ingest
        return FolderReader(workers=limits.workers or 1, timeout_s=limits.timeout_s, memory_mb=limits.memory_mb)

    @property
    def node_parser(self) -> TitleNodeParser:
        """LlamaIndex ``NodeParser`` that cuts as ingestion does."""
        from rag_pipeline.documents.node_parser import TitleNodeParser

        chunking = self.settings.chunking
        return TitleNodeParser(
            count_tokens=self.encoder.count_tokens,
            max_tokens=chunking.max_tokens,
            heading_tokens=chunking.heading_tokens,
        )

    @cached_property
    def vector_store(self) -> RagVectorStore:
        """LlamaIndex ``BasePydanticVectorStore`` over the index."""
        from rag_pipeline.store.vector_store import RagVectorStore

        return RagVectorStore(store=self.open_store(), encoder=self.encoder)

    def configure_settings(self) -> None:
        """Set ``llama_index.core.Settings.embed_model``, for code that reads it."""
        from llama_index.core import Settings as LlamaSettings

        LlamaSettings.embed_model = self.embed_model

    # ------------------------------------------------------------------------------- the parts

    @cached_property
    def encoder(self) -> TextEncoder:
        """The text encoder of the profile."""
        return make_text_encoder(self.settings, self.cache)

    @cached_property
    def cache(self) -> EmbeddingCache | None:
        """What :attr:`encoder` has encoded before, in the index folder, or None where the settings want none."""
        from rag_pipeline.encoders.cache import EmbeddingCache

        limit = self.settings.cache.max_mb
        return EmbeddingCache(self.settings.index / "cache.sqlite", int(limit * 2**20)) if limit else None

    @cached_property
    def image_encoder(self) -> ImageEncoder | None:
        """The image encoder, or None where pictures are found by caption and context only."""
        return make_image_encoder(self.settings)

    @cached_property
    def cross_encoder(self) -> Reranker | None:
        """The model behind :attr:`reranker`."""
        return make_cross_encoder(self.settings.model_copy(update={"reranker": self._reranking}))

    @cached_property
    def synthesizer(self) -> BaseSynthesizer:
        """Evidence to answer: extractive, or generated where ``llm`` is configured."""
        return make_synthesizer(self.settings, self.encoder, self.cross_encoder)

    @cached_property
    def manifest(self) -> Manifest:
        """What is known of every file; opened beside the shard."""
        from rag_pipeline.indexing.manifest import Manifest

        return Manifest.open(self.settings.index / "manifest.sqlite")

    @cached_property
    def calibration(self) -> Calibration | None:
        """What `rag tune` found for this index, or None where nothing was, or other models were used."""
        from rag_pipeline.retrieval.calibration import read_calibration

        reranker = self.settings.reranker
        return read_calibration(self.settings.index, reranker.model if reranker else "")

    @property
    def _reranking(self) -> RerankerSettings | None:
        """The settings of the reranker, with what `rag tune` found in place of the defaults."""
        chosen = self.settings.reranker
        if chosen is None or self.calibration is None or self.calibration.reranking is None:
            return chosen
        found = self.calibration.reranking
        return chosen.model_copy(update={"depth": found.depth, "window": found.window, "blend": found.blend})

    @property
    def _languages(self) -> tuple[str, ...]:
        """The languages of the documents; none where there is no index yet."""
        return self.manifest.languages() if (self.settings.index / "manifest.sqlite").exists() else ()

    @property
    def traces(self) -> TraceFile:
        """What was asked, where ``trace.keep`` is set."""
        from rag_pipeline.retrieval.trace_file import TraceFile

        return TraceFile(self.settings.index / "traces", self.settings.trace.max_mb)

    def open_store(self, *, create: bool = False) -> EdgeStore:
        """Open the index, or return it where this pipeline already holds it; checks the fingerprint."""
        from rag_pipeline.store.edge import EdgeStore

        if self._store is None:
            self._store = EdgeStore.open(self.settings.index, self.schema, self.fingerprint, create=create)
        return self._store

    @property
    def schema(self) -> CollectionSchema:
        """The collection that these settings ask for, as data."""
        encoder, image = self.encoder, self.image_encoder
        return CollectionSchema.of(
            dense_dim=encoder.dim,
            sparse_idf=encoder.sparse_needs_idf,
            image_dim=image.dim if image else None,
            late=encoder.late,
        )

    @property
    def fingerprint(self) -> Fingerprint:
        """What must be equal between an index and whoever reads or writes it."""
        from rag_pipeline.encoders.composed import ComposedEncoder

        encoder, image = self.encoder, self.image_encoder
        text = sparse = encoder.fingerprint
        if isinstance(encoder, ComposedEncoder):
            text, sparse = encoder.dense.fingerprint, encoder.sparse.fingerprint
        return Fingerprint(
            text=text,
            sparse=sparse,
            image=image.fingerprint if image else "",
            chunking=json.dumps(self.settings.chunking.model_dump(), sort_keys=True),
        )

    def close(self) -> None:
        """Let go of the index; a second call does nothing."""
        if self._store is not None:
            self._store.close()
            self._store = None
        if "manifest" in self.__dict__:
            self.manifest.close()
        if "cache" in self.__dict__ and self.cache is not None:
            self.cache.close()  # the encoder, which stays, opens it again
        # What was built on the open index is built again where it is used again.
        for part in ("manifest", "calibration", "retriever", "reranker", "query_engine", "vector_store"):
            self.__dict__.pop(part, None)

    def __enter__(self) -> Self:
        """Return the pipeline itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened."""
        self.close()
