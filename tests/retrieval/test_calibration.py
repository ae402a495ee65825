"""What `rag tune` found is read back where it fits, and only there."""

import json
import logging
from pathlib import Path

import pytest

from rag_pipeline.errors import UnavailableError
from rag_pipeline.retrieval.calibration import Calibration, Reranking, made_with, read_calibration
from rag_pipeline.store.edge import EdgeStore
from rag_pipeline.store.schema import CollectionSchema, Fingerprint


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "rag"
    fingerprint = Fingerprint(text="words", sparse="words", image="", chunking="256")
    EdgeStore.open(folder, CollectionSchema.of(dense_dim=4, sparse_idf=True), fingerprint, create=True).close()
    return folder


def found(index: Path) -> Calibration:
    return Calibration(
        made_with(index, "reader"),
        "2026-11-21T16:00:00+00:00",
        {"de": 0.3},
        Reranking(10, 192, 0.2),
        {"questions": 200},
    )


def test_what_was_written_is_read(index: Path) -> None:
    calibration = found(index)
    assert calibration.write(index) == index / "calibration.json"
    assert read_calibration(index, "reader") == calibration
    assert [path.name for path in index.glob("calibration*")] == ["calibration.json"]


def test_no_file_is_no_calibration(tmp_path: Path) -> None:
    assert read_calibration(tmp_path, "reader") is None


def test_another_reranker_or_index_makes_it_stale(index: Path, caplog: pytest.LogCaptureFixture) -> None:
    found(index).write(index)
    with caplog.at_level(logging.WARNING):
        assert read_calibration(index, "another") is None
    assert "made with other models or chunking and is not used; run rag tune again" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "[]", '{"made_with": {}}', '{"made_with": {}, "created": "", "reranking": {"depth": -1}}', "{"]
)
def test_a_file_that_cannot_be_read_is_said(index: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    (index / "calibration.json").write_text(text, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert read_calibration(index, "reader") is None
    assert "cannot be read" in caplog.text


def test_values_are_checked() -> None:
    with pytest.raises(ValueError, match=r"shares in \[0, 1\]"):
        Calibration({}, "", {"de": 1.5})
    with pytest.raises(ValueError, match="a blend in"):
        Reranking(10, 192, 2.0)


def test_it_is_plain_json(index: Path) -> None:
    assert json.loads(json.dumps(found(index).to_dict()))["reranking"] == {"depth": 10, "window": 192, "blend": 0.2}


def test_a_folder_that_cannot_be_written_is_said(index: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"cannot write .*calibration\.json"):
        found(index).write(tmp_path / "absent")
