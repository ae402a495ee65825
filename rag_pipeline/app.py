"""The face of the package: :class:`RagPipeline`, settings wired into one object.

Every part is built on first use, so `rag status` loads no model and `rag search` loads no parser.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rag_pipeline.config import Settings, load_settings
from rag_pipeline.errors import ConfigError, InputError, RagError, UnavailableError
from rag_pipeline.parts import (
    discover_all,
    make_cross_encoder,
    make_image_encoder,
    make_ingestor,
    make_synthesizer,
    make_text_encoder,
)
from rag_pipeline.protocols import ImageEncoder, Reranker, TextEncoder
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Answer, Evidence, Mode

if TYPE_CHECKING:
    from llama_index.core.query_engine import RetrieverQueryEngine
    from llama_index.core.response_synthesizers import BaseSynthesizer

    from rag_pipeline.encoders.cache import EmbeddingCache
    from rag_pipeline.encoders.embedding import TextEmbedding
    from rag_pipeline.indexing.ingest import IngestReport, Progress
    from rag_pipeline.indexing.manifest import Manifest
    from rag_pipeline.indexing.snapshot import SnapshotReport
    from rag_pipeline.retrieval.rerank import BgeReranker
    from rag_pipeline.retrieval.retriever import HybridRetriever
    from rag_pipeline.retrieval.trace import Trace
    from rag_pipeline.store.edge import EdgeStore
    from rag_pipeline.store.vector_store import RagVectorStore

__all__ = ["RagPipeline"]

log = logging.getLogger(__name__)


class RagPipeline:
    """A folder of documents in, search and cited answers out.

    >>> rag = RagPipeline.from_config(index="/tmp/never-made")
    >>> rag.settings.text.model
    'bge-small-en-v1.5'

    Use it as a context manager, or call :meth:`close`, to let go of the index: one process holds it at a time.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._store: EdgeStore | None = None

    @classmethod
    def from_config(cls, config: Path | str | None = None, *, index: Path | str | None = None) -> RagPipeline:
        """Build from a YAML file (default: the compact profile); ``index`` wins over the file's.

        Raises:
            ConfigError: the file or a value in it is wrong.
        """
        return cls(load_settings(config, **({} if index is None else {"index": Path(index)})))

    # ---------------------------------------------------------------------------- the main job

    def ingest(
        self,
        *paths: Path | str,
        dry_run: bool = False,
        retry_quarantined: bool = False,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> IngestReport:
        """Make the index true to these folders and files; a second run over the same files changes nothing.

        ``dry_run`` tells what would be done; ``retry_quarantined`` tries files again that could not be read before.

        Raises:
            ConfigError: no path was given, or one does not exist.
            InputError: a folder holds no files.
            UnavailableError: weights are missing, or another process holds the index.
            MismatchError: the index was made with other models or chunking.
        """
        _require_paths(paths)
        # A folder alone is no index: an evaluation keeps its cache there.
        if dry_run and not (self.settings.index / "shard").exists():
            with tempfile.TemporaryDirectory() as aside, RagPipeline(self._at(Path(aside))) as rag:
                rag.open_store(create=True)
                return rag.ingest(*paths, dry_run=True, on_progress=on_progress)
        ingestor = make_ingestor(
            self.settings, self.open_store(create=True), self.manifest, self.encoder, self.image_encoder
        )
        try:
            return ingestor.run(
                [Path(path) for path in paths],
                discover=partial(discover_all, self.settings, self.manifest),
                dry_run=dry_run,
                retry_quarantined=retry_quarantined,
                on_progress=on_progress,
            )
        finally:
            if self.cache is not None:
                self.cache.close()  # its counts are those of one run

    def watch(
        self,
        *paths: Path | str,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_error: Callable[[RagError], None] = lambda error: log.warning("%s", error),
        stop: threading.Event | None = None,
    ) -> Iterator[IngestReport]:
        """Ingest, then again whenever something changes in these folders, until ``stop`` is set.

        Between two runs the index is let go, so that others can search it; models stay loaded. ``on_error`` hears of
        a later run that fails because the folder is away, or the index held by another: the next change tries again.

        Raises:
            RagError: as :meth:`ingest`, in the first run.
        """
        from rag_pipeline.indexing.watch import changes

        _require_paths(paths)
        for number, _ in enumerate(changes([Path(path) for path in paths], self.settings.index, stop)):
            try:
                report = self.ingest(*paths, on_progress=on_progress)
            except (ConfigError, InputError, UnavailableError) as exc:
                if number == 0:
                    raise
                on_error(exc)
                continue
            finally:
                self.close()
            yield report

    def search(
        self,
        query: str,
        *,
        top_k: int | None = None,
        mode: Mode = "hybrid",
        filters: Mapping[str, str | int] | None = None,
        image: bytes | None = None,
        rerank: bool = True,
        trace: Trace | None = None,
    ) -> list[Evidence]:
        """Return the best ``top_k`` passages and figures, best first.

        Only ``hybrid`` hits are reranked: a single leg is asked for to see that leg.

        Raises:
            InputError: the query is blank or too long.
            ConfigError: ``mode`` is "image" and the profile has no image encoder.
            UnavailableError: there is no index, or another process holds it.
        """
        from llama_index.core.schema import QueryBundle

        from rag_pipeline.retrieval.evidence import evidence_of
        from rag_pipeline.retrieval.trace import Trace, step, tracing

        top_k = top_k or self.settings.search.top_k
        with tracing(trace or Trace()), step("total"):
            with step("load"):
                reranker = self.reranker if rerank and mode == "hybrid" and image is None else None
                retriever = self.retriever
            depth = max(top_k, reranker.depth) if reranker else top_k
            nodes = retriever.search(query, top_k=depth, mode=mode, filters=filters, image=image)
            if reranker:
                nodes = reranker.postprocess_nodes(nodes, QueryBundle(query))
        return [evidence_of(node, rank) for rank, node in enumerate(nodes[:top_k], start=1)]

    def ask(self, question: str) -> Answer:
        """Answer from the documents, every statement cited, or abstain and say why.

        Raises:
            InputError: the question is blank or too long.
            UnavailableError: there is no index, or the configured LLM does not answer.
        """
        from rag_pipeline.answering.query_engine import answer_of

        return answer_of(self.query_engine.query(question))

    def export(self, *, vectors: bool = False) -> Iterator[dict[str, object]]:
        """Yield every point, ordered by id: ``id``, ``payload`` and, on request, ``vectors``, as JSON values."""
        from rag_pipeline.store.payload import exported

        for record in self.open_store().scroll(with_vectors=vectors):
            yield exported(record, vectors=vectors)

    def create_snapshot(
        self, file: Path | str, *, overwrite: bool = False, on_progress: Callable[[str, int, int], None] | None = None
    ) -> SnapshotReport:
        """Save the whole index as one file with checksums; this pipeline lets go of the index for it.

        Raises:
            ConfigError: ``file`` exists, or lies within the index.
            UnavailableError: there is no index, another process holds it, or the disk is full.
        """
        from rag_pipeline.indexing.snapshot import create_snapshot

        self.close()
        return create_snapshot(self.settings.index, Path(file), overwrite=overwrite, on_progress=on_progress)

    def restore_snapshot(
        self, file: Path | str, *, on_progress: Callable[[str, int, int], None] | None = None
    ) -> SnapshotReport:
        """Make the index, which must not exist or be an empty folder, of a snapshot.

        Raises:
            ConfigError: there is an index already.
            InputError: the file is damaged, or no snapshot.
            UnavailableError: the disk is full.
        """
        from rag_pipeline.indexing.snapshot import restore_snapshot

        self.close()
        return restore_snapshot(Path(file), self.settings.index, on_progress=on_progress)

    def _at(self, index: Path) -> Settings:
        return self.settings.model_copy(update={"index": index})

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
            rrf_k=search.rrf_k,
            exact_below=search.exact_below,
            languages=self.manifest.languages(),
        )

    @cached_property
    def reranker(self) -> BgeReranker | None:
        """LlamaIndex ``BaseNodePostprocessor``, or None where the profile has no reranker."""
        from rag_pipeline.retrieval.rerank import BgeReranker

        chosen = self.settings.reranker
        if chosen is None or self.cross_encoder is None:
            return None
        return BgeReranker(reranker=self.cross_encoder, depth=chosen.depth, top_n=chosen.depth, blend=chosen.blend)

    @cached_property
    def query_engine(self) -> RetrieverQueryEngine:
        """LlamaIndex ``RetrieverQueryEngine`` whose answers cite page and exact quote."""
        from rag_pipeline.answering.query_engine import build_query_engine

        retriever = self.retriever.with_top_k(
            self.settings.reranker.depth if self.settings.reranker else self.settings.answer.evidence
        )
        return build_query_engine(retriever, self.synthesizer, [self.reranker] if self.reranker else [])

    @cached_property
    def embed_model(self) -> TextEmbedding:
        """LlamaIndex ``BaseEmbedding`` of the dense leg."""
        from rag_pipeline.encoders.embedding import TextEmbedding

        return TextEmbedding(encoder=self.encoder)

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
        return make_cross_encoder(self.settings)

    @cached_property
    def synthesizer(self) -> BaseSynthesizer:
        """Evidence to answer: extractive, or generated where ``llm`` is configured."""
        return make_synthesizer(self.settings, self.encoder, self.cross_encoder)

    @cached_property
    def manifest(self) -> Manifest:
        """What is known of every file; opened beside the shard."""
        from rag_pipeline.indexing.manifest import Manifest

        return Manifest.open(self.settings.index / "manifest.sqlite")

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
        for part in ("manifest", "retriever", "query_engine", "vector_store"):
            self.__dict__.pop(part, None)

    def __enter__(self) -> RagPipeline:
        """Return the pipeline itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened."""
        self.close()


def _require_paths(paths: Sequence[Path | str]) -> None:
    if not paths:
        raise ConfigError("nothing to ingest: no path given; name a folder or a file")
    for path in paths:
        if not os.path.lexists(path):
            raise ConfigError(f"{path} does not exist; name a folder or a file")
