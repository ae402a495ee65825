import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from rag_pipeline.errors import ConfigError, InputError
from rag_pipeline.store.edge import EdgeStore
from rag_pipeline.store.payload import payload_of
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.store.vector_store import RagVectorStore
from rag_pipeline.types import Chunk, Point, document_id
from tests.fakes import HashEncoder

ENCODER = HashEncoder()
TEXTS = ["the warranty lasts two years", "a battery needs two cells", "the garden opens at nine"]


class HashEmbedding(BaseEmbedding):
    """LlamaIndex's interface over the encoder of the fakes."""

    def _get_query_embedding(self, query: str) -> list[float]:
        return ENCODER.encode_queries([query]).dense[0].tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return ENCODER.encode_passages([text]).dense[0].tolist()


def node(number: int, document: str = "d1", **metadata: Any) -> TextNode:
    return TextNode(
        id_=str(uuid.UUID(int=number)),
        text=TEXTS[number % len(TEXTS)],
        metadata=metadata,
        embedding=ENCODER.encode_passages([TEXTS[number % len(TEXTS)]]).dense[0].tolist(),
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)},
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    schema = replace(CollectionSchema.of(dense_dim=ENCODER.dim, sparse_idf=False), indexes={"page": "integer"})
    made_by = Fingerprint(text=ENCODER.fingerprint, sparse="", image="", chunking="")
    with EdgeStore.open(tmp_path, schema, made_by, create=True) as opened:
        yield opened


@pytest.fixture
def vectors(store: EdgeStore) -> RagVectorStore:
    made = RagVectorStore(store, ENCODER)
    made.add([node(0, "d1", page=1, tags=["a", "b"]), node(1, "d1", page=2, tags=["b"]), node(2, "d2", page=1)])
    return made


def ask(text: str, mode: VectorStoreQueryMode = VectorStoreQueryMode.DEFAULT, **rest: Any) -> VectorStoreQuery:
    embedding = ENCODER.encode_queries([text]).dense[0].tolist()
    return VectorStoreQuery(query_embedding=embedding, query_str=text, similarity_top_k=3, mode=mode, **rest)


def equal(**pairs: str | int) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value) for key, value in pairs.items()])


def test_a_stock_index_retrieves_what_ingestion_wrote(store: EdgeStore) -> None:
    chunks = [Chunk(document_id("00" * 32), n, text, 0, len(text)) for n, text in enumerate(TEXTS)]
    encoded = ENCODER.encode_passages(TEXTS)
    store.upsert(
        [
            Point(
                chunk.id,
                {"dense": encoded.dense[n], "sparse": encoded.sparse[n]},
                payload_of(chunk, paths=[Path(f"/{n}.txt")], media_type="text/plain", title=""),
            )
            for n, chunk in enumerate(chunks)
        ]
    )
    index = VectorStoreIndex.from_vector_store(RagVectorStore(store), embed_model=HashEmbedding())
    retriever = index.as_retriever(similarity_top_k=2)
    best, _ = retriever.retrieve("two cells battery")
    assert best.node.get_content() == "a battery needs two cells"
    assert best.node.metadata["path"] == "/1.txt"
    assert asyncio.run(retriever.aretrieve("two cells battery"))[0].node_id == chunks[1].id


def test_a_stock_index_inserts_and_deletes(store: EdgeStore) -> None:
    index = VectorStoreIndex.from_vector_store(RagVectorStore(store, ENCODER), embed_model=HashEmbedding())
    fresh = node(0, "d9")
    fresh.embedding = None
    index.insert_nodes([fresh])
    assert store.count() == 1
    index.delete_ref_doc("d9")
    assert store.count() == 0


def test_the_modes_search_one_leg_each(vectors: RagVectorStore) -> None:
    dense = vectors.query(ask("warranty years"))
    sparse = vectors.query(ask("warranty years", VectorStoreQueryMode.SPARSE))
    assert dense.ids is not None
    assert dense.ids[0] == str(uuid.UUID(int=0))
    assert len(dense.ids) == 3
    assert sparse.ids == [str(uuid.UUID(int=0))], "no other text has a common word"
    assert sparse.similarities == [2.0], "two words, each of weight 1 in question and text"
    assert sparse.nodes is not None
    assert sparse.nodes[0].metadata == {"page": 1, "tags": ["a", "b"]}


@pytest.mark.parametrize("mode", [VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.MMR])
def test_other_modes_are_refused_with_the_way_out(vectors: RagVectorStore, mode: VectorStoreQueryMode) -> None:
    with pytest.raises(ConfigError, match="HybridRetriever"):
        vectors.query(ask("x", mode))


