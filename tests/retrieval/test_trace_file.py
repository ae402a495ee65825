"""Traces kept by several processes at once, through torn lines and rotation."""

from __future__ import annotations

import json
import logging
import multiprocessing
import stat
from pathlib import Path

import pytest

from rag_pipeline.retrieval.trace import Trace
from rag_pipeline.retrieval.trace_file import TraceFile


def asked(traces: list[Trace]) -> list[str]:
    return [trace.query for trace in traces]


def test_the_last_ones_are_read_oldest_first(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "traces")
    assert file.read(9) == []
    for query in ("one", "two\nlines", "thrée"):
        file.append(Trace(query=query))
    assert asked(file.read(2)) == ["two\nlines", "thrée"]
    assert asked(file.read(9)) == ["one", "two\nlines", "thrée"]


def test_they_are_their_owners_alone(tmp_path: Path) -> None:
    TraceFile(tmp_path / "traces").append(Trace(query="private"))
    assert stat.S_IMODE((tmp_path / "traces").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "traces" / "queries.jsonl").stat().st_mode) == 0o600


def test_the_oldest_half_goes_when_there_is_too_much(tmp_path: Path) -> None:
    """A line has about 1200 bytes, 6 KiB hold at most 5: two go into each file of 3 KiB."""
    file = TraceFile(tmp_path, max_mb=6 / 1024)
    for number in range(20):
        file.append(Trace(query=f"{number:1000d}"))
        assert sum(one.stat().st_size for one in tmp_path.glob("*.jsonl")) <= 6 * 1024
    kept = [int(query) for query in asked(file.read(99))]
    assert kept == list(range(kept[0], 20))
    assert 2 <= len(kept) <= 4


def test_a_torn_line_costs_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = TraceFile(tmp_path)
    file.append(Trace(query="before"))
    with (tmp_path / "queries.jsonl").open("a") as stream:
        stream.write('{"query": "to')
    file.append(Trace(query="after"))
    with caplog.at_level(logging.WARNING):
        assert asked(file.read(9)) == ["before", "after"]
    assert "queries.jsonl:2 is no trace" in caplog.text
    assert "to" not in caplog.messages[0].partition("is no trace")[2].split("(")[0].split()


def _append(folder: Path, name: str) -> None:
    file = TraceFile(folder)
    for number in range(50):
        file.append(Trace(query=f"{name}-{number} " + "x" * 5000))


def test_two_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(tmp_path, name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    lines = (tmp_path / "queries.jsonl").read_text().splitlines()
    found = [json.loads(line)["query"].split()[0] for line in lines]
    assert sorted(found) == sorted(f"{name}-{number}" for name in "ab" for number in range(50))
    for name in "ab":
        assert [one for one in found if one[0] == name] == [f"{name}-{number}" for number in range(50)]


def test_an_answer_is_not_lost_for_its_trace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "traces").write_text("a file stands where the folder should be")
    TraceFile(tmp_path / "traces").append(Trace(query="secret"))
    assert "cannot keep the trace" in caplog.text
    assert "secret" not in caplog.text
