import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_pipeline.documents.chunk import document_text
from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.documents.options import ParseOptions
from rag_pipeline.documents.workers import Outcome, ParsePool
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.types import Document, SourceFile


def sources(folder: Path) -> list[SourceFile]:
    return [read_source(one) for one in discover([folder]).files]


@pytest.fixture(scope="module")
def warm() -> Iterator[ParsePool]:
    """Two processes for all tests that leave them as they were, or lose one and have another started."""
    with ParsePool(2, 60, 4096, ParseOptions(max_expansion=30)) as pool:
        yield pool


def test_files_come_back_parsed_and_the_broken_one_with_its_reason(warm: ParsePool, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text(f"This is the text of file number {number}.")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4\n")
    outcomes = {source.path.name: outcome for source, outcome in warm.parse_all(sources(tmp_path))}
    before = list(warm._workers)
    again = list(warm.parse_all(sources(tmp_path)[:1]))
    assert warm._workers == before, "the same processes"
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


@pytest.mark.soak
def test_a_file_over_the_memory_limit_is_named_and_the_next_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w") as file:
        file.write("x,y\n" * 3_000_000)
    (tmp_path / "b.txt").write_text("A small one.")
    with ParsePool(1, 120, 1500) as pool:
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


SLOW = "\n\n".join(f"Slow paragraph number {n} goes here" for n in range(60_000))


class InThread:
    """A pool at work on a folder in a thread of its own, as an ingestion uses it."""

    def __init__(self, pool: ParsePool, folder: Path) -> None:
        self.pool = pool
        self.outcomes: dict[str, Outcome] = {}
        self.thread = threading.Thread(target=self._run, args=[sources(folder)])
        self.thread.start()

    def _run(self, files: list[SourceFile]) -> None:
        for source, outcome in self.pool.parse_all(files):
            self.outcomes[source.path.name] = outcome

    def worker(self, other_than: int = 0) -> int:
        """Wait until a worker parses, and return its process."""
        for _ in range(600):
            for worker in tuple(self.pool._workers):
                if worker._ready and worker.source is not None and worker._sandbox.pid != other_than:
                    return worker._sandbox.pid
            time.sleep(0.05)
        raise AssertionError("no worker has become ready")


def test_options_reach_the_parsers(warm: ParsePool, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(101_000_000))  # a thousandth of that when packed
    [(_, outcome)] = warm.parse_all(sources(tmp_path))
    assert "raise ingest.max_expansion" in str(outcome)


@pytest.mark.skipif(sys.platform != "linux", reason="uses a file of Linux's that always fails to be read")
def test_a_disk_that_does_not_answer_is_no_fault_of_the_file(warm: ParsePool) -> None:
    silent = SourceFile(Path("/proc/self/mem"), Path("/proc/self"), 1, 0, "0" * 64)
    [(source, outcome)] = warm.parse_all([silent])
    assert source == silent
    assert isinstance(outcome, UnavailableError)
    assert str(outcome) == "the file cannot be read now: Input/output error; the next run tries again"


def test_running_files_are_named_and_a_stop_ends_the_work_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(SLOW)
    (tmp_path / "b.txt").write_text("A quick one.")
    with ParsePool(1, 60, 4096) as pool:
        assert pool.running == ()
        work = InThread(pool, tmp_path)
        pid = work.worker()
        assert pool.running == (tmp_path / "a.txt",)
        started = time.monotonic()
        pool.stop()
        work.thread.join()
        assert time.monotonic() - started < 0.6
        assert (work.outcomes, pool.running) == ({}, ())
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert list(pool.parse_all(sources(tmp_path))) == []


def test_a_worker_killed_from_outside_costs_nothing_once_and_its_file_the_second_time(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(SLOW)
    with ParsePool(1, 60, 4096) as pool:
        work = InThread(pool, tmp_path)
        first = work.worker()
        os.kill(first, signal.SIGKILL)
        second = work.worker(other_than=first)
        assert pool.running == (tmp_path / "a.txt",)
        assert work.outcomes == {}
        os.kill(second, signal.SIGKILL)
        work.thread.join()
        assert "brought its parser down (exit code -9" in str(work.outcomes["a.txt"])


def test_a_caller_who_turns_away_leaves_nothing_half_done(warm: ParsePool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A quick one.")
    (tmp_path / "b.txt").write_text(SLOW)
    for source, _ in warm.parse_all(sources(tmp_path)):
        assert source.path.name == "a.txt"
        break
    assert warm.running == ()
    assert [source.path.name for source, _ in warm.parse_all(sources(tmp_path)[:1])] == ["a.txt"]


KILLED = """
import sys
from pathlib import Path
from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.documents.workers import ParsePool
files = [read_source(one) for one in discover([Path(sys.argv[1])]).files]
with ParsePool(1, 60, 4096) as pool:
    for source, _ in pool.parse_all(files):
        print(pool._workers[0]._sandbox.pid, pool._scratch.folder, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a worker ends with its file")
def test_a_parent_that_is_killed_leaves_no_worker_and_the_next_run_removes_its_files(tmp_path: Path) -> None:
    docs, aside = tmp_path / "docs", tmp_path / "aside"
    docs.mkdir()
    aside.mkdir()
    (docs / "a.txt").write_text("A quick one.")
    (docs / "b.txt").write_text(SLOW)
    command = [sys.executable, "-c", KILLED, str(docs)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(aside)})
    assert parent.stdout is not None
    pid, folder = parent.stdout.readline().split()
    time.sleep(0.3)  # it is at work on the second file
    parent.kill()
    parent.communicate()
    time.sleep(0.3)
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
    assert Path(folder).is_dir()
    (docs / "b.txt").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "TMPDIR": str(aside)})
    assert done.stdout
    assert list(aside.iterdir()) == []
