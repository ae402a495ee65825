"""`rag ingest` killed at random moments, workers and all: one more run must end where an uninterrupted one ends."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak

KILLS = int(os.environ.get("SOAK_KILLS", "25"))
RAG = [sys.executable, "-m", "rag_pipeline"]


def run(*arguments: object) -> str:
    done = subprocess.run([*RAG, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def page(name: str, number: int) -> str:
    return f"# {name} {number}\n\n" + "\n\n".join(f"Remark {i} of {name}, edition {number}." for i in range(12))


def folder_before(docs: Path) -> None:
    shutil.rmtree(docs, ignore_errors=True)
    docs.mkdir()
    for name in ("changing", "moving", "going", "staying", "copied"):
        (docs / f"{name}.md").write_text(page(name, 1), encoding="utf-8")


def folder_after(docs: Path) -> None:
    (docs / "changing.md").write_text(page("changing", 2), encoding="utf-8")
    (docs / "moving.md").rename(docs / "moved.md")
    (docs / "going.md").unlink()
    shutil.copy(docs / "copied.md", docs / "copy.md")
    for number in range(6):
        (docs / f"coming{number}.md").write_text(page("coming", number), encoding="utf-8")


def kill_after(seconds: float, docs: Path, index: Path) -> bool:
    """Start a run and kill its whole process group; return whether it was still running."""
    command = [*RAG, "ingest", str(docs), "--index", str(index)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    docs, before = tmp_path / "docs", tmp_path / "before"
    folder_before(docs)
    run("ingest", docs, "--index", before)
    folder_after(docs)
    started = time.monotonic()
    run("ingest", docs, "--index", tmp_path / "fresh")
    whole = time.monotonic() - started
    expected = run("export", "--vectors", "--index", tmp_path / "fresh")
    moments, hit = random.Random(0), 0
    for number in range(KILLS):
        index = tmp_path / f"killed{number}"
        folder_before(docs)
        shutil.copytree(before, index)
        folder_after(docs)
        hit += kill_after(moments.uniform(0.1, 1.1) * whole, docs, index)
        run("ingest", docs, "--index", index)
        assert run("export", "--vectors", "--index", index) == expected, f"kill {number}"
        shutil.rmtree(index)
    print(f"{hit} of {KILLS} kills met a running ingestion of {whole:.1f} s")
    assert hit >= KILLS // 2
