"""all-MiniLM-L6-v2 with its real weights, and random ones in the layouts of other models, run as the library runs them.

The published similarities and the real weights show that the numbers are right; the random folders show that layouts,
prompts, pooling and final layers are read as sentence-transformers reads them.
"""

import copy
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel, CamembertConfig, CamembertModel, RobertaConfig, RobertaModel

from rag_pipeline.encoders.heads import DenseHead
from rag_pipeline.encoders.layout import PACKED
from rag_pipeline.encoders.registry import HubSource, Model, PinnedFile
from rag_pipeline.encoders.runner import TorchRunner, Transformer
from rag_pipeline.encoders.sentence import SentenceEncoder, load_sentence
from rag_pipeline.encoders.weights import Weights, locate
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.protocols import DenseEncoder
from rag_pipeline.types import FloatMatrix
from tests.sentence_folders import SHAPE, make_arctic, make_bge_small, make_e5, make_mpnet, make_with_dense, write

TEXTS = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
MIXED = [*TEXTS, "", "Ω ≈ 3", "The warranty of the pump lasts two years. " * 8, "UPPER lower", TEXTS[0]]


def make_encoder(weights: Weights, **prompts: str) -> SentenceEncoder:
    runner = TorchRunner(load_sentence(weights), [torch.device("cpu")], torch.float32, batch_tokens=256)
    return SentenceEncoder(weights, runner, **prompts)


def of_folder(folder: Path, **prompts: str) -> SentenceEncoder:
    return make_encoder(locate("mine", folder.parent / "models", folder), **prompts)


def library(folder: Path, **more: object) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True, **more)


