"""BGE-M3 runs for real, on a small checkpoint; FlagEmbedding's own encode is the oracle."""

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import load_file

from rag_pipeline.encoders.bge_m3 import BgeM3Encoder, max_weights
from rag_pipeline.errors import ConfigError, InputError, UnavailableError
from rag_pipeline.protocols import TextEncoder
from rag_pipeline.types import TextVectors

TEXTS = [
    "The warranty of the pump lasts two years.",
    "",
    "   \n\t ",
    "pump pump pump PUMP pump",
    "Die Garantie der Pumpe gilt zwei Jahre. La garantía dura dos años.",
    "ポンプの保証期間は納品日から二年間です。 水泵的保修期为两年。 مدة الضمان سنتان",
    "unknown: ☃ 𝄞 <mask> <pad> <s> </s> <unk>",
    "?",
    " ".join(f"Repairs within the warranty are free of charge, case {i}." for i in range(45)),
    " ".join(f"service desk {i}" for i in range(300)),
]


@pytest.fixture(scope="session")
def encoder(tiny_bge_m3: Path) -> BgeM3Encoder:
    return BgeM3Encoder(tiny_bge_m3, "tiny", device="cpu")


@pytest.fixture(scope="session")
def oracle(tiny_bge_m3: Path) -> dict[str, Any]:
    with warnings.catch_warnings():
        # FlagEmbedding's imports reach modules that datasets, peft and Swig deprecate.
        warnings.simplefilter("ignore", DeprecationWarning)
        from FlagEmbedding import BGEM3FlagModel

    model = BGEM3FlagModel(str(tiny_bge_m3), use_fp16=False, devices="cpu")
    return model.encode(TEXTS, batch_size=4, max_length=8192, return_dense=True, return_sparse=True)


def copy(folder: Path, target: Path, *, without: str = "") -> Path:
    shutil.copytree(folder, target)
    if without:
        (target / without).unlink()
    return target


def assert_same(vectors: TextVectors, others: TextVectors) -> None:
    np.testing.assert_allclose(vectors.dense, others.dense, atol=1e-5)
    for one, other in zip(vectors.sparse, others.sparse, strict=True):
        assert one.indices.tolist() == other.indices.tolist()
        np.testing.assert_allclose(one.values, other.values, atol=1e-4)


def test_the_texts_cover_what_flagembedding_would_cut(encoder: BgeM3Encoder) -> None:
    lengths = encoder.count_tokens(TEXTS)
    assert lengths[1] == lengths[2] == 2
    assert sum(length > 512 for length in lengths) == 2


def test_dense_equals_flagembedding(encoder: BgeM3Encoder, oracle: dict[str, Any]) -> None:
    vectors = encoder.encode_passages(TEXTS)
    assert vectors.dense.dtype == np.float32
    np.testing.assert_allclose(vectors.dense, oracle["dense_vecs"], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors.dense, axis=1), 1, atol=1e-5)


def test_sparse_equals_flagembedding(encoder: BgeM3Encoder, oracle: dict[str, Any]) -> None:
    vectors = encoder.encode_passages(TEXTS)
    for vector, weights in zip(vectors.sparse, oracle["lexical_weights"], strict=True):
        expected = {int(token): float(weight) for token, weight in weights.items()}
        assert vector.indices.tolist() == sorted(expected)
        np.testing.assert_allclose(vector.values, [expected[i] for i in vector.indices.tolist()], atol=1e-4)
    assert any(len(vector.indices) > 20 for vector in vectors.sparse), "weights that are all zero would prove nothing"


def test_queries_are_encoded_as_passages(encoder: BgeM3Encoder) -> None:
    assert_same(encoder.encode_queries(TEXTS[:5]), encoder.encode_passages(TEXTS[:5]))


def test_vectors_do_not_depend_on_the_batch(encoder: BgeM3Encoder, tiny_bge_m3: Path) -> None:
    small = BgeM3Encoder(tiny_bge_m3, "tiny", device="cpu", batch_tokens=1)
    assert_same(small.encode_passages(TEXTS), encoder.encode_passages(TEXTS))


def test_eight_threads_agree_with_one(encoder: BgeM3Encoder) -> None:
    texts = [text for text in TEXTS if len(text) < 1000]
    alone = encoder.encode_passages(texts)
    with ThreadPoolExecutor(8) as pool:
        for vectors in pool.map(lambda _: encoder.encode_passages(texts), range(32)):
            assert_same(vectors, alone)


def test_no_text_is_no_vector(encoder: BgeM3Encoder) -> None:
    vectors = encoder.encode_passages([])
    assert vectors.dense.shape == (0, 64)
    assert vectors.sparse == ()


