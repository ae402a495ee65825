"""Late interaction, from a folder to the hits: BGE-M3's architecture at small width, with random weights.

They prove the path and the arithmetic, not the meaning.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag_pipeline import MismatchError, RagPipeline, Settings
from rag_pipeline.config import SparseSettings, TextSettings

QUESTION = "How long is the warranty of the pump?"
TEXTS = {
    "warranty.md": "# Warranty\n\nThe warranty of the pump lasts two years from the day of delivery.",
    "desk.md": "# Service\n\nWrite to the service desk and keep the invoice.",
    "fox.md": "# Fox\n\nThe quick brown fox jumps over the lazy dog.",
}


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def settings(index: Path, model: Path, *, late: bool = True) -> Settings:
    text = TextSettings(model="bge-m3", path=model, device="cpu", late=late)
    return Settings(profile="late", index=index, text=text, sparse=SparseSettings(model="bge-m3"), reranker=None)


def test_maxsim_is_that_of_flagembedding_but_for_its_mean(docs: Path, tmp_path: Path, tiny_bge_m3: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from FlagEmbedding import BGEM3FlagModel
    with RagPipeline(settings(tmp_path / "rag", tiny_bge_m3)) as rag:
        assert rag.ingest(docs).chunks == 3
        stored: dict[str, Any] = {str(line["id"]): line["vectors"] for line in rag.export(vectors=True)}
        hits = rag.search(QUESTION)
        late = rag.encoder.encode_queries([QUESTION]).late
        [many] = rag.search_many([QUESTION])
        assert rag.ingest(docs).files["unchanged"] == 3
    assert late is not None
    assert len(hits) == 3
    assert [(hit.id, hit.score) for hit in many] == [(hit.id, hit.score) for hit in hits]
    for hit in hits:
        passage = np.array(stored[hit.id]["late"], dtype=np.float32)
        score = hit.legs["late"].score
        # The engine adds up each token's best over the question's tokens, where colbert_score takes the mean. It keeps
        # passages in half precision, and export shows what it keeps.
        assert score == pytest.approx(float((late[0] @ passage.T).max(axis=1).sum()), rel=1e-3)
        mean = float(BGEM3FlagModel.colbert_score(None, late[0], passage))
        assert score == pytest.approx(mean * len(late[0]), rel=1e-3)
    assert sorted(hit.legs["late"].rank for hit in hits) == [1, 2, 3]


@pytest.mark.soak
def test_a_snapshot_has_them_and_other_settings_do_not_open_it(docs: Path, tmp_path: Path, tiny_bge_m3: Path) -> None:
    with RagPipeline(settings(tmp_path / "rag", tiny_bge_m3)) as rag:
        rag.ingest(docs)
        before = list(rag.export(vectors=True))
        rag.create_snapshot(tmp_path / "snapshot.tar.gz")
    with RagPipeline(settings(tmp_path / "again", tiny_bge_m3)) as again:
        again.restore_snapshot(tmp_path / "snapshot.tar.gz")
        assert list(again.export(vectors=True)) == before
    made = r"has the legs dense \(64\), sparse, late \(64\); these settings make dense \(64\), sparse;"
    with (
        RagPipeline(settings(tmp_path / "again", tiny_bge_m3, late=False)) as plain,
        pytest.raises(MismatchError, match=made),
    ):
        plain.search(QUESTION)
