"""LlamaIndex's view of this room: a reader of folders and a node parser by title.

Enters: a folder, or LlamaIndex Documents. Leaves: one Document for each file, and TextNodes. Both are thin: files are
found, parsed and chunked by the other modules here. Pictures have no place in a LlamaIndex Document of text and are
left out; ``RagPipeline`` keeps them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.node_parser.interface import NodeParser
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import BaseNode, NodeRelationship, TextNode
from llama_index.core.schema import Document as LlamaDocument
from pydantic import Field

from rag_pipeline.documents.chunk import chunk_document, document_text
from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.documents.workers import ParsePool
from rag_pipeline.types import Box, Document, Element, SourceFile

__all__ = ["FolderReader", "TitleNodeParser"]

logger = logging.getLogger(__name__)

_ELEMENTS = "elements"
"""Metadata key under which a Document carries its elements, without their texts, to the node parser."""


class FolderReader(BaseReader):
    """Reads a folder into one Document a file, in the order of paths. Files that cannot be read are logged."""

    def __init__(self, *, workers: int = 1, timeout_s: float = 120.0, memory_mb: int = 4096) -> None:
        self._workers = workers
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb

    def load_data(self, folder: Path | str, **_: Any) -> list[LlamaDocument]:
        """Read every file of ``folder``.

        Raises:
            InputError: there is no such folder.
        """
        discovery = discover([Path(folder)])
        for refused in discovery.refused:
            logger.warning("skipped %s: %s", refused.path, refused.reason)
        found = []
        with ParsePool(self._workers, self._timeout_s, self._memory_mb) as pool:
            for source, outcome in pool.parse_all(read_source(one) for one in discovery.files):
                if not isinstance(outcome, Document):
                    logger.warning("skipped %s: %s", source.path, outcome)
                elif outcome.elements:
                    found.append(_to_llama(outcome))
        return sorted(found, key=lambda document: str(document.metadata["path"]))


class TitleNodeParser(NodeParser):
    """Cuts Documents by title within a token budget; those of other readers are taken as plain paragraphs.

    ``count_tokens`` must be the embedding model's own count, special tokens included.
    """

    count_tokens: Callable[[Sequence[str]], list[int]] = Field(exclude=True)
    max_tokens: int = Field(default=256, ge=16)
    heading_tokens: int = Field(default=48, ge=0)

    @classmethod
    def class_name(cls) -> str:
        """Name under which LlamaIndex serialises this class."""
        return "TitleNodeParser"

    def _parse_nodes(self, nodes: Sequence[BaseNode], show_progress: bool = False, **_: Any) -> list[BaseNode]:
        parsed: list[BaseNode] = []
        for node in nodes:
            chunks = chunk_document(
                _from_llama(node), self.count_tokens, max_tokens=self.max_tokens, heading_tokens=self.heading_tokens
            )
            for chunk in chunks:
                metadata = {"heading": list(chunk.heading), "pages": list(chunk.pages), "tables": list(chunk.tables)}
                parsed.append(
                    TextNode(
                        id_=chunk.id,
                        text=chunk.text,
                        metadata=metadata,
                        excluded_embed_metadata_keys=["pages", "tables"],
                        excluded_llm_metadata_keys=["tables"],
                        relationships={NodeRelationship.SOURCE: node.as_related_node_info()},
                    )
                )
        return parsed

    def _postprocess_parsed_nodes(
        self, nodes: list[BaseNode], parent_doc_map: dict[str, LlamaDocument]
    ) -> list[BaseNode]:
        """Keep the elements, which LlamaIndex copies from the Document, out of every node."""
        nodes = super()._postprocess_parsed_nodes(nodes, parent_doc_map)
        for node in nodes:
            node.metadata.pop(_ELEMENTS, None)
        return nodes


def _to_llama(document: Document) -> LlamaDocument:
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


def _from_llama(node: BaseNode) -> Document:
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
    return Document(source, tuple(elements), title=str(node.metadata.get("title", "")))
