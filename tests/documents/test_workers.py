import subprocess
import sys
import time
from pathlib import Path

import pytest

from rag_pipeline.documents.chunk import document_text
from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.documents.workers import ParsePool
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.types import Document, SourceFile


def sources(folder: Path) -> list[SourceFile]:
    return [read_source(one) for one in discover([folder]).files]


def test_files_come_back_parsed_and_the_broken_one_with_its_reason(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text(f"This is the text of file number {number}.")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4\n")
    with ParsePool(2, 60, 4096) as pool:
        outcomes = {source.path.name: outcome for source, outcome in pool.parse_all(sources(tmp_path))}
        again = list(pool.parse_all(sources(tmp_path)[:1]))  # warm: the same processes
    texts = {name: document_text(one) for name, one in outcomes.items() if isinstance(one, Document)}
    assert texts == {f"{number}.txt": f"This is the text of file number {number}." for number in range(5)}
    assert isinstance(outcomes["broken.pdf"], InputError)
    assert "damaged" in str(outcomes["broken.pdf"])
    assert len(again) == 1


def test_a_file_that_takes_too_long_costs_its_worker_and_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(f"Slow paragraph number {n} goes here" for n in range(60_000)))
    (tmp_path / "b.txt").write_text("A quick one.")
    with ParsePool(1, 1.0, 4096) as pool:
        outcomes = dict(pool.parse_all(sources(tmp_path)))
    slow, quick = (outcomes[source] for source in sorted(outcomes, key=lambda source: source.path))
    assert str(slow) == "parsing took longer than 1 s; raise ingest.timeout_s, or split the file"
    assert isinstance(quick, Document)


def test_memory_is_limited_and_a_limit_too_small_to_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with ParsePool(1, 30, 64) as pool, pytest.raises(UnavailableError, match=r"ingest\.memory_mb: 64"):
        list(pool.parse_all(sources(tmp_path)))


def test_a_file_over_the_memory_limit_is_named_and_the_next_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w") as file:
        file.write("x,y\n" * 6_000_000)
    (tmp_path / "b.txt").write_text("A small one.")
    with ParsePool(1, 120, 1700) as pool:
        outcomes = dict(pool.parse_all(sources(tmp_path)))
    large, small = (outcomes[source] for source in sorted(outcomes, key=lambda source: source.path))
    assert isinstance(large, InputError)
    assert "ingest.memory_mb" in str(large)
    assert isinstance(small, Document)


def test_sources_are_taken_as_they_are_needed_and_nothing_starts_without_any(tmp_path: Path) -> None:
    with ParsePool(2, 60, 4096) as pool:
        started = time.monotonic()
        assert list(pool.parse_all([])) == []
        assert time.monotonic() - started < 0.5
        assert pool._workers == []


def test_a_script_without_a_main_guard_can_parse(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("One file.")
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from rag_pipeline.documents.discover import discover, read_source\n"
        "from rag_pipeline.documents.workers import ParsePool\n"
        f"files = discover([Path({str(tmp_path / 'docs')!r})]).files\n"
        "with ParsePool(1, 60, 4096) as pool:\n"
        "    for source, document in pool.parse_all(read_source(one) for one in files):\n"
        "        print(document.elements[0].text)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("One file.\n", "")
