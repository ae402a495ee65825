import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from llama_index.core.schema import MetadataMode, NodeRelationship, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node

from rag_pipeline.store.payload import display_path, exported, fact_indexes, moved_payload, node_of, payload_of
from rag_pipeline.types import Box, Chunk, Facts, Place, Record, SparseVector, document_id

DOCUMENT = document_id("ab" * 32)
CHUNK = Chunk(
    document_id=DOCUMENT,
    position=3,
    text="Write to us within 30 days.",
    start=100,
    end=127,
    heading=("Warranty", "Claims"),
    places=(Place(100, 110, 4, Box(4, 0.1, 0.2, 0.9, 1 / 3)), Place(112, 127, 5)),
    categories=("NarrativeText",),
    tables=("<table></table>",),
    tokens=12,
    language="en",
    gap="\n\n",
)
PATHS = [Path("/docs/policy.pdf"), Path("/archive/old.pdf")]


def payload() -> dict[str, object]:
    return payload_of(CHUNK, paths=PATHS, media_type="application/pdf", title="Policy")


def test_the_payload_holds_the_keys_of_the_contract() -> None:
    made = payload()
    node = made.pop("_node_content")
    assert isinstance(node, str)
    assert made == {
        "text": "Write to us within 30 days.",
        "path": "/archive/old.pdf",
        "paths": ["/archive/old.pdf", "/docs/policy.pdf"],
        "file_name": "old.pdf",
        "media_type": "application/pdf",
        "title": "Policy",
        "page": 4,
        "pages": [4, 5],
        "heading": ["Warranty", "Claims"],
        "categories": ["NarrativeText"],
        "places": [[100, 110, 4, 0.1, 0.2, 0.9, 0.3333], [112, 127, 5]],
        "tables": ["<table></table>"],
        "position": 3,
        "start": 100,
        "end": 127,
        "gap": "\n\n",
        "tokens": 12,
        "language": "en",
        "kind": "text",
        "figure": None,
        "tags": [],
        "meta": {},
        "document_id": DOCUMENT,
        "doc_id": DOCUMENT,
        "ref_doc_id": DOCUMENT,
        "_node_type": "TextNode",
    }


def test_the_payload_is_json_only() -> None:
    made = payload()
    assert json.loads(json.dumps(made)) == made


def test_llama_index_reads_the_payload_as_its_own() -> None:
    node = metadata_dict_to_node(payload())
    assert isinstance(node, TextNode)
    assert node.node_id == CHUNK.id
    assert node.text == CHUNK.text
    assert node.ref_doc_id == DOCUMENT
    assert node.relationships[NodeRelationship.SOURCE].node_id == DOCUMENT
    assert node.metadata["page"] == 4
    assert node.metadata["heading"] == ["Warranty", "Claims"]
    assert node.metadata["places"] == [[100, 110, 4, 0.1, 0.2, 0.9, 0.3333], [112, 127, 5]]
    assert (node.start_char_idx, node.end_char_idx) == (100, 127)


def test_a_node_is_embedded_as_the_chunk_was() -> None:
    assert node_of(CHUNK.id, payload()).get_content(MetadataMode.EMBED) == CHUNK.embed_text
    bare = replace(CHUNK, heading=())
    made = payload_of(bare, paths=PATHS, media_type="", title="")
    assert node_of(bare.id, made).get_content(MetadataMode.EMBED) == "Write to us within 30 days."


def test_a_language_model_sees_path_page_and_heading_and_no_more() -> None:
    seen = node_of(CHUNK.id, payload()).get_content(MetadataMode.LLM)
    assert seen == "/archive/old.pdf, page 4\nWarranty > Claims\nWrite to us within 30 days."


def test_a_figure_says_so() -> None:
    figure = replace(CHUNK, figure="ff" * 32, places=())
    made = payload_of(figure, paths=PATHS, media_type="", title="")
    assert (made["kind"], made["figure"], made["page"], made["pages"]) == ("figure", "ff" * 32, None, [])


def test_moving_a_document_gives_the_payload_it_would_have_had_there() -> None:
    moved_to, facts = [Path("/new/name.pdf")], Facts("2024-03-01", ("a",), {"author": "Ann"})
    there = payload_of(CHUNK, paths=moved_to, media_type="application/pdf", title="Policy", facts=facts)
    moved = moved_payload(payload(), moved_to, facts)
    assert payload() | moved == there
    assert set(moved) == {"path", "paths", "file_name", "date", "tags", "meta", "_node_content"}
    back = there | moved_payload(there, PATHS, Facts())
    assert back == payload() | {"date": None}, "and back: nothing stays of what was said"


def test_what_is_said_of_a_document_is_payload_and_never_embedded() -> None:
    facts = Facts("2024-03-01", ("finance", "q1"), {"author": "Ann", "size": 3, "share": 0.5, "seen_by": ("a", "b")})
    made = payload_of(CHUNK, paths=PATHS, media_type="", title="", facts=facts)
    meta = {"author": "Ann", "size": 3, "share": 0.5, "seen_by": ["a", "b"]}
    assert (made["date"], made["tags"], made["meta"]) == ("2024-03-01", ["finance", "q1"], meta)
    node = node_of(CHUNK.id, made)
    assert node.metadata["meta"] == meta
    assert node.get_content(MetadataMode.EMBED) == CHUNK.embed_text
    assert "Ann" not in node.get_content(MetadataMode.LLM)
    assert fact_indexes(facts) == {
        "meta.author": "keyword",
        "meta.size": "integer",
        "meta.share": "float",
        "meta.seen_by": "keyword",
    }


def test_a_name_that_is_not_unicode_can_be_stored() -> None:
    made = payload_of(CHUNK, paths=[Path("/a/caf\udce9.txt")], media_type="", title="")
    assert made["path"] == "/a/caf\\xe9.txt"
    json.dumps(made).encode()
    assert display_path(Path("/a/ж\n.txt")) == "/a/ж\n.txt"


def test_a_payload_without_a_node_becomes_one() -> None:
    node = node_of(CHUNK.id, {"text": "Hello.", "path": "d1"})
    assert (node.node_id, node.text, node.metadata) == (CHUNK.id, "Hello.", {"path": "d1"})


def test_a_record_is_exported_as_json() -> None:

    record = Record(
        CHUNK.id, {"a": 1}, {"sparse": SparseVector.from_weights({7: 0.5}), "dense": np.ones(2, np.float32)}
    )
    assert exported(record, vectors=False) == {"id": CHUNK.id, "payload": {"a": 1}}
    assert exported(record, vectors=True)["vectors"] == {
        "dense": [1.0, 1.0],
        "sparse": {"indices": [7], "values": [0.5]},
    }
