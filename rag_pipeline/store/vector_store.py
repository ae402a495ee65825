"""The index as a LlamaIndex vector store, for stock ``VectorStoreIndex`` and its retrievers.

Enters: nodes with embeddings, queries. Leaves: nodes with their similarity. It searches one leg at a time: fusing legs
is retrieval's work, so ``HYBRID`` is refused here and belongs to ``HybridRetriever``. This module knows nothing of the
engine beyond the Store contract. It imports LlamaIndex (a second); import it only where a vector store is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import node_to_metadata_dict

from rag_pipeline.errors import ConfigError, InputError
from rag_pipeline.protocols import Store, TextEncoder
from rag_pipeline.store.payload import node_of
from rag_pipeline.types import Point, VectorValue

__all__ = ["RagVectorStore"]


class RagVectorStore(BasePydanticVectorStore):
    """LlamaIndex's ``BasePydanticVectorStore`` over a :class:`~rag_pipeline.protocols.Store`.

    ``encoder`` gives the sparse vectors, of nodes that are added and of questions in ``SPARSE`` mode; without it only
    the dense leg is written and searched. Filters are equalities that must all hold.
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
        self._store.flush()
        self._store.optimize()
        return [point.id for point in points]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove all nodes of a document. Reads every point: the Store contract has no search by payload alone."""
        self._delete({"ref_doc_id": ref_doc_id})

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Remove nodes by id, or by filters where no ids are given.

        Raises:
            ConfigError: neither is given, or a filter is not an equality.
        """
        if node_ids is not None:
            self._store.delete(node_ids)
            self._store.flush()
        elif wanted := _equalities(filters):
            self._delete(wanted)
        else:
            raise ConfigError("delete_nodes needs node_ids or filters, got neither; name what to delete")

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes by id, in that order, or all that pass the filters, ordered by id."""
        wanted = _equalities(filters)
        records = self._store.scroll() if node_ids is None else self._store.retrieve(node_ids)
        return [node_of(record.id, record.payload) for record in records if _passes(record.payload, wanted)]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the nearest nodes of the dense leg (``DEFAULT``) or the sparse leg (``SPARSE``).

        Raises:
            ConfigError: the mode or a filter is not supported, or what the mode needs is missing.
        """
        leg, vector = self._query_vector(query)
        filters = _equalities(query.filters)
        if query.node_ids:
            raise ConfigError(f"a query cannot be limited to {len(query.node_ids)} node ids; use filters or get_nodes")
        if query.doc_ids:
            if len(query.doc_ids) > 1:
                raise ConfigError(f"a query can be limited to one document, got {len(query.doc_ids)}; ask one by one")
            filters["document_id"] = query.doc_ids[0]
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

    def _delete(self, wanted: Mapping[str, str | int]) -> None:
        self._store.delete([record.id for record in self._store.scroll() if _passes(record.payload, wanted)])
        self._store.flush()

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


def _equalities(filters: MetadataFilters | None) -> dict[str, str | int]:
    wanted: dict[str, str | int] = {}
    if filters is None:
        return wanted
    if filters.condition not in (FilterCondition.AND, None):
        raise ConfigError(f"filters can be joined by 'and' only, got {filters.condition.value!r}; ask separately")
    for one in filters.filters:
        if not isinstance(one, MetadataFilter) or one.operator != FilterOperator.EQ or one.key in wanted:
            raise ConfigError(f"filters are one equality for each key, got {one}; ask separately")
        if not isinstance(one.value, str | int):
            raise ConfigError(f"filter {one.key} compares with text or a whole number, got {one.value!r}; correct it")
        wanted[one.key] = one.value
    return wanted


def _passes(payload: Mapping[str, object], wanted: Mapping[str, str | int]) -> bool:
    for key, value in wanted.items():
        held = payload.get(key)
        if value not in held if isinstance(held, list) else value != held:
            return False
    return True
