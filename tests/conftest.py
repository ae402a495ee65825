"""How tests share a machine, and what is made once for all that only read it: small checkpoints and indexes."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline import RagPipeline  # turns the hub off before a test imports what would look for it
from tests.command_line import NOTES, OPENING, document, rag
from tests.otter import DOCUMENTS

# Two tests run beside each other on two cores, and a parsing process takes seconds of one to start. Tests of several
# set the variable themselves: it wins over a settings file.
os.environ.setdefault("RAG_INGEST__WORKERS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # torch's threads spin while they wait for each other: with more threads than cores, half of the time went there.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

IN_MEMORY = Path("/dev/shm")
ENOUGH = 6 * 2**30
"""Bytes that must be free there: more than a whole run writes, with no folder removed before its end."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory where there is room, but for the sweeps.

    The engine waits for the disk at every flush, and tests took turns waiting. What a killed process has written is
    the same in both: only a machine that loses its power forgets what it has not flushed.
    """
    if config.option.basetemp or config.option.markexpr == "soak" or not IN_MEMORY.is_dir():
        return
    system = os.statvfs(IN_MEMORY)
    if system.f_bavail * system.f_frsize > ENOUGH and not system.f_flag & os.ST_NOEXEC:
        config.option.basetemp = tempfile.mkdtemp(prefix="rag-tests-", dir=IN_MEMORY)
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """pytest's own, which it would keep until the end: an index takes up to 90 MB, and there are dozens."""
    yield tmp_path
    if tmp_path.is_relative_to(IN_MEMORY):
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_bge_m3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.checkpoints import make_bge_m3  # imports torch: seconds that other rooms' tests need not wait

    return make_bge_m3(tmp_path_factory.mktemp("bge-m3"))


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.checkpoints import make_clip

    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def tiny_reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.checkpoints import make_reranker

    return make_reranker(tmp_path_factory.mktemp("reranker"))


@pytest.fixture(scope="session")
def otter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("otter")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def otter_index(otter_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RagPipeline]:
    """The folder above in an index of the compact profile; to be read only."""
    with RagPipeline.from_config(index=tmp_path_factory.mktemp("index") / "rag") as made:
        made.ingest(otter_folder)
        yield made


@pytest.fixture(scope="session")
def otter_command_line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A folder of two files, the index that `rag ingest` has made of it, and what that said; to be read only."""
    folder, index = tmp_path_factory.mktemp("documents"), tmp_path_factory.mktemp("index") / "rag"
    (folder / "otter.md").write_text(NOTES, encoding="utf-8")
    (folder / "office.md").write_text(OPENING, encoding="utf-8")
    (folder / "office.md.meta.yaml").write_text("tags: [rules]\ndate: 2024-03-01\nauthor: Ann\n", encoding="utf-8")
    return folder, index, document(rag("ingest", folder, "--index", index, "--json"))
