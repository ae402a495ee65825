from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag_pipeline.encoders.onnx import OnnxEncoder
from rag_pipeline.encoders.weights import Weights, locate
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.protocols import DenseEncoder

TEXTS = [
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
    "A much longer text about the calibration of turbidity sensors in lakes. " * 12,
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return locate("bge-small-en-v1.5", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def encoder(weights: Weights) -> OnnxEncoder:
    return OnnxEncoder(weights, threads=2)


def test_is_a_dense_encoder(encoder: OnnxEncoder) -> None:
    assert isinstance(encoder, DenseEncoder)
    assert (encoder.dim, encoder.max_tokens) == (384, 512)


def test_rows_are_unit_float32(encoder: OnnxEncoder) -> None:
    rows = encoder.encode_passages(TEXTS)
    assert (rows.shape, rows.dtype) == ((4, 384), np.float32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(4), abs=1e-6)


def test_numbers_stay_what_they_were(encoder: OnnxEncoder) -> None:
    # Recorded from onnxruntime 1.31.1; the tolerance is for processors that round INT8 products otherwise.
    rows = encoder.encode_passages(TEXTS[:3])
    assert [rows[0] @ rows[1], rows[0] @ rows[2], rows[1] @ rows[2]] == pytest.approx(
        [0.8375, 0.5388, 0.5625], abs=0.02
    )
    assert rows[0, :4] == pytest.approx([0.0022, -0.0159, 0.0360, 0.0166], abs=0.01)


def test_nothing_in_nothing_out(encoder: OnnxEncoder) -> None:
    assert encoder.encode_passages([]).shape == encoder.encode_queries([]).shape == (0, 384)
    assert encoder.count_tokens([]) == []


def test_an_empty_text_has_a_vector(encoder: OnnxEncoder) -> None:
    assert np.linalg.norm(encoder.encode_passages([""])) == pytest.approx(1, abs=1e-6)


def test_a_vector_does_not_depend_on_its_neighbours(encoder: OnnxEncoder) -> None:
    together = encoder.encode_passages(TEXTS)
    alone = np.vstack([encoder.encode_passages([text]) for text in reversed(TEXTS)])[::-1]
    assert np.array_equal(together, alone)


def test_nor_on_the_number_of_threads(encoder: OnnxEncoder, weights: Weights) -> None:
    assert np.array_equal(encoder.encode_passages(TEXTS), OnnxEncoder(weights, threads=1).encode_passages(TEXTS))


def test_nor_on_other_callers(encoder: OnnxEncoder) -> None:
    expected = encoder.encode_passages(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(lambda _: encoder.encode_passages(TEXTS), range(8)):
            assert np.array_equal(rows, expected)


def test_tokens_are_counted_with_the_special_ones(encoder: OnnxEncoder) -> None:
    assert encoder.count_tokens(["", "hello world", "a " * 600]) == [2, 4, 602]


def test_the_instruction_is_for_queries_only(encoder: OnnxEncoder) -> None:
    instruction = "Represent this sentence for searching relevant passages: "
    assert np.array_equal(encoder.encode_queries(["sun"]), encoder.encode_passages([instruction + "sun"]))
    assert not np.array_equal(encoder.encode_queries(["sun"]), encoder.encode_passages(["sun"]))


def test_a_text_at_the_limit_is_read_and_one_beyond_is_refused(encoder: OnnxEncoder) -> None:
    encoder.encode_passages(["a " * 510])
    with pytest.raises(InputError, match=r"text 2 of 2 has 513 tokens, 'bge-small-en-v1\.5' reads 512"):
        encoder.encode_passages(["short", "a " * 511])


def test_a_question_counts_its_instruction(encoder: OnnxEncoder) -> None:
    with pytest.raises(InputError, match="text 1 of 1 has 517 tokens"):
        encoder.encode_queries(["a " * 507])


def test_truncation_cuts_the_end(encoder: OnnxEncoder) -> None:
    assert np.array_equal(encoder.encode_passages(["a " * 600], truncate=True), encoder.encode_passages(["a " * 510]))
    assert np.array_equal(encoder.encode_passages(["short"], truncate=True), encoder.encode_passages(["short"]))


def test_mean_pooling_is_the_mean_of_all_states(encoder: OnnxEncoder, weights: Weights) -> None:
    mean = OnnxEncoder(replace(weights, options=dict(weights.options) | {"pooling": "mean"}))
    assert mean.fingerprint != encoder.fingerprint
    rows = mean.encode_passages(TEXTS[:2])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(2), abs=1e-6)
    assert np.all(np.abs(np.sum(rows * encoder.encode_passages(TEXTS[:2]), axis=1)) < 0.99)


def test_the_fingerprint_names_weights_pooling_and_instruction(encoder: OnnxEncoder, weights: Weights) -> None:
    assert encoder.fingerprint == (
        f"{weights.fingerprint} pooling=cls query_prefix='Represent this sentence for searching relevant passages: '"
    )


def test_a_file_that_is_no_model(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    (tmp_path / "tokenizer.json").write_bytes(weights.files["tokenizer.json"].read_bytes())
    with pytest.raises(UnavailableError, match=r"cannot load .*model\.onnx .*rag models verify bge-small-en-v1\.5"):
        OnnxEncoder(replace(weights, folder=tmp_path))
