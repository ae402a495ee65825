"""The index as a LlamaIndex vector store, for stock ``VectorStoreIndex`` and its retrievers.

Enters: nodes with embeddings, queries. Leaves: nodes with their similarity. It searches one leg at a time: fusing legs
is retrieval's work, so ``HYBRID`` is refused here and belongs to ``HybridRetriever``. This module knows nothing of the
engine beyond the Store contract. It imports LlamaIndex (a second); import it only where a vector store is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from rag_pipeline.errors import ConfigError, InputError, MismatchError
from rag_pipeline.filters import Condition, Filter, all_of, equalities, kind_of
from rag_pipeline.protocols import Store, TextEncoder
from rag_pipeline.store.metadata_filters import as_filter
from rag_pipeline.store.payload import node_of
from rag_pipeline.types import Point, Record, VectorValue

__all__ = ["RagVectorStore"]

_DOCUMENT = "document_id"
"""The key that LlamaIndex writes a node's document under, beside two others, and that the engine indexes."""


class RagVectorStore(BasePydanticVectorStore):
    """LlamaIndex's ``BasePydanticVectorStore`` over a :class:`~rag_pipeline.protocols.Store`.

    ``encoder`` gives the sparse vectors, of nodes that are added and of questions in ``SPARSE`` mode; without it only
    the dense leg is written and searched. Filters are those of ``metadata_filters.py``.
    """

    stores_text: bool = True
    flat_metadata: bool = False

    _store: Store = PrivateAttr()
    _encoder: TextEncoder | None = PrivateAttr()

    def __init__(self, store: Store, encoder: TextEncoder | None = None) -> None:
        super().__init__(stores_text=True)
        self._store = store
        self._encoder = encoder

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex serialises."""
        return "RagVectorStore"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return what holds without the index and the weights: the encoder's fingerprint, under ``model``."""
        return super().to_dict(**kwargs) | {"model": self._encoder.fingerprint if self._encoder else None}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> RagVectorStore:
        """Rebuild from :meth:`to_dict`; pass the open index again as ``store``, and the encoder where there was one.

        Raises:
            ConfigError: ``store`` or ``encoder`` was not passed.
            MismatchError: it is another encoder than the saved one.
        """
        saved, store = data.get("model"), kwargs.get("store")
        encoder: TextEncoder | None = kwargs.get("encoder")
        if store is None or (saved is not None and encoder is None):
            raise ConfigError("a saved RagVectorStore holds no index and no weights; pass store= and encoder=")
        if encoder is not None and saved is not None and saved != encoder.fingerprint:
            raise MismatchError(f"saved with encoder {saved!r}, got {encoder.fingerprint!r}; pass the saved one")
        return cls(store, encoder)

    @property
    def client(self) -> Store:
        """The store behind."""
        return self._store

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Write nodes with their embeddings, and return their ids.

        Raises:
            InputError: a node is no text node, has no embedding, or its id is no UUID.
        """
        points = []
        for node, vectors in zip(nodes, self._vectors_of(nodes), strict=True):
            payload = node_to_metadata_dict(node, flat_metadata=False)
            points.append(Point(node.node_id, vectors, {"text": node.get_content(MetadataMode.NONE)} | payload))
        self._store.upsert(points)
        metadata = (pair for node in nodes for pair in node.metadata.items())
        self._store.index_payload({key: kind for key, value in metadata if (kind := kind_of(value)) is not None})
        self._store.flush()
        self._store.optimize()
        return [point.id for point in points]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove all nodes of a document."""
        self._store.delete_where(equalities({_DOCUMENT: ref_doc_id}))
        self._store.flush()

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Remove the nodes of these ids that pass the filters; of either, where the other is not given.

        Raises:
            ConfigError: neither is given, or a filter has no counterpart in the engine.
        """
        wanted = all_of(_among("id", node_ids), as_filter(filters))
        if wanted is None:
            raise ConfigError("delete_nodes needs node_ids or filters, got neither; name what to delete")
        self._store.delete_where(wanted)
        self._store.flush()

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes by id, in that order, or all, ordered by id; with filters those that pass them.

        Raises:
            ConfigError: a filter has no counterpart in the engine.
        """
        if node_ids is not None and filters is None:
            records: Iterable[Record] = self._store.retrieve(node_ids)
        else:
            records = self._store.scroll(filters=all_of(_among("id", node_ids), as_filter(filters)))
        nodes: dict[str, BaseNode] = {record.id: node_of(record.id, record.payload) for record in records}
        return [nodes[key] for key in (nodes if node_ids is None else node_ids) if key in nodes]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the nearest nodes of the dense leg (``DEFAULT``) or the sparse leg (``SPARSE``).

        Raises:
            ConfigError: the mode or a filter is not supported, or what the mode needs is missing.
        """
        leg, vector = self._query_vector(query)
        filters = all_of(
            as_filter(query.filters), _among("id", query.node_ids or None), _among(_DOCUMENT, query.doc_ids or None)
        )
        hits = self._store.search({leg: vector}, query.similarity_top_k, filters=filters)[leg]
        payloads = {record.id: record.payload for record in self._store.retrieve([hit.id for hit in hits])}
        found = [hit for hit in hits if hit.id in payloads]
        return VectorStoreQueryResult(
            nodes=[node_of(hit.id, payloads[hit.id]) for hit in found],
            similarities=[hit.score for hit in found],
            ids=[hit.id for hit in found],
        )

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Like :meth:`add`, in a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Like :meth:`delete`, in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Like :meth:`query`, in a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Like :meth:`get_nodes`, in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def _vectors_of(self, nodes: Sequence[BaseNode]) -> list[dict[str, VectorValue]]:
        vectors: list[dict[str, VectorValue]] = []
        for node in nodes:
            if not isinstance(node, TextNode) or node.embedding is None:
                raise InputError(f"node {node.node_id} is no text node with an embedding; embed it before adding")
            vectors.append({"dense": np.asarray(node.embedding, dtype=np.float32)})
        if self._encoder is not None and nodes:
            texts = [node.get_content(MetadataMode.EMBED) for node in nodes]
            for row, sparse in zip(vectors, self._encoder.encode_passages(texts, truncate=True).sparse, strict=True):
                row["sparse"] = sparse
        return vectors

    def _query_vector(self, query: VectorStoreQuery) -> tuple[str, VectorValue]:
        if query.mode == VectorStoreQueryMode.DEFAULT:
            if query.query_embedding is None:
                raise ConfigError("mode 'default' needs query_embedding; embed the question first")
            return "dense", np.asarray(query.query_embedding, dtype=np.float32)
        if query.mode == VectorStoreQueryMode.SPARSE:
            if self._encoder is None or query.query_str is None:
                raise ConfigError("mode 'sparse' needs query_str and a RagVectorStore with an encoder; give both")
            return "sparse", self._encoder.encode_queries([query.query_str]).sparse[0]
        raise ConfigError(f"mode {query.mode.value!r} is not a single leg; use HybridRetriever, 'default' or 'sparse'")


def _among(key: str, values: list[str] | None) -> Filter | None:
    return None if values is None else Filter(all=(Condition(key, "in", tuple(values)),))
