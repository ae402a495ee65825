from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag_pipeline.encoders.sentence import SentenceEncoder
from rag_pipeline.encoders.weights import Weights, locate
from rag_pipeline.errors import ConfigError, InputError, UnavailableError
from rag_pipeline.protocols import DenseEncoder

TEXTS = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return locate("all-MiniLM-L6-v2", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def encoder(weights: Weights) -> SentenceEncoder:
    return SentenceEncoder(weights, device="cpu")


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


def test_truncation_cuts_the_end(encoder: SentenceEncoder) -> None:
    cut = encoder.encode_passages(["a " * 600], truncate=True)
    assert cut == pytest.approx(encoder.encode_passages(["a " * 254]), abs=1e-6)


def test_threads_take_turns(encoder: SentenceEncoder) -> None:
    expected = encoder.encode_passages(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(lambda _: encoder.encode_passages(TEXTS), range(8)):
            assert rows == pytest.approx(expected, abs=1e-6)


def test_the_fingerprint_is_the_weights(encoder: SentenceEncoder, weights: Weights) -> None:
    assert encoder.fingerprint == weights.fingerprint


def test_an_unknown_device(weights: Weights) -> None:
    with pytest.raises(ConfigError, match="device 'gpu' is not known"):
        SentenceEncoder(weights, device="gpu")


def test_a_damaged_file(weights: Weights, tmp_path: Path) -> None:
    for name, path in weights.files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(path.read_bytes()[:1000] if name == "model.safetensors" else path.read_bytes())
    with pytest.raises(UnavailableError, match=r"cannot load the weights in .*rag models verify all-MiniLM-L6-v2"):
        SentenceEncoder(replace(weights, folder=tmp_path), device="cpu")
