"""The command line as another program meets it: subprocesses, exit codes, one JSON document, one line per error."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pypdf
import pytest

from rag_pipeline.encoders.cache import EmbeddingCache
from tests.command_line import NOTES, OPENING, assert_one_line, document, rag

ROOT = Path(__file__).parent.parent


@pytest.fixture
def library(otter_command_line: tuple[Path, Path, dict[str, Any]]) -> Path:
    return otter_command_line[0]


@pytest.fixture
def index(otter_command_line: tuple[Path, Path, dict[str, Any]]) -> Path:
    return otter_command_line[1]


def test_the_first_run_gives_the_contract(otter_command_line: tuple[Path, Path, dict[str, Any]]) -> None:
    report = otter_command_line[2]
    assert set(report) >= {"files", "chunks", "figures", "seconds", "quarantine"}
    assert report["files"] == {
        "added": 2, "changed": 0, "unchanged": 0, "renamed": 0, "deleted": 0, "duplicate": 0, "quarantined": 0,
    }  # fmt: skip
    assert (report["chunks"], report["figures"], report["quarantine"]) == (2, 0, [])


def test_status_and_doctor_load_no_index(index: Path) -> None:
    # Before anything is asked: the sentences that an answer is chosen from are encoded, and kept, too.
    status = document(rag("status", "--index", index, "--json"))
    assert (status["files"], status["chunks"]) == ({"indexed": 2, "duplicates": 0, "quarantined": 0}, 2)
    assert set(status["cache"]) == {"entries", "bytes", "max_mb", "hits", "misses", "hit_rate", "last_run"}
    assert (status["cache"]["entries"], status["cache"]["misses"]) == (2, 2)
    assert status["made_with"]["text"].startswith("bge-small-en-v1.5@")
    report = document(rag("doctor", "--index", index, "--json"))
    assert report["ok"]
    assert {"telemetry", "disk", "index", "weights bge-small-en-v1.5"} <= {check["name"] for check in report["checks"]}


def test_a_second_run_changes_nothing(library: Path, index: Path) -> None:
    before = rag("export", "--vectors", "--index", index).stdout
    report = document(rag("ingest", library, "--index", index, "--json"))
    assert (report["files"]["unchanged"], report["chunks"]) == (2, 0)
    assert rag("export", "--vectors", "--index", index).stdout == before


def test_search_gives_the_contract(index: Path, library: Path) -> None:
    found = document(rag("search", "how long is the warranty?", "--top-k", "1", "--index", index, "--json"))
    assert set(found) == {"hits", "timings_ms"}
    (hit,) = found["hits"]
    assert set(hit) >= {"rank", "score", "path", "page", "heading", "text", "boxes", "legs"}
    assert hit["path"] == str((library / "otter.md").resolve())
    assert (hit["rank"], hit["page"]) == (1, None)
    assert hit["legs"]["dense"]["rank"] == 1
    assert set(hit["legs"]["sparse"]) == {"rank", "score"}


def test_each_mode_and_filter_is_heard(index: Path) -> None:
    sparse = document(rag("search", "warranty", "--mode", "sparse", "--index", index, "--json"))
    assert [set(hit["legs"]) for hit in sparse["hits"]] == [{"sparse"}]
    office = document(
        rag("search", "warranty", "--filter", "file_name=office.md", "--no-rerank", "--explain", "--index", index,
            "--json")
    )  # fmt: skip
    assert [Path(hit["path"]).name for hit in office["hits"]] == ["office.md"]
    assert "the dense model was trained on en" in office["explain"]["formula"]


def test_filters_limit_what_is_found_and_answered(index: Path) -> None:
    everything = ["--filter", "path=*.md", "--filter", "type=md", "--filter", "date>=2024-03", "--filter", "tag=rul*"]
    found = document(rag("search", "warranty", *everything, "--filter", "author=Ann", "--index", index, "--json"))
    assert [Path(hit["path"]).name for hit in found["hits"]] == ["office.md"]
    question = "How long does the warranty of the Otter 2 last?"
    answer = document(rag("ask", question, "--filter", "tag!=rules", "--index", index, "--json"))
    assert [Path(citation["path"]).name for citation in answer["citations"]] == ["otter.md"]
    answer = document(rag("ask", question, "--filter", "page>=1", "--index", index, "--json"))
    assert (answer["abstained"], answer["citations"]) == (True, [])


def test_a_filter_that_would_find_nothing_by_mistake_is_one_line(index: Path) -> None:
    told = rag("search", "warranty", "--filter", "autor=Ann", "--index", index)
    assert_one_line(told, 2, "did you mean 'author'?")
    assert_one_line(rag("search", "warranty", "--filter", "author", "--index", index), 2, "KEY=VALUE")


def test_ask_quotes_and_cites(index: Path) -> None:
    answer = document(rag("ask", "How long does the warranty of the Otter 2 last?", "--index", index, "--json"))
    assert set(answer) >= {"answer", "abstained", "citations", "timings_ms"}
    assert not answer["abstained"]
    (citation,) = answer["citations"]
    assert set(citation) >= {"n", "path", "page", "quote", "start", "end", "boxes"}
    assert "thirty months" in citation["quote"]
    assert "[1]" in answer["answer"]


def test_many_queries_give_one_document(index: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text('how long is the warranty?\n{"_id": "q7", "text": "when does the office open?"}\n')
    found = document(rag("search", "--queries", queries, "--index", index, "--json"))
    assert [(row["id"], len(row["hits"])) for row in found["queries"]] == [("1", 2), ("q7", 2)]


def test_export_is_ordered_and_whole(index: Path) -> None:
    rows = [json.loads(line) for line in rag("export", "--vectors", "--index", index).stdout.splitlines()]
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert len(rows) == 2
    for row in rows:
        assert len(row["vectors"]["dense"]) == 384
        assert row["vectors"]["sparse"]["indices"]
        assert {"text", "path", "paths", "document_id", "_node_content"} <= set(row["payload"])


def test_models_are_listed_and_verified() -> None:
    models = {row["name"]: row for row in document(rag("models", "list", "--json"))["models"]}
    assert models["bge-small-en-v1.5"]["present"]
    assert models["bge-m3"]["size"] > 2.2e9
    assert all(row["ok"] for row in document(rag("models", "verify", "--json"))["files"])


def test_eval_measures_a_set(tmp_path: Path) -> None:
    corpus = [{"_id": "a", "title": "Otter", "text": NOTES}, {"_id": "b", "title": "Office", "text": OPENING}]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "office hours"}))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tb\t1\n")
    index = tmp_path / "rag"
    measured = document(rag("eval", tmp_path, "--run-dir", tmp_path / "runs", "--index", index, "--json"))
    assert [row["mode"] for row in measured["rows"]] == ["dense", "sparse", "hybrid", "hybrid+rerank"]
    assert set(measured["rows"][0]["measures"]) == {"nDCG@10", "R@10", "R@100", "MRR@10"}
    assert len(list((tmp_path / "runs").glob("*.trec"))) == 4
    again = document(rag("eval", tmp_path, "--modes", "dense", "--index", index, "--json"))
    assert again["rows"][0]["measures"] == measured["rows"][0]["measures"]
    kept = EmbeddingCache.read_stats(index / "cache.sqlite")
    assert (kept.entries, kept.misses, kept.last_hits, kept.last_misses) == (2, 2, 2, 0), (
        "the second one encoded nothing"
    )
    assert "none yet" in rag("doctor", "--index", index).stdout


# ------------------------------------------------------------------------------------- bad input


def test_a_missing_path(tmp_path: Path) -> None:
    done = rag("ingest", tmp_path / "absent", "--index", tmp_path / "rag")
    assert_one_line(done, 2, str(tmp_path / "absent"), "does not exist")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = rag("ingest", tmp_path / "empty", "--index", tmp_path / "rag")
    assert_one_line(done, 1, str(tmp_path / "empty"), "no files")


def test_what_cannot_be_read_is_quarantined_and_an_emptied_folder_loses_nothing(tmp_path: Path) -> None:
    folder, index = tmp_path / "documents", tmp_path / "rag"
    folder.mkdir()
    (folder / "good.md").write_text(NOTES)
    (folder / "gone.md").symlink_to(folder / "nowhere.md")
    writer = pypdf.PdfWriter()
    writer.add_blank_page(200, 200)
    writer.encrypt("secret", algorithm="AES-256")
    writer.write(folder / "locked.pdf")
    done = rag("ingest", folder, "--index", index, "--json")
    assert done.returncode == 3
    report = json.loads(done.stdout)
    assert (report["files"]["added"], report["files"]["quarantined"]) == (1, 2)
    reasons = {Path(item["path"]).name: item["reason"] for item in report["quarantine"]}
    assert "password" in reasons["locked.pdf"]
    assert "gone.md" in reasons
    assert all("\n" not in reason for reason in reasons.values())
    assert "Traceback" not in done.stderr
    for file in folder.iterdir():
        file.unlink()
    assert_one_line(rag("ingest", folder, "--index", index), 1, "no files", "is it mounted")
    assert len(rag("export", "--index", index).stdout.splitlines()) == 1


def test_a_wrong_configuration_key(tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text("search: {topk: 3}\n")
    assert_one_line(rag("status", "--config", config), 2, "unknown key 'search.topk'", "did you mean 'top_k'")


def test_an_index_held_by_another_process(library: Path, index: Path) -> None:
    code = (
        "import sys, time\nfrom rag_pipeline import RagPipeline\n"
        f"rag = RagPipeline.from_config(index={str(index)!r})\nrag.open_store()\n"
        "print('held', flush=True)\nsys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert_one_line(rag("ingest", library, "--index", index), 1, f"held by process {holder.pid}", "another --index")
        assert rag("status", "--index", index).returncode == 0
    finally:
        holder.communicate()
    assert rag("export", "--index", index).returncode == 0


def test_no_index(tmp_path: Path) -> None:
    assert_one_line(rag("search", "x", "--index", tmp_path / "absent"), 1, "no index at", "run rag ingest")


def test_another_profile_than_the_index_was_made_with(index: Path) -> None:
    done = rag("search", "x", "--index", index, "--config", ROOT / "configs" / "minilm.yaml")
    assert_one_line(done, 1, "text is 'all-MiniLM-L6-v2@", 'the index has "bge-small-en-v1.5@', "--config")


def test_weights_that_are_not_here(tmp_path: Path) -> None:
    done = rag(
        "ingest", ROOT / "examples", "--index", tmp_path / "rag", "--config", ROOT / "configs" / "bge-m3.yaml",
        RAG_MODELS_DIR=str(tmp_path / "models"),
    )  # fmt: skip
    assert_one_line(done, 1, "'bge-m3'", "rag models pull bge-m3", "configs/compact.yaml")


def test_usage_errors_are_one_line() -> None:
    assert_one_line(rag("search"), 2, "QUERY")
    assert_one_line(rag("ingest"), 2, "Missing argument")
    assert_one_line(rag("serch"), 2, "No such command 'serch'")
    assert_one_line(rag("search", "x", "--filter", "no-equals-sign"), 2, "KEY=VALUE")


def test_an_error_is_json_too_where_json_was_asked_for(tmp_path: Path) -> None:
    done = rag("export", "--index", tmp_path / "absent", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["exit_code"] == 1


@pytest.mark.soak
def test_tune_shows_writes_and_is_shown_again(index: Path, tmp_path: Path) -> None:
    """Two passages make two questions: far too few to prove anything, which is said."""
    tried = document(rag("tune", "--dry-run", "--index", index, "--json"))
    assert (tried["dry_run"], tried["dense"], tried["evidence"]["questions"]) == (True, {}, 2)
    assert {trial["verdict"] for trial in tried["evidence"]["trials"]} >= {"default; too few questions"}
    assert document(rag("status", "--index", index, "--json"))["calibration"] is None
    folder = tmp_path / "judged"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "when does the office open?"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\toffice.md\t1\n")
    copied = tmp_path / "rag"
    shutil.copytree(index, copied)
    done = document(rag("tune", "--queries", folder, "--index", copied, "--json"))
    assert {trial["ndcg"] for trial in done["evidence"]["trials"]} == {1.0}
    status = document(rag("status", "--index", copied, "--json"))["calibration"]
    assert (status["questions"], status["source"]) == (1, str(folder))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\telsewhere.md\t1\n")
    assert_one_line(rag("tune", "--queries", folder, "--index", copied), 1, "judges nothing that is in the index")
