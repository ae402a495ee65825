"""Measuring itself: sides in turns, medians, FLOP counted by hand, texts read from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag_pipeline.encoders.device import matmul_rate
from rag_pipeline.errors import InputError
from rag_pipeline.evaluation.speed import Speed, compare, latencies_ms, model_flops, read_texts, spread


def test_sides_take_turns_after_a_run_that_is_not_counted() -> None:
    order: list[str] = []
    told: list[tuple[str, int, int]] = []
    one, other = compare(
        {"one": lambda: order.append("one"), "other": lambda: order.append("other")},
        texts=10,
        tokens=200,
        repeat=2,
        on_run=lambda side, done, total: told.append((side, done, total)),
    )
    assert order == ["one", "other"] * 3
    assert (one.side, other.side) == ("one", "other")
    assert told[-1] == ("other", 3, 3)


def test_rates_count_texts_and_tokens_by_the_second() -> None:
    speed = Speed("one", seconds=0.5, texts=10, tokens=200)
    assert (speed.tokens_per_s, speed.texts_per_s) == (400, 20)


def test_each_query_is_timed_alone() -> None:
    asked: list[str] = []
    p50, p95 = latencies_ms(asked.append, ["a", "b"], repeat=2)
    assert asked == ["a", "a", "b", "a", "b"]
    assert 0 <= p50 <= p95


def test_flop_of_a_small_model(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 2}))
    # A token and layer: 8 * 16 for the projections, 4 * 4 * 8 for the inner products; 4 * 4 * 3 for attention to 3.
    assert model_flops(config, [3]) == 2 * 3 * (128 + 128 + 48)


def test_a_matrix_product_has_a_rate() -> None:
    assert matmul_rate("cpu", "float32", tokens=64, width=64) > 1e6


def test_texts_are_spread_over_all() -> None:
    assert spread(["a", "b", "c", "d", "e", "f"], 3) == ["a", "c", "e"]
    assert spread(["a"], 3) == ["a"]


def test_texts_of_lines_json_lines_and_a_judged_folder(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("one\n\ntwo\n")
    assert read_texts(tmp_path / "lines.txt") == ["one", "two"]
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "title": "A", "text": "b"}\n{"_id": "2", "text": "c"}\n')
    assert read_texts(tmp_path) == read_texts(tmp_path / "corpus.jsonl") == ["A b", "c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read .*No such file"), ("", "holds no text"), ("[1]\n", "no JSON object"), ("{", "no JSON object")],
)
def test_what_is_no_text_is_one_clear_line(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "texts.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=message):
        read_texts(file)