def test_it_is_a_text_encoder(encoder: BgeM3Encoder) -> None:
    assert isinstance(encoder, TextEncoder)
    assert (encoder.fingerprint, encoder.dim, encoder.max_tokens, encoder.sparse_needs_idf) == ("tiny", 64, 8192, False)


def test_a_text_past_the_limit_is_refused_or_cut(encoder: BgeM3Encoder) -> None:
    # "the" is 3 tokens here, <s> and </s> are 2 more: 2730 of them fill the 8192 exactly.
    text, fitting = "the " * 9000, "the " * 2730
    assert encoder.count_tokens([text, "the", fitting]) == [27_002, 5, 8192]
    with pytest.raises(InputError, match=r"text 2 of 2 has 27002 tokens, the model reads 8192"):
        encoder.encode_passages(["the", text])
    with pytest.raises(InputError, match="27002 tokens"):
        encoder.encode_queries([text])
    assert_same(encoder.encode_passages([text], truncate=True), encoder.encode_passages([fitting]))


@pytest.mark.parametrize(
    "name",
    ["sparse_linear.pt", "colbert_linear.pt", "tokenizer.json", "config.json", "model.safetensors"],
)
def test_a_checkpoint_that_lacks_a_file_is_refused(tiny_bge_m3: Path, tmp_path: Path, name: str) -> None:
    folder = copy(tiny_bge_m3, tmp_path / "m3", without=name)
    with pytest.raises(UnavailableError, match=rf"{name}.* is missing in .*; run: rag models pull"):
        BgeM3Encoder(folder, "tiny")


@pytest.mark.parametrize("name", ["sparse_linear.pt", "tokenizer.json", "config.json", "model.safetensors"])
def test_a_broken_file_is_refused_in_one_line(tiny_bge_m3: Path, tmp_path: Path, name: str) -> None:
    folder = copy(tiny_bge_m3, tmp_path / "m3")
    (folder / name).write_bytes(b"not what it says")
    with pytest.raises(UnavailableError, match="run: rag models") as caught:
        BgeM3Encoder(folder, "tiny")
    assert "\n" not in str(caught.value)


def test_weights_that_lack_a_parameter_are_refused(tiny_bge_m3: Path, tmp_path: Path) -> None:
    folder = copy(tiny_bge_m3, tmp_path / "m3", without="model.safetensors")
    state = load_file(tiny_bge_m3 / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(UnavailableError, match=r"lack 1 parameters, the first 'encoder.layer.1.output.dense.weight'"):
        BgeM3Encoder(folder, "tiny")


def test_a_head_of_another_width_is_refused(tiny_bge_m3: Path, tmp_path: Path) -> None:
    folder = copy(tiny_bge_m3, tmp_path / "m3")
    torch.save(torch.nn.Linear(32, 1).state_dict(), folder / "sparse_linear.pt")
    with pytest.raises(UnavailableError, match=r"shape \(1, 32\), the model needs \(1, 64\)"):
        BgeM3Encoder(folder, "tiny")


def test_the_published_pickle_layout_loads_too(encoder: BgeM3Encoder, tiny_bge_m3: Path, tmp_path: Path) -> None:
    folder = copy(tiny_bge_m3, tmp_path / "m3", without="model.safetensors")
    torch.save(load_file(tiny_bge_m3 / "model.safetensors"), folder / "pytorch_model.bin")
    assert_same(BgeM3Encoder(folder, "tiny").encode_passages(TEXTS[:4]), encoder.encode_passages(TEXTS[:4]))


def test_an_unknown_device_is_a_configuration_error(tiny_bge_m3: Path) -> None:
    with pytest.raises(ConfigError, match=r"device 'tpu' .* use auto, cpu, cuda"):
        BgeM3Encoder(tiny_bge_m3, "tiny", device="tpu")
    with pytest.raises(UnavailableError, match="device 'cuda:99' is not on this machine"):
        BgeM3Encoder(tiny_bge_m3, "tiny", device="cuda:99")


@given(
    hnp.arrays(np.int64, (3, 8), elements=st.integers(0, 5)),
    hnp.arrays(np.float32, (3, 8), elements=st.floats(0, 4, width=32)),
)
def test_term_weights_are_the_largest_of_each_id(ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> None:
    for vector, row_ids, row_weights in zip(max_weights(ids, weights), ids, weights, strict=True):
        expected: dict[int, float] = {}
        for token, weight in zip(row_ids.tolist(), row_weights.tolist(), strict=True):
            if weight > expected.get(token, 0):
                expected[token] = weight
        assert dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True)) == expected
        assert vector.indices.tolist() == sorted(expected)