def test_sparse_needs_an_encoder(store: EdgeStore) -> None:
    with pytest.raises(ConfigError, match="encoder"):
        RagVectorStore(store).query(ask("x", VectorStoreQueryMode.SPARSE))


def test_a_stock_retriever_filters(vectors: RagVectorStore) -> None:
    index = VectorStoreIndex.from_vector_store(vectors, embed_model=HashEmbedding())

    def found(
        *filters: MetadataFilter | MetadataFilters, condition: FilterCondition = FilterCondition.AND
    ) -> list[int]:
        wanted = MetadataFilters(filters=list(filters), condition=condition)
        nodes = index.as_retriever(similarity_top_k=9, filters=wanted).retrieve("the")
        return sorted(uuid.UUID(node.node_id).int for node in nodes)

    page, tags = MetadataFilter(key="page", value=1), MetadataFilter(key="tags", value="b")
    assert found(page) == [0, 2]
    assert found(page, tags) == [0]
    assert found(page, tags, condition=FilterCondition.OR) == [0, 1, 2]
    assert found(page, condition=FilterCondition.NOT) == [1]
    assert found(MetadataFilter(key="page", value=1, operator=FilterOperator.GT)) == [1]
    assert found(MetadataFilter(key="page", value=1.5)) == []
    assert found(MetadataFilter(key="tags", value=None, operator=FilterOperator.IS_EMPTY)) == [2]
    assert found(tags, MetadataFilters(filters=[page], condition=FilterCondition.NOT)) == [1]
    with pytest.raises(ConfigError, match="no passage has the key 'pages'"):
        found(MetadataFilter(key="pages", value=1))


def test_a_query_can_be_limited_to_documents_and_nodes(vectors: RagVectorStore) -> None:
    assert vectors.query(ask("the", doc_ids=["d2"])).ids == [str(uuid.UUID(int=2))]
    assert len(vectors.query(ask("the", doc_ids=["d1", "d2"])).ids or []) == 3
    one = [str(uuid.UUID(int=1))]
    assert vectors.query(ask("the", node_ids=one)).ids == one
    assert vectors.query(ask("the", node_ids=one, doc_ids=["d2"])).ids == []
    assert len(vectors.query(ask("the", node_ids=[], doc_ids=[])).ids or []) == 3, "empty lists limit nothing"


def test_nodes_are_read_and_removed(vectors: RagVectorStore) -> None:
    ids = [str(uuid.UUID(int=n)) for n in (2, 0)]
    assert [n.node_id for n in vectors.get_nodes(ids)] == ids
    assert [n.node_id for n in vectors.get_nodes(ids, filters=equal(tags="a"))] == ids[1:]
    assert [n.node_id for n in vectors.get_nodes(filters=equal(page=1))] == ids[::-1]
    vectors.delete("d1")
    assert [n.node_id for n in vectors.get_nodes()] == [str(uuid.UUID(int=2))]
    for nothing in (None, MetadataFilters(filters=[])):
        with pytest.raises(ConfigError, match="name what to delete"):
            vectors.delete_nodes(filters=nothing)
    vectors.delete_nodes([str(uuid.UUID(int=2))], filters=equal(page=2))
    assert len(vectors.get_nodes()) == 1, "it is not on that page"
    vectors.delete_nodes(filters=equal(page=1))
    assert vectors.get_nodes() == []


def test_the_asynchronous_face_is_the_same(vectors: RagVectorStore) -> None:
    async def walk() -> tuple[list[str], int, int]:
        added = await vectors.async_add([node(3, "d3")])
        found = await vectors.aquery(ask("warranty years"))
        await vectors.adelete("d3")
        return added, len(found.ids or []), len(await vectors.aget_nodes())

    assert asyncio.run(walk()) == ([str(uuid.UUID(int=3))], 3, 3)


def test_a_node_that_cannot_be_written_is_named(vectors: RagVectorStore) -> None:
    with pytest.raises(InputError, match="embed it"):
        vectors.add([TextNode(id_=str(uuid.UUID(int=9)), text="x")])
    unnamed = node(1)
    unnamed.id_ = "my-node"
    with pytest.raises(InputError, match="UUID"):
        vectors.add([unnamed])


def test_it_is_llama_indexs_kind(vectors: RagVectorStore, store: EdgeStore) -> None:
    assert vectors.class_name() == "RagVectorStore"
    assert vectors.stores_text
    assert not vectors.flat_metadata
    assert vectors.client is store
