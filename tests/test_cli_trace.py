"""`rag trace` and --explain as a person meets them: what was asked is kept where that is asked for, and only there."""

from pathlib import Path
from typing import Any

import pytest

from tests.command_line import document, rag


@pytest.fixture
def index(otter_command_line: tuple[Path, Path, dict[str, Any]]) -> Path:
    return otter_command_line[1]


def test_nothing_is_kept_unless_it_is_asked_for(index: Path) -> None:
    rag("search", "warranty", "--index", index)
    assert not (index / "traces").exists()
    empty = rag("trace", "--index", index)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "keep some with rag search --trace" in empty.stderr
    assert document(rag("trace", "--index", index, "--json")) == {"traces": []}


@pytest.mark.soak
def test_kept_queries_are_shown_and_drawn(index: Path, tmp_path: Path) -> None:
    found = document(rag("search", "how long is the warranty?", "--trace", "--index", index, "--json"))
    rag("ask", "When does the office open?", "--index", index, RAG_TRACE__KEEP="true")
    kept = document(rag("trace", "--index", index, "--json"))["traces"]
    assert [trace["query"] for trace in kept] == ["how long is the warranty?", "When does the office open?"]
    first = kept[0]["fused"][0]
    assert (first["id"], first["final"], first["cut"]) == (found["hits"][0]["id"], 1, "")
    assert first["place"].endswith("otter.md")
    lines = (index / "traces" / "queries.jsonl").read_text()
    assert "thirty months" not in lines, "no text of a document is kept"
    table = rag("trace", "--index", index, COLUMNS="200")
    assert "how long is the warranty?" in table.stdout
    picture = tmp_path / "traces.png"
    shown = rag("trace", "--last", "1", "--plot", picture, "--index", index)
    assert "When does the office open?" in shown.stdout
    assert "fusion" in shown.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_explain_prints_the_arithmetic_of_every_candidate(index: Path) -> None:
    shown = rag("search", "how long is the warranty?", "--top-k", "1", "--explain", "--index", index, COLUMNS="200")
    assert shown.returncode == 0, shown.stderr
    for words in ("query how long", "exact search", "fusion", "reranking", "beyond the 1 asked for", "dense", "logit"):
        assert words in shown.stdout, words
    assert shown.stdout.count("otter.md") >= 2, "in the list of hits and in the table"
