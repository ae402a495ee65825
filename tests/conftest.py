"""Folders with small checkpoints, made once for a test session."""

import os
from pathlib import Path

import pytest

import rag_pipeline  # noqa: F401  # turns the hub off before a test imports what would look for it

# Two tests run beside each other on two cores, and a parsing process takes seconds of one to start. Tests of several
# set the variable themselves: it wins over a settings file.
os.environ.setdefault("RAG_INGEST__WORKERS", "1")


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