def as_published(model: SentenceTransformer, texts: list[str]) -> tuple[FloatMatrix, FloatMatrix]:
    """Questions and passages as the library encodes them.

    Its ``encode_document`` documents that it takes a prompt called "passage" where there is none called "document"; in
    6.2 a placeholder of that name is always there. So the name is given.
    """
    name = "passage" if model.prompts.get("passage") else None
    return (
        model.encode_query(texts, normalize_embeddings=True, show_progress_bar=False),
        model.encode_document(texts, prompt_name=name, normalize_embeddings=True, show_progress_bar=False),
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return locate("all-MiniLM-L6-v2", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def encoder(weights: Weights) -> SentenceEncoder:
    return make_encoder(weights)


def test_is_a_dense_encoder(encoder: SentenceEncoder) -> None:
    assert isinstance(encoder, DenseEncoder)
    assert (encoder.dim, encoder.max_tokens) == (384, 256)


def test_similarities_are_those_that_sentence_transformers_publishes(encoder: SentenceEncoder) -> None:
    # https://www.sbert.net/docs/quickstart.html prints this matrix for this model and these sentences.
    rows = encoder.encode_passages(TEXTS)
    published = np.array([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])
    assert rows @ rows.T == pytest.approx(published, abs=1e-4)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(3), abs=1e-6)


def test_real_weights_give_the_vectors_of_the_library(encoder: SentenceEncoder, weights: Weights) -> None:
    texts = [*MIXED, "a " * 254, *(f"{'word ' * number}end" for number in range(1, 60, 6))]
    queries, passages = as_published(library(weights.folder), texts)
    np.testing.assert_allclose(encoder.encode_queries(texts), queries, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_passages(texts), passages, atol=1e-5)


FOLDERS: dict[str, Callable[[Path], Path]] = {
    "bge-small, prompts": lambda folder: make_bge_small(folder, query="Represent this sentence: "),
    "bge-small, as published": make_bge_small,
    "arctic": make_arctic,
    "e5, prompts": lambda folder: make_e5(folder, query="query: ", passage="passage: "),
    "e5, as published": make_e5,
    "a default prompt": lambda folder: write(
        make_e5(folder),
        "config_sentence_transformers.json",
        {"prompts": {"classify": "classify: "}, "default_prompt_name": "classify"},
    ),
    "mpnet": make_mpnet,
    "dense": make_with_dense,
    "dense, first 16": lambda folder: make_with_dense(folder, truncate_dim=16),
}


@pytest.mark.parametrize("make", FOLDERS.values(), ids=FOLDERS.keys())
def test_a_folder_is_run_as_the_library_runs_it(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make(tmp_path / "folder")
    encoder, model = of_folder(folder), library(folder)
    queries, passages = as_published(model, MIXED)
    assert encoder.max_tokens == min(model.max_seq_length or 0, encoder.max_tokens)
    assert encoder.dim == passages.shape[1]
    np.testing.assert_allclose(encoder.encode_queries(MIXED), queries, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_passages(MIXED), passages, atol=1e-5)
    assert np.ptp(passages @ passages.T) > 0.01, "vectors that are all equal would prove nothing"


@pytest.mark.parametrize(
    ("kind", "settings"), [(BertModel, BertConfig), (RobertaModel, RobertaConfig), (CamembertModel, CamembertConfig)]
)
def test_models_that_run_without_padding_give_what_padding_gives(kind: Any, settings: Any) -> None:
    torch.manual_seed(0)
    body = kind(settings(vocab_size=100, max_position_embeddings=64, **SHAPE)).eval()
    assert body.config.model_type in PACKED
    rows = [[2, *range(10, 10 + length), 3] for length in (1, 30, 7, 7, 12)]
    first = 0 if kind is BertModel else body.config.pad_token_id + 1
    found = []
    for pads in (False, True):
        model = Transformer(copy.deepcopy(body), "mean", DenseHead(), first_position=first, pads=pads)
        runner = TorchRunner(model, [torch.device("cpu")], torch.float32, batch_tokens=64)
        found.append(np.stack(runner.run(rows, ("dense",))["dense"]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.ptp(found[0] @ found[0].T) > 0.01, "vectors that are all equal would prove nothing"


def test_prompts_stand_where_the_folder_puts_them(tmp_path: Path) -> None:
    plain = of_folder(make_e5(tmp_path / "plain"))
    both = of_folder(make_e5(tmp_path / "both", query="query: ", passage="passage: "))
    np.testing.assert_allclose(both.encode_queries(["pump"]), plain.encode_passages(["query: pump"]), atol=1e-6)
    np.testing.assert_allclose(both.encode_passages(["pump"]), plain.encode_passages(["passage: pump"]), atol=1e-6)
    questions_only = of_folder(make_arctic(tmp_path / "arctic"))
    np.testing.assert_allclose(
        questions_only.encode_queries(["pump"]), questions_only.encode_passages(["query: pump"]), atol=1e-6
    )


def test_prompts_of_ones_own_replace_those_of_the_folder_and_are_in_the_fingerprint(tmp_path: Path) -> None:
    folder = make_e5(tmp_path / "folder")
    plain = of_folder(folder)
    own = of_folder(folder, query_prompt="query: ", passage_prompt="passage: ")
    np.testing.assert_allclose(own.encode_queries(["pump"]), plain.encode_queries(["query: pump"]), atol=1e-6)
    np.testing.assert_allclose(own.encode_passages(["pump"]), plain.encode_passages(["passage: pump"]), atol=1e-6)
    assert own.fingerprint == f"{plain.fingerprint} query_prefix='query: ' passage_prefix='passage: '"


def test_a_bare_folder_is_run_as_the_registry_states(tmp_path: Path) -> None:
    folder = make_bge_small(tmp_path / "models" / "bare")
    model = library(folder, prompts={"query": "Represent: "})
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    pins = tuple(PinnedFile(name, 1, "0" * 64) for name in ("config.json", "tokenizer.json", "model.safetensors"))
    options = {"pooling": "cls", "query_prefix": "Represent: ", "passage_prefix": "", "max_tokens": 512, "dim": 64}
    entry = Model("bare", "transformers", "MIT", HubSource("someone/bare", "0" * 40), options, pins)
    weights = locate("bare", tmp_path / "models", folder, models={"bare": entry})
    encoder = make_encoder(weights)
    queries, passages = as_published(model, MIXED)
    np.testing.assert_allclose(encoder.encode_queries(MIXED), queries, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_passages(MIXED), passages, atol=1e-5)
    stated = " pooling=cls query_prefix='Represent: ' passage_prefix=''"
    assert encoder.fingerprint == weights.fingerprint + stated


def test_a_body_in_a_folder_of_its_own(tmp_path: Path) -> None:
    folder = make_bge_small(tmp_path / "folder")
    plain = of_folder(folder).encode_passages(MIXED)
    (folder / "0_Transformer").mkdir()
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "sentence_bert_config.json",
    ):
        (folder / name).rename(folder / "0_Transformer" / name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    write(folder, "modules.json", modules)
    np.testing.assert_allclose(of_folder(folder).encode_passages(MIXED), plain, atol=1e-6)


def test_pickled_layers_load_too(tmp_path: Path) -> None:
    folder = make_with_dense(tmp_path / "folder")
    safe = of_folder(folder).encode_passages(MIXED)
    for name in ("2_Dense", "3_Dense"):
        torch.save(load_file(folder / name / "model.safetensors"), folder / name / "pytorch_model.bin")
        (folder / name / "model.safetensors").unlink()
    np.testing.assert_allclose(of_folder(folder).encode_passages(MIXED), safe, atol=1e-6)


def test_a_layer_without_its_weights(tmp_path: Path) -> None:
    folder = make_with_dense(tmp_path / "folder")
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(UnavailableError, match=r"cannot load the layer in .*2_Dense .*; complete the folder"):
        of_folder(folder)


def test_this_model_has_no_prompts(encoder: SentenceEncoder) -> None:
    assert encoder.encode_queries(TEXTS) == pytest.approx(encoder.encode_passages(TEXTS), abs=1e-6)


def test_a_vector_hardly_depends_on_its_neighbours(encoder: SentenceEncoder) -> None:
    together = encoder.encode_passages([*TEXTS, "word " * 200])[:3]
    assert together == pytest.approx(np.vstack([encoder.encode_passages([text]) for text in TEXTS]), abs=1e-5)


def test_nothing_in_nothing_out(encoder: SentenceEncoder) -> None:
    assert encoder.encode_passages([]).shape == encoder.encode_queries([]).shape == (0, 384)
    assert encoder.count_tokens([]) == []


def test_tokens_are_counted_with_the_special_ones(encoder: SentenceEncoder) -> None:
    assert encoder.count_tokens(["", "hello world", "a " * 600]) == [2, 4, 602]


def test_a_text_at_the_limit_is_read_and_one_beyond_is_refused(encoder: SentenceEncoder) -> None:
    encoder.encode_passages(["a " * 254])
    with pytest.raises(InputError, match=r"text 2 of 2 has 257 tokens, 'all-MiniLM-L6-v2' reads 256"):
        encoder.encode_passages(["short", "a " * 255])
    with pytest.raises(InputError, match="text 1 of 1 has 257 tokens"):
        encoder.encode_queries(["a " * 255])


def test_the_prompt_counts(tmp_path: Path) -> None:
    encoder = of_folder(make_with_dense(tmp_path / "folder"), query_prompt="a a ")
    assert encoder.max_tokens == 128
    encoder.encode_passages(["a " * 126])
    with pytest.raises(InputError, match="text 1 of 1 has 129 tokens, 'mine' reads 128"):
        encoder.encode_queries(["a " * 125])


def test_truncation_cuts_the_end(encoder: SentenceEncoder) -> None:
    cut = encoder.encode_passages(["a " * 600], truncate=True)
    assert cut == pytest.approx(encoder.encode_passages(["a " * 254]), abs=1e-6)


def test_threads_share_one(encoder: SentenceEncoder) -> None:
    expected = encoder.encode_passages(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        for rows in pool.map(lambda _: encoder.encode_passages(TEXTS), range(16)):
            assert rows == pytest.approx(expected, abs=1e-6)


def test_the_fingerprint_is_the_weights(encoder: SentenceEncoder, weights: Weights) -> None:
    assert encoder.fingerprint == weights.fingerprint
    # What indexes made before the library was left out carry.
    assert encoder.fingerprint == "all-MiniLM-L6-v2@ad82b244946ca0d2"


def test_a_damaged_file(weights: Weights, tmp_path: Path) -> None:
    shutil.copytree(weights.folder, tmp_path / "folder", ignore=shutil.ignore_patterns("model.safetensors"))
    (tmp_path / "folder" / "model.safetensors").write_bytes((weights.folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(UnavailableError, match=r"cannot load the weights in .*rag models verify"):
        make_encoder(replace(weights, folder=tmp_path / "folder"))
