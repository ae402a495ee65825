"""Nodes for LlamaIndex: exact slices that are embedded as ingestion embeds them, under the same ids."""

from __future__ import annotations

import json

import pytest
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import MetadataMode, NodeRelationship

from rag_pipeline.documents.chunk import chunk_document
from rag_pipeline.documents.node_parser import TitleNodeParser, llama_document
from rag_pipeline.errors import ConfigError
from rag_pipeline.types import Box, Element
from tests.documents.sources import document_of, words

DOCUMENT = document_of(
    Element("Pump", "Title", page=2, depth=0),
    Element("It turns.", "NarrativeText", page=2, box=Box(2, 0.1, 0.2, 0.3, 0.4)),
    Element("Warranty", "Title", page=3, depth=1),
    Element("It turns for two whole years, or else you write to us.", "NarrativeText", page=3),
    title="Manual",
)


def parser() -> TitleNodeParser:
    return TitleNodeParser(count_tokens=words, max_tokens=16, heading_tokens=6)


def test_a_node_is_the_chunk_that_ingestion_makes() -> None:
    chunks = chunk_document(DOCUMENT, words, max_tokens=16, heading_tokens=6)
    nodes = parser().get_nodes_from_documents([llama_document(DOCUMENT)])
    assert len(chunks) == 2
    assert [node.node_id for node in nodes] == [chunk.id for chunk in chunks]
    assert [node.get_content(MetadataMode.EMBED) for node in nodes] == [chunk.embed_text for chunk in chunks]
    assert [node.get_content() for node in nodes] == [chunk.text for chunk in chunks]
    text = llama_document(DOCUMENT).text
    for node, chunk in zip(nodes, chunks, strict=True):
        assert text[node.metadata["start"] : node.metadata["end"]] == node.get_content()
        assert node.metadata["page"] == chunk.pages[0]
        assert node.metadata["path"] == "/a.txt"
        assert "elements" not in node.metadata


def test_neighbours_are_known_by_their_ids_alone() -> None:
    """LlamaIndex copies each node's metadata into its neighbours, and all of it would be stored."""
    document = llama_document(DOCUMENT)
    first, second = parser().get_nodes_from_documents([document])
    assert first.next_node is not None
    assert first.next_node.node_id == second.node_id
    assert second.prev_node is not None
    assert second.prev_node.node_id == first.node_id
    assert first.ref_doc_id == second.ref_doc_id == document.doc_id
    for node in (first, second):
        assert all(not related.metadata for related in node.relationships.values())  # type: ignore[union-attr]


def test_metadata_of_another_readers_document_go_along_unembedded() -> None:
    text = "One paragraph of a few words.\n\nAnother paragraph of words."
    (node,) = parser()([LlamaDocument(text=text, id_="report-7", metadata={"author": "Ada Lovelace"})])
    assert node.get_content() == text
    assert node.metadata["author"] == "Ada Lovelace"
    assert node.get_content(MetadataMode.EMBED) == text
    assert "Ada Lovelace" in node.get_content(MetadataMode.LLM)
    assert node.relationships[NodeRelationship.SOURCE].node_id == "report-7"  # type: ignore[union-attr]


def test_ids_come_from_the_documents_id_and_the_text() -> None:
    def ids(*documents: LlamaDocument) -> list[str]:
        return [node.node_id for node in parser().get_nodes_from_documents(list(documents))]

    one = LlamaDocument(text="The same words.", id_="a")
    other = LlamaDocument(text="The same words.", id_="b")
    assert ids(one) == ids(one)
    assert len(set(ids(one, other))) == 2, "two Documents of one text are two nodes"


def test_it_is_saved_without_the_tokenizer_and_comes_back_with_it() -> None:
    made = parser()
    assert isinstance(made, NodeParser)
    saved = json.loads(json.dumps(made.to_dict()))
    assert saved["class_name"] == "TitleNodeParser"
    again = TitleNodeParser.from_dict(saved, count_tokens=words)
    assert again.get_nodes_from_documents([llama_document(DOCUMENT)]) == made.get_nodes_from_documents(
        [llama_document(DOCUMENT)]
    )
    assert (again.max_tokens, again.heading_tokens) == (16, 6)
    with pytest.raises(ConfigError, match="pass count_tokens="):
        TitleNodeParser.from_dict(saved)
