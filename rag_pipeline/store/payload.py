"""The payload of a point: what a chunk says about itself, in JSON, readable by LlamaIndex's own ``QdrantVectorStore``.

Enters: a chunk and the paths of its file. Leaves: a dict of JSON values, and from such a dict a LlamaIndex node. This
module knows nothing of vectors and of the engine. LlamaIndex costs a second to import, so functions import it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rag_pipeline.filters import IndexKind, kind_of
from rag_pipeline.types import Chunk, Facts, Record, SparseVector, VectorValue

if TYPE_CHECKING:
    from llama_index.core.schema import TextNode

__all__ = ["display_path", "exported", "fact_indexes", "moved_payload", "node_of", "payload_of", "storable"]

_SAID = ("tags", "meta", "date")
_SOURCE, _HEADING = "source", "heading_path"
"""Node metadata written for a model to read: "report.pdf, page 3" (LLM), and "A > B" (LLM and embedding)."""


def display_path(path: Path) -> str:
    r"""Return a path as storable text: bytes of a name that are not UTF-8 are written as ``\xNN``.

    >>> display_path(Path("/a/caf\udce9.txt"))
    '/a/caf\\xe9.txt'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def storable(text: str) -> str:
    r"""Return text that every store and stream takes: half characters, which some parsers yield, are written out.

    >>> storable("a\ud800b")
    'a\\ud800b'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def payload_of(
    chunk: Chunk, *, paths: Iterable[Path], media_type: str, title: str, facts: Facts | None = None
) -> dict[str, Any]:
    """Return the payload of a chunk's point; ``paths`` are all places of its document, of which the first is shown.

    ``facts`` is what is said of the document: ``date``, ``tags`` and, under ``meta``, its own keys.

    Raises:
        ValueError: ``paths`` is empty.
    """
    from llama_index.core.schema import NodeRelationship, ObjectType, RelatedNodeInfo, TextNode
    from llama_index.core.vector_stores.utils import node_to_metadata_dict

    details = {"title": title, "media_type": media_type, "figure": chunk.figure} | chunk.metadata()
    places, said = _places(paths), _said(facts or Facts())
    spoken = _spoken(places, chunk.pages[0] if chunk.pages else None, chunk.heading)
    node = TextNode(
        id_=chunk.id,
        text=chunk.text,
        metadata=spoken | places | details | said,
        # The templates make LlamaIndex embed a node exactly as the encoders saw the chunk: heading path, then text.
        metadata_template="{value}",
        text_template="{metadata_str}\n{content}",
        excluded_embed_metadata_keys=[_SOURCE, *places, *details, *_SAID],
        excluded_llm_metadata_keys=[*places, *details, *_SAID],
        relationships={
            NodeRelationship.SOURCE: RelatedNodeInfo(node_id=chunk.document_id, node_type=ObjectType.DOCUMENT)
        },
        start_char_idx=chunk.start,
        end_char_idx=chunk.end,
    )
    payload = node_to_metadata_dict(node, flat_metadata=False)
    return {"text": chunk.text} | {key: value for key, value in payload.items() if key not in spoken}


def moved_payload(payload: Mapping[str, object], paths: Iterable[Path], facts: Facts) -> dict[str, Any]:
    """Return the payload keys that change when the document of a point moves to ``paths``, or other facts hold.

    A key that goes is None.
    """
    changed = _places(paths) | _said(facts)
    node = json.loads(cast(str, payload["_node_content"]))
    metadata = node["metadata"]
    gone = dict.fromkeys(key for key in _SAID if key not in changed)
    kept = {key: value for key, value in metadata.items() if key not in gone}
    node["metadata"] = kept | changed | _spoken(changed, metadata["page"], metadata["heading"])
    return changed | gone | {"_node_content": json.dumps(node, ensure_ascii=False)}


def fact_indexes(facts: Facts) -> dict[str, IndexKind]:
    """Return the payload keys that hold a document's own keys, and what their values are."""
    kinds = ((key, kind_of(value)) for key, value in _said(facts)["meta"].items())
    return {f"meta.{key}": kind for key, kind in kinds if kind is not None}


def node_of(id: str, payload: Mapping[str, object]) -> TextNode:
    """Return the LlamaIndex node of a point; a payload without one becomes a node with the payload as its metadata."""
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores.utils import metadata_dict_to_node

    if "_node_content" not in payload:
        facts = {key: value for key, value in payload.items() if key != "text"}
        return TextNode(id_=id, text=str(payload.get("text", "")), metadata=facts)
    node = cast(TextNode, metadata_dict_to_node(dict(payload)))
    node.id_ = id
    return node


def exported(record: Record, *, vectors: bool) -> dict[str, object]:
    """Return a record as the JSON values of one line of ``rag export``; sparse vectors as indices and values."""
    line: dict[str, object] = {"id": record.id, "payload": dict(record.payload)}
    if vectors:
        line["vectors"] = {name: _listed(record.vectors[name]) for name in sorted(record.vectors)}
    return line


def _listed(value: VectorValue) -> object:
    if isinstance(value, SparseVector):
        return {"indices": value.indices.tolist(), "values": value.values.tolist()}
    return value.tolist()


def _places(paths: Iterable[Path]) -> dict[str, Any]:
    shown = sorted(display_path(path) for path in paths)
    if not shown:
        raise ValueError("a document needs at least one path")
    return {"path": shown[0], "paths": shown, "file_name": shown[0].rpartition("/")[2]}


def _said(facts: Facts) -> dict[str, Any]:
    meta = {key: list(value) if isinstance(value, tuple) else value for key, value in facts.meta.items()}
    return {"tags": list(facts.tags), "meta": meta} | ({"date": facts.date} if facts.date else {})


def _spoken(places: Mapping[str, Any], page: int | None, heading: Sequence[str]) -> dict[str, str]:
    source = places["path"] if page is None else f"{places['path']}, page {page}"
    return {_SOURCE: source} | ({_HEADING: " > ".join(heading)} if heading else {})
