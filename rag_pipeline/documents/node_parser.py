"""LlamaIndex's view of chunking: Documents -> TextNodes by title, each an exact slice of its Document's text.

Enters: LlamaIndex Documents, of ``FolderReader`` with their elements, of other readers as plain paragraphs. Leaves:
nodes that say of themselves what an index of ``RagPipeline`` says of its points. This module knows no engine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.node_parser.interface import NodeParser
from llama_index.core.schema import BaseNode, NodeRelationship, TextNode
from llama_index.core.schema import Document as LlamaDocument
from pydantic import Field

from rag_pipeline.documents.chunk import chunk_document, document_text
from rag_pipeline.errors import ConfigError
from rag_pipeline.types import Box, Chunk, Document, Element, SourceFile, chunk_id, document_id

__all__ = ["TitleNodeParser", "llama_document"]

_ELEMENTS = "elements"
"""Metadata key under which a Document carries its elements, without their texts, to the node parser."""
_HEADING = "heading_path"


class TitleNodeParser(NodeParser):
    """Cuts Documents by title within a token budget; those of other readers are taken as plain paragraphs.

    A node is embedded as ingestion embeds a chunk: heading path, then text; the Document's metadata goes with it and is
    not embedded, so that no node is longer than the budget. Ids come from the Document's id, the position and the text:
    of Documents that ``FolderReader`` read, they are the ids of ingestion.

    ``count_tokens`` must be the embedding model's own count, special tokens included. ``to_dict`` cannot keep it:
    ``from_dict(data, count_tokens=...)`` brings it back.
    """

    count_tokens: Callable[[Sequence[str]], list[int]] = Field(exclude=True)
    max_tokens: int = Field(default=256, ge=16)
    heading_tokens: int = Field(default=48, ge=0)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serialises this class."""
        return "TitleNodeParser"

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> TitleNodeParser:
        """Rebuild from ``to_dict``; pass the tokenizer's count again as ``count_tokens``.

        Raises:
            ConfigError: ``count_tokens`` was not passed.
        """
        if "count_tokens" not in kwargs:
            raise ConfigError("a saved TitleNodeParser holds no tokenizer; pass count_tokens=")
        # LlamaIndex writes the name of its id function, which it cannot read back; ids here come from content.
        kept = {name: value for name, value in data.items() if name != "id_func"}
        parser: TitleNodeParser = super().from_dict(kept, **kwargs)
        return parser

    def _parse_nodes(self, nodes: Sequence[BaseNode], show_progress: bool = False, **_: Any) -> list[BaseNode]:
        return [
            _node_of(chunk, node)
            for node in nodes
            for chunk in chunk_document(
                _document_of(node), self.count_tokens, max_tokens=self.max_tokens, heading_tokens=self.heading_tokens
            )
        ]

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, LlamaDocument]
    ) -> list[BaseNode]:
        """Remove what LlamaIndex copies: the Document's elements, and each node's metadata into its neighbours."""
        nodes = super()._postprocess_parsed_nodes(nodes, parent_doc_map)
        for node in nodes:
            node.metadata.pop(_ELEMENTS, None)
            for related in node.relationships.values():
                for one in related if isinstance(related, list) else [related]:
                    one.metadata = {}
        return nodes


def llama_document(document: Document) -> LlamaDocument:
    """Return a parsed file as a LlamaIndex Document that carries its elements to :class:`TitleNodeParser`."""
    metadata = {
        "path": str(document.source.path),
        "file_name": document.source.path.name,
        "media_type": document.media_type,
        "title": document.title,
        "language": document.language,
        _ELEMENTS: [
            {
                "length": len(element.text),
                "category": element.category,
                "page": element.page,
                "depth": element.depth,
                "html": element.html,
                "box": None if element.box is None else dataclasses.astuple(element.box),
            }
            for element in document.elements
        ],
    }
    return LlamaDocument(
        id_=document.source.document_id,
        text=document_text(document),
        metadata=metadata,
        excluded_embed_metadata_keys=list(metadata),
        excluded_llm_metadata_keys=[key for key in metadata if key not in ("path", "title")],
    )


def _document_of(node: BaseNode) -> Document:
    text = node.get_content()
    source = SourceFile(Path("/") / node.node_id, Path("/"), len(text), 0, hashlib.sha256(text.encode()).hexdigest())
    elements = []
    start = 0
    for kept in node.metadata.get(_ELEMENTS, ()):
        end = start + kept["length"]
        box = None if kept["box"] is None else Box(*kept["box"])
        elements.append(Element(text[start:end], kept["category"], kept["page"], kept["depth"], kept["html"], box))
        start = end + 2
    if not elements:
        paragraphs = (paragraph.strip() for paragraph in re.split(r"\n\s*\n", text))
        elements = [Element(paragraph, "NarrativeText") for paragraph in paragraphs if paragraph]
    title, language = (str(node.metadata.get(key, "")) for key in ("title", "language"))
    return Document(source, tuple(elements), title=title, language=language)


def _node_of(chunk: Chunk, parent: BaseNode) -> TextNode:
    spoken = {_HEADING: " > ".join(chunk.heading)} if chunk.heading else {}
    facts = chunk.metadata()
    return TextNode(
        id_=chunk_id(_uuid_of(parent.node_id), chunk.position, chunk.text),
        text=chunk.text,
        metadata=spoken | facts,
        metadata_template="{value}",
        text_template="{metadata_str}\n{content}",
        excluded_embed_metadata_keys=list(dict.fromkeys([*parent.metadata, *facts])),
        excluded_llm_metadata_keys=list(dict.fromkeys([*parent.excluded_llm_metadata_keys, *facts])),
        relationships={NodeRelationship.SOURCE: parent.as_related_node_info()},
    )


def _uuid_of(name: str) -> str:
    """Return the id of a Document as the UUID that engines want: itself where it is one."""
    try:
        return str(uuid.UUID(name))
    except ValueError:
        return document_id(hashlib.sha256(name.encode()).hexdigest())
