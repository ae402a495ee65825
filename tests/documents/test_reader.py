import json
import logging
from pathlib import Path

import pytest
from llama_index.core.readers.base import BasePydanticReader
from llama_index.core.schema import TextNode

from rag_pipeline.documents.node_parser import TitleNodeParser
from rag_pipeline.documents.reader import FolderReader
from tests.documents.sources import words


def test_a_folder_becomes_documents_and_nodes_by_title(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.md").write_text(
        "# Lake\n\nIt is deep and cold.\n\n## Boats\n\nThey are painted blue every spring.\n"
    )
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4\n")
    with caplog.at_level(logging.WARNING):
        documents = FolderReader(workers=1).load_data(tmp_path)
    assert "b.pdf: the PDF is damaged" in caplog.text
    (document,) = documents
    assert document.text == "Lake\n\nIt is deep and cold.\n\nBoats\n\nThey are painted blue every spring."
    assert document.metadata["file_name"] == "a.md"
    assert "elements" in document.excluded_embed_metadata_keys
    nodes = TitleNodeParser(count_tokens=words, max_tokens=16, heading_tokens=6).get_nodes_from_documents(documents)
    assert [node.get_content() for node in nodes] == [
        "Lake\n\nIt is deep and cold.",
        "Boats\n\nThey are painted blue every spring.",
    ]
    assert [node.metadata["heading"] for node in nodes] == [["Lake"], ["Lake", "Boats"]]
    assert all(node.metadata["path"] == str(tmp_path / "a.md") for node in nodes)
    assert [node.ref_doc_id for node in nodes] == [document.doc_id] * 2
    first = nodes[0]
    assert isinstance(first, TextNode)
    assert (first.start_char_idx, first.end_char_idx) == (0, 26)


def test_it_is_saved_with_its_limits() -> None:
    saved = json.loads(FolderReader(workers=2, timeout_s=9).to_json())
    assert (saved["class_name"], saved["is_remote"]) == ("FolderReader", False)
    again = FolderReader.from_dict(saved)
    assert isinstance(again, BasePydanticReader)
    assert again == FolderReader(workers=2, timeout_s=9)
