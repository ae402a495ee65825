"""Reading judged sets in BEIR layout."""

import json
from pathlib import Path

import pytest

from rag_pipeline.errors import InputError
from rag_pipeline.evaluation.beir import read_beir


def write_set(folder: Path, qrels: str = "query-id\tcorpus-id\tscore\nq1\td1\t2\n") -> Path:
    rows = [{"_id": "d1", "title": "Otters", "text": "They swim."}, {"_id": 2, "title": "", "text": "Only text."}]
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    queries = [{"_id": "q1", "text": "who swims"}, {"_id": "q2", "text": "not judged"}]
    (folder / "queries.jsonl").write_text("\n".join(json.dumps(row) for row in queries), encoding="utf-8")
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return folder


def test_title_and_text_are_joined_and_only_judged_queries_kept(tmp_path: Path) -> None:
    judged = read_beir(write_set(tmp_path))
    assert judged.passages == {"d1": "Otters They swim.", "2": "Only text."}
    assert judged.queries == {"q1": "who swims"}
    assert judged.qrels == {"q1": {"d1": 2}}


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write_set(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing; give a folder in BEIR layout"):
        read_beir(tmp_path)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    with (write_set(tmp_path) / "corpus.jsonl").open("a", encoding="utf-8") as lines:
        lines.write("\n{not json}\n")
    with pytest.raises(InputError, match=r"corpus\.jsonl:3 is not a JSON object"):
        read_beir(tmp_path)


def test_judgments_of_unknown_queries_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="judges none of its 2 queries"):
        read_beir(write_set(tmp_path, "query-id\tcorpus-id\tscore\nother\td1\t1\n"))
