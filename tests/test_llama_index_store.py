"""Our store, reader, node parser and embeddings inside stock LlamaIndex, and LlamaIndex's own Qdrant store over our
points. The compact profile's true weights encode.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import Document, NodeRelationship, TextNode
from llama_index.core.vector_stores.types import BasePydanticVectorStore

from rag_pipeline import ConfigError, MismatchError, RagPipeline
from rag_pipeline.retrieval.retriever import HybridRetriever
from rag_pipeline.store.vector_store import RagVectorStore
from tests.fakes import HashEncoder
from tests.otter import OFFICE, WARRANTY
from tests.test_llama_index import names

REPORT = "The audit of 2031 found eleven leaks.\n\nAll of them were in the north wing of the old harbour building."


@pytest.fixture
def rag(otter_index: RagPipeline) -> RagPipeline:
    return otter_index


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[RagPipeline]:
    """A pipeline over an index without points."""
    with RagPipeline.from_config(index=tmp_path / "rag") as made:
        made.open_store(create=True)
        yield made


# ------------------------------------------------------------------------------- VectorStoreIndex


def test_a_stock_index_inserts_queries_and_deletes(empty: RagPipeline) -> None:
    index = VectorStoreIndex.from_vector_store(
        empty.vector_store, embed_model=empty.embed_model, transformations=[empty.node_parser]
    )
    index.insert(Document(text=REPORT, id_="report-7", metadata={"author": "Ada Lovelace"}))
    index.insert(Document(text="The canteen serves soup.", id_="menu"))
    (best,) = index.as_retriever(similarity_top_k=1).retrieve("How many leaks were there?")
    assert best.node.get_content() == REPORT
    assert best.node.metadata["author"] == "Ada Lovelace"
    assert best.node.ref_doc_id == "report-7"
    hit = empty.search("how many leaks?", top_k=1)[0]
    assert (hit.id, hit.text) == (best.node.node_id, REPORT), "our own search finds it, too"
    assert "sparse" in hit.legs, "and by its words"
    index.delete_ref_doc("report-7")
    assert [node.ref_doc_id for node in empty.vector_store.get_nodes()] == ["menu"]


# ------------------------------------------------------------------------------ IngestionPipeline


def test_a_stock_pipeline_of_our_parts_makes_the_points_of_ingestion(
    rag: RagPipeline, empty: RagPipeline, otter_folder: Path
) -> None:
    pipeline = IngestionPipeline(
        transformations=[empty.node_parser, empty.embed_model], vector_store=empty.vector_store
    )
    pipeline.run(documents=empty.reader.load_data(otter_folder))
    ours = {row["id"]: row for row in rag.export(vectors=True)}
    theirs: dict[Any, dict[str, Any]] = {row["id"]: row for row in empty.export(vectors=True)}
    assert set(theirs) == set(ours)
    for id_, row in theirs.items():
        for leg, vector in row["vectors"].items():
            made: Any = ours[id_]["vectors"][leg]  # type: ignore[index]
            if leg == "sparse":
                assert vector == made
            else:
                np.testing.assert_allclose(vector, made, atol=1e-6)
        payload: Any = ours[id_]["payload"]
        for key in ("text", "path", "title", "heading", "page", "start", "end", "language", "document_id"):
            assert row["payload"][key] == payload[key], key
    assert empty.ask(WARRANTY).citations[0].quote == rag.ask(WARRANTY).citations[0].quote


# -------------------------------------------------------------------- LlamaIndex's QdrantVectorStore


def test_llama_indexs_own_qdrant_store_reads_our_points(rag: RagPipeline) -> None:
    """An export goes into a Qdrant collection of the same schema, as a migration to a server would write it."""
    qdrant = pytest.importorskip("qdrant_client", reason="LlamaIndex's Qdrant store is a development dependency")
    stores = pytest.importorskip("llama_index.vector_stores.qdrant")
    models = qdrant.models
    client = qdrant.QdrantClient(":memory:")
    client.create_collection(
        "rag",
        vectors_config={"dense": models.VectorParams(size=384, distance=models.Distance.COSINE)},
        sparse_vectors_config={"sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    rows: list[dict[str, Any]] = list(rag.export(vectors=True))
    client.upsert(
        "rag",
        [
            models.PointStruct(
                id=row["id"],
                payload=row["payload"],
                vector={
                    "dense": row["vectors"]["dense"],
                    "sparse": models.SparseVector(**row["vectors"]["sparse"]),
                },
            )
            for row in rows
        ],
    )
    theirs = stores.QdrantVectorStore(collection_name="rag", client=client, dense_vector_name="dense")
    ours = {node.node_id: node for node in rag.vector_store.get_nodes()}
    read = {node.node_id: node for node in theirs.get_nodes(node_ids=list(ours))}
    assert set(read) == set(ours)
    for id_, node in read.items():
        assert isinstance(node, TextNode)
        assert node.get_content() == ours[id_].get_content()
        assert node.metadata == ours[id_].metadata
        assert node.relationships == ours[id_].relationships
        assert node.relationships[NodeRelationship.SOURCE].node_id == node.metadata.get("document_id", node.ref_doc_id)
    index = VectorStoreIndex.from_vector_store(theirs, embed_model=rag.embed_model)
    for question, name in ((WARRANTY, "warranty.md"), (OFFICE, "office.md")):
        assert names(index.as_retriever(similarity_top_k=1).retrieve(question)) == [name]
    client.close()


# ------------------------------------------------------------------------------------ saved parts


def test_every_part_comes_back_from_its_saved_form(rag: RagPipeline) -> None:
    def again(part: Any, **models: Any) -> Any:
        return type(part).from_dict(json.loads(json.dumps(part.to_dict())), **models)

    retriever = again(rag.retriever, store=rag.open_store(), encoder=rag.encoder)
    assert isinstance(retriever, BaseRetriever)
    assert [node.node_id for node in retriever.retrieve(WARRANTY)] == [
        node.node_id for node in rag.retriever.retrieve(WARRANTY)
    ]
    store = again(rag.vector_store, store=rag.open_store(), encoder=rag.encoder)
    assert isinstance(store, BasePydanticVectorStore)
    assert len(store.get_nodes()) == len(rag.vector_store.get_nodes())
    embedding = again(rag.embed_model, encoder=rag.encoder)
    assert embedding.get_query_embedding(OFFICE) == rag.embed_model.get_query_embedding(OFFICE)
    assert rag.reranker is not None
    reranker = again(rag.reranker, reranker=rag.cross_encoder)
    assert reranker.to_dict() == rag.reranker.to_dict()
    assert again(rag.node_parser, count_tokens=rag.encoder.count_tokens).to_dict() == rag.node_parser.to_dict()
    assert again(rag.reader) == rag.reader


def test_saved_parts_refuse_other_models(rag: RagPipeline) -> None:
    saved = rag.retriever.to_dict()
    assert saved["class_name"] == "HybridRetriever"
    with pytest.raises(ConfigError, match="pass store= and encoder="):
        HybridRetriever.from_dict(saved)
    with pytest.raises(MismatchError, match="got 'hash-words-256'"):
        HybridRetriever.from_dict(saved, store=rag.open_store(), encoder=HashEncoder())
    saved = rag.vector_store.to_dict()
    with pytest.raises(ConfigError, match="pass store= and encoder="):
        RagVectorStore.from_dict(saved)
    with pytest.raises(MismatchError, match="got 'hash-words-256'"):
        RagVectorStore.from_dict(saved, store=rag.open_store(), encoder=HashEncoder())


def test_a_stock_storage_context_takes_our_store(empty: RagPipeline) -> None:
    context = StorageContext.from_defaults(vector_store=empty.vector_store)
    index = VectorStoreIndex.from_documents(
        [Document(text=REPORT, id_="report-7")],
        storage_context=context,
        embed_model=empty.embed_model,
        transformations=[empty.node_parser],
    )
    found = asyncio.run(index.as_retriever(similarity_top_k=1).aretrieve("north wing"))
    assert found[0].node.ref_doc_id == "report-7"
