"""Measures of known runs, worked out by hand, through a real engine."""

from pathlib import Path

import pytest

from rag_pipeline.config import load_settings
from rag_pipeline.errors import ConfigError
from rag_pipeline.evaluation.beir import JudgedSet
from rag_pipeline.evaluation.evaluate import evaluate, parse_modes
from tests.fakes import HashEncoder, OverlapReranker

PASSAGES = {
    "d1": "the warranty covers the battery for two years",
    "d2": "the office in Lindau opens at nine",
    "d3": "",
    "d4": "battery terminals must be clean before charging",
}


def judged(queries: dict[str, str], qrels: dict[str, dict[str, int]]) -> JudgedSet:
    return JudgedSet("small", PASSAGES, queries, qrels)


def test_a_found_and_a_missed_query_average(tmp_path: Path) -> None:
    """q1 finds d1 first (1.0); q2 is judged on the blank d3, which is never indexed (0.0): the mean is 0.5."""
    data = judged({"q1": "warranty of the battery", "q2": "anything"}, {"q1": {"d1": 1}, "q2": {"d3": 1}})
    rows = evaluate(data, load_settings(), HashEncoder(), None, ["sparse"], run_dir=tmp_path)
    assert rows[0].queries == 2
    assert rows[0].measures == {"nDCG@10": 0.5, "R@10": 0.5, "R@100": 0.5, "MRR@10": 0.5}
    lines = (tmp_path / "small.sparse.trec").read_text(encoding="utf-8").splitlines()
    assert lines[0].split() == ["q1", "Q0", "d1", "1", "1.000000", "compact.sparse"]


def test_every_mode_has_a_row() -> None:
    data = judged({"q1": "battery warranty"}, {"q1": {"d1": 1}})
    modes = parse_modes("", can_rerank=True)
    rows = evaluate(data, load_settings(), HashEncoder(), OverlapReranker(), modes)
    assert [row.mode for row in rows] == ["dense", "sparse", "hybrid", "hybrid+rerank"]
    # The hashed words of the fake put d1 second in the dense leg: 1 / log2(3).
    assert [round(row.measures["nDCG@10"], 4) for row in rows] == [0.6309, 1.0, 1.0, 1.0]


def test_progress_is_reported_to_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    data = judged({"q1": "battery"}, {"q1": {"d1": 1}})
    evaluate(data, load_settings(), HashEncoder(), None, ["dense"], on_progress=lambda *state: seen.append(state))
    assert seen == [("passages", 3, 3), ("dense", 1, 1)]


def test_modes_are_checked() -> None:
    assert parse_modes("dense, sparse", can_rerank=False) == ["dense", "sparse"]
    with pytest.raises(ConfigError, match="unknown mode 'bm25'; choose from dense, sparse, hybrid"):
        parse_modes("bm25", can_rerank=False)
    with pytest.raises(ConfigError, match="needs a reranker"):
        parse_modes("hybrid+rerank", can_rerank=False)
