import hashlib
import json
from pathlib import Path

import pytest

from rag_pipeline.encoders.hashes import file_hashes, remembered_hashes, sha256_of

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"")
    return tmp_path


def test_the_hash_is_sha256(folder: Path) -> None:
    assert sha256_of(folder / "a") == ABC


def test_what_was_read_is_remembered(folder: Path) -> None:
    note = folder / "notes" / "note.json"
    assert remembered_hashes(folder, ["a", "b"], note) == {}
    assert file_hashes(folder, ["a", "b"], note) == {"a": ABC, "b": hashlib.sha256().hexdigest()}
    assert remembered_hashes(folder, ["a"], note) == {"a": ABC}


def test_a_changed_file_is_forgotten(folder: Path) -> None:
    note = folder / "note.json"
    file_hashes(folder, ["a", "b"], note)
    (folder / "a").write_bytes(b"abcd")
    assert list(remembered_hashes(folder, ["a", "b"], note)) == ["b"]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', json.dumps({"a": {"size": "3"}})])
def test_a_note_of_another_kind_is_ignored(folder: Path, content: str) -> None:
    note = folder / "note.json"
    note.write_text(content)
    assert file_hashes(folder, ["a"], note) == {"a": ABC}
    assert remembered_hashes(folder, ["a"], note) == {"a": ABC}


def test_nowhere_to_write_is_no_error(folder: Path) -> None:
    assert file_hashes(folder, ["a"], folder / "a" / "note.json") == {"a": ABC}
