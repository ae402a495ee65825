"""Settings become the models that they name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from rag_pipeline.config import Settings, TextSettings
from rag_pipeline.errors import ConfigError, UnavailableError
from rag_pipeline.evidence import Evidence
from rag_pipeline.parts import make_cross_encoder, make_gate, make_text_encoder
from rag_pipeline.retrieval.cross_encoder import FallbackReranker, TorchReranker

PASSAGES = ["The warranty of the pump lasts two years.", "Die Garantie der Pumpe gilt zwei Jahre."]
MINILM = "ms-marco-MiniLM-L-12-v2"


def settings(folder: Path, models_dir: Path, **reranker: Any) -> Settings:
    chosen = {"model": "bge-reranker-v2-m3", "path": folder, "device": "cpu", **reranker}
    return Settings(models_dir=models_dir, reranker=chosen)


def test_a_reranker_runs_in_its_precision_and_budget(tiny_reranker: Path, tmp_path: Path) -> None:
    full = make_cross_encoder(settings(tiny_reranker, tmp_path, batch_tokens=10))
    half = make_cross_encoder(settings(tiny_reranker, tmp_path, dtype="bfloat16"))
    assert isinstance(full, TorchReranker)
    assert isinstance(half, TorchReranker)
    apart = np.abs(full.score("pump", PASSAGES) - half.score("pump", PASSAGES)).max()
    assert 0 < apart < 0.1
    with pytest.raises(ValidationError, match=r"reranker\.dtype"):
        settings(tiny_reranker, tmp_path, dtype="int8")


def test_a_reranker_with_a_fallback(tiny_reranker: Path, tmp_path: Path) -> None:
    plain = make_cross_encoder(settings(tiny_reranker, tmp_path))
    reranker = make_cross_encoder(settings(tiny_reranker, tmp_path, fallback=MINILM))
    assert isinstance(reranker, FallbackReranker)
    assert plain is not None
    assert reranker.fingerprint == plain.fingerprint
    assert reranker.score("pump", PASSAGES).tolist() == plain.score("pump", PASSAGES).tolist()


def test_a_fallback_that_is_missing_is_said_at_once(tiny_reranker: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="rag models pull bge-reranker-v2-m3"):
        make_cross_encoder(settings(tiny_reranker, tmp_path, fallback="bge-reranker-v2-m3"))
    with pytest.raises(ConfigError, match="no model is called 'bge-reranker-tiny'"):
        make_cross_encoder(settings(tiny_reranker, tmp_path, fallback="bge-reranker-tiny"))


def test_late_interaction_needs_a_model_of_token_vectors() -> None:
    with pytest.raises(ConfigError, match=r"text\.late needs .* 'bge-small-en-v1.5' has none"):
        make_text_encoder(Settings(text=TextSettings(late=True)))


def test_the_gate_counts_logits_of_the_reranker_that_it_was_fitted_for() -> None:
    """No weights. The pinned reranker's are -0.8, 3.87 and 0.39: all words and a logit of -9 make log-odds of -0.44."""
    passage = "The warranty of the pump lasts two years."
    evidence = [Evidence("e", 1, 1.0, "a.md", passage, None, (), (), {}, logit=-9.0, language="en")]
    fitted: dict[str, Any] = {"model": MINILM}
    for chosen, expected in (
        (fitted, 1 / (1 + np.exp(0.44))),
        ({**fitted, "fallback": MINILM}, 1 / (1 + np.exp(4.91 - 9.3))),
        ({"model": "bge-reranker-v2-m3"}, 1 / (1 + np.exp(4.91 - 9.3))),
        (None, 1 / (1 + np.exp(4.91 - 9.3))),
    ):
        verdict = make_gate(Settings(reranker=chosen)).judge("Does the warranty of the pump last for years?", evidence)
        assert verdict.confidence == pytest.approx(expected), chosen
