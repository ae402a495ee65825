"""`rag ingest` with its options, from the outside."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.command_line import RAG, assert_one_line, document, environment, rag


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("one", "two", "three"):
        (folder / f"{name}.md").write_text(f"# {name}\n\nThis is the file {name} and nothing else.\n")
    return folder


def test_a_dry_run_makes_nothing(library: Path, tmp_path: Path) -> None:
    report = document(rag("ingest", library, "--index", tmp_path / "rag", "--dry-run", "--json"))
    assert (report["files"]["added"], report["chunks"]) == (3, 0)
    assert [(row["action"], Path(row["path"]).name) for row in report["plan"]] == [
        ("added", "one.md"), ("added", "three.md"), ("added", "two.md"),
    ]  # fmt: skip
    assert not (tmp_path / "rag").exists()


@pytest.mark.soak
def test_what_changes_in_the_folder_changes_in_the_index(library: Path, tmp_path: Path) -> None:
    folder, index = library, tmp_path / "rag"
    document(rag("ingest", folder, "--index", index, "--json"))
    (folder / "one.md").write_text("# one\n\nNow it speaks of lighthouses.\n")
    (folder / "two.md").unlink()
    (folder / "three.md").rename(folder / "four.md")
    report = document(rag("ingest", folder, "--index", index, "--json"))
    assert report["files"] == {
        "added": 0, "changed": 1, "unchanged": 0, "renamed": 1, "deleted": 1, "duplicate": 0, "quarantined": 0,
    }  # fmt: skip
    rows = [json.loads(line)["payload"] for line in rag("export", "--index", index).stdout.splitlines()]
    assert sorted(row["file_name"] for row in rows) == ["four.md", "one.md"]
    assert any("lighthouses" in row["text"] for row in rows)


def test_a_plan_is_readable(library: Path, tmp_path: Path) -> None:
    (library / ".ragignore").write_text("t*.md\n")
    (library / "copy.md").write_bytes((library / "one.md").read_bytes())
    shown = rag("ingest", library, "--index", tmp_path / "rag", "--dry-run", cwd=tmp_path)
    assert shown.stdout.splitlines()[:3] == [
        "Would do: 1 added, 1 duplicate",
        "  added       documents/copy.md",
        "  duplicate   documents/one.md",
    ]


@pytest.mark.soak
def test_quarantined_files_are_tried_again_when_asked(library: Path, tmp_path: Path) -> None:
    (library / "broken.docx").write_bytes(b"PK\x03\x04 not a document")
    first = document(rag("ingest", library, "--index", tmp_path / "rag", "--json"))
    again = document(rag("ingest", library, "--index", tmp_path / "rag", "--retry-quarantined", "--json"))
    assert first["quarantine"] == again["quarantine"]
    assert again["files"]["unchanged"] == 3


@pytest.mark.soak
def test_watching_goes_on_until_it_is_interrupted(library: Path, tmp_path: Path) -> None:
    index = tmp_path / "rag"
    command = [*RAG, "ingest", str(library), "--index", str(index), "--watch", "--json"]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert watcher.stdout is not None
        assert json.loads(watcher.stdout.readline())["files"]["added"] == 3
        (library / "four.md").write_text("# four\n\nA lighthouse keeper was here.\n")
        (library / "one.md").unlink()
        report = json.loads(watcher.stdout.readline())
        assert (report["files"]["added"], report["files"]["deleted"]) == (1, 1)
        found = document(rag("search", "lighthouse", "--index", index, "--json"))
        assert Path(found["hits"][0]["path"]).name == "four.md", "the index is free between two runs"
        watcher.send_signal(signal.SIGINT)
        _, said = watcher.communicate(timeout=30)
    finally:
        watcher.kill()
    assert watcher.returncode == 0, said
    assert said.splitlines()[-1] == "Stopped watching. What was finished is kept."


def test_watching_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    assert_one_line(rag("ingest", tmp_path / "absent", "--watch", "--index", tmp_path / "rag"), 2, "does not exist")


@pytest.mark.soak
def test_a_snapshot_is_the_index_as_one_file(library: Path, tmp_path: Path) -> None:
    index, copy, file = tmp_path / "rag", tmp_path / "copy", tmp_path / "index.tar.gz"
    document(rag("ingest", library, "--index", index, "--json"))
    made = document(rag("snapshot", "create", file, "--index", index, "--json"))
    assert (made["chunks"], made["documents"]) == (3, 3)
    assert_one_line(rag("snapshot", "create", file, "--index", index), 2, str(file), "--overwrite")
    assert document(rag("snapshot", "restore", file, "--index", copy, "--json"))["made_with"] == made["made_with"]
    export = ("export", "--vectors", "--index")
    assert rag(*export, copy).stdout == rag(*export, index).stdout != ""
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    assert_one_line(rag("snapshot", "verify", file), 1, str(file), "damaged")
    assert_one_line(rag("snapshot", "restore", file, "--index", tmp_path / "third"), 1, str(file), "damaged")
    assert not (tmp_path / "third").exists()
