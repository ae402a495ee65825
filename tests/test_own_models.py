"""Models in folders of the user's own, from settings to vectors. The weights are random; the way through counts."""

from pathlib import Path

import numpy as np
import pytest

from rag_pipeline.config import CacheSettings, RerankerSettings, Settings, TextSettings, load_settings
from rag_pipeline.errors import ConfigError
from rag_pipeline.parts import make_cross_encoder, make_text_encoder
from tests.sentence_folders import make_arctic, make_e5


def settings_of(tmp_path: Path, text: TextSettings, reranker: RerankerSettings | None = None) -> Settings:
    return Settings(models_dir=tmp_path / "models", text=text, reranker=reranker, cache=CacheSettings(queries=0))


def test_a_sentence_transformers_folder_under_any_name(tmp_path: Path) -> None:
    folder = make_arctic(tmp_path / "arctic")
    named = TextSettings(model="Snowflake/snowflake-arctic-embed-l-v2.0", path=folder, device="cpu")
    encoder = make_text_encoder(settings_of(tmp_path, named))
    assert encoder.fingerprint.startswith("Snowflake/snowflake-arctic-embed-l-v2.0@")
    assert (encoder.dim, encoder.max_tokens) == (64, 8192)
    assert encoder.sparse_needs_idf, "BM25 is its sparse leg"
    question, passage = encoder.encode_queries(["pump"]), encoder.encode_passages(["query: pump", "pump"])
    np.testing.assert_allclose(question.dense[0], passage.dense[0], atol=1e-6)
    assert not np.allclose(question.dense[0], passage.dense[1], atol=1e-3)


def test_prompts_come_from_the_settings_where_the_folder_has_none(tmp_path: Path) -> None:
    make_e5(tmp_path / "e5")
    (tmp_path / "rag.yaml").write_text(
        f"text:\n  model: multilingual-e5-large\n  path: {tmp_path / 'e5'}\n  device: cpu\n"
        '  prompts: {query: "query: ", document: "passage: "}\nreranker: null\n'
    )
    settings = load_settings(tmp_path / "rag.yaml", models_dir=tmp_path / "models")
    encoder = make_text_encoder(settings)
    assert "query_prefix='query: ' passage_prefix='passage: '" in encoder.fingerprint
    plain = make_text_encoder(settings_of(tmp_path, settings.text.model_copy(update={"prompts": None})))
    np.testing.assert_allclose(
        encoder.encode_queries(["pump"]).dense, plain.encode_passages(["query: pump"]).dense, atol=1e-6
    )
    np.testing.assert_allclose(
        encoder.encode_passages(["pump"]).dense, plain.encode_passages(["passage: pump"]).dense, atol=1e-6
    )


def test_prompts_are_refused_where_they_would_change_nothing(tmp_path: Path) -> None:
    text = TextSettings(prompts={"query": "query: "})
    with pytest.raises(
        ConfigError, match=r"text\.prompts are for sentence-transformers models, 'bge-small-en-v1\.5' is"
    ):
        make_text_encoder(settings_of(tmp_path, text))


def test_a_prompt_of_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rag.yaml").write_text('text: {prompts: {passage: "p: "}}\n')
    with pytest.raises(ConfigError, match=r"text\.prompts"):
        load_settings(tmp_path / "rag.yaml")


def test_a_reranker_folder_under_any_name(tiny_reranker: Path, tmp_path: Path) -> None:
    chosen = RerankerSettings(model="BAAI/bge-reranker-large", path=tiny_reranker, device="cpu")
    reranker = make_cross_encoder(settings_of(tmp_path, TextSettings(), chosen))
    assert reranker is not None
    assert reranker.fingerprint.startswith("BAAI/bge-reranker-large@")
    assert reranker.score("pump", ["The warranty of the pump", "a blue tank"]).shape == (2,)


def test_the_wrong_kind_of_folder_is_refused(tiny_reranker: Path, tmp_path: Path) -> None:
    text = TextSettings(model="mine", path=tiny_reranker)
    with pytest.raises(ConfigError, match=r"text\.model 'mine' is a torch-reranker model; choose a text encoder"):
        make_text_encoder(settings_of(tmp_path, text))
