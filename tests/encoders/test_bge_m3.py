"""BGE-M3 runs for real, on a small checkpoint; FlagEmbedding's own encode is the oracle."""

import shutil
import warnings
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from rag_pipeline.encoders.bge_m3 import BgeM3Encoder, load_bge_m3, max_weights
from rag_pipeline.encoders.runner import TorchRunner
from rag_pipeline.errors import InputError, OutOfMemoryError, UnavailableError
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
    "the " * 2730,  # 3 tokens each, <s> and </s>: the 8192 that the model reads
]


def encoder_of(
    folder: Path, *, batch_tokens: int = 8192, on_forward: Callable[[int], None] | None = None, late: bool = False
) -> BgeM3Encoder:
    model = load_bge_m3(folder)
    if on_forward is not None:
        watch = on_forward
        model.backbone.register_forward_pre_hook(
            lambda _, __, inputs: watch(inputs["input_ids"].numel()), with_kwargs=True
        )
    runner = TorchRunner(model, [torch.device("cpu")], torch.float32, batch_tokens)
    return BgeM3Encoder(folder, "tiny", runner, late=late)


@pytest.fixture(scope="session")
def encoder(tiny_bge_m3: Path) -> BgeM3Encoder:
    return encoder_of(tiny_bge_m3)


@pytest.fixture(scope="session")
def late(tiny_bge_m3: Path) -> BgeM3Encoder:
    return encoder_of(tiny_bge_m3, late=True)


@pytest.fixture(scope="session")
def oracle(tiny_bge_m3: Path) -> dict[str, Any]:
    with warnings.catch_warnings():
        # FlagEmbedding's imports reach modules that datasets, peft and Swig deprecate.
        warnings.simplefilter("ignore", DeprecationWarning)
        from FlagEmbedding import BGEM3FlagModel

    model = BGEM3FlagModel(str(tiny_bge_m3), use_fp16=False, devices="cpu")
    return model.encode(
        TEXTS, batch_size=2, max_length=8192, return_dense=True, return_sparse=True, return_colbert_vecs=True
    )


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


def assert_equals(oracle: dict[str, Any], vectors: TextVectors) -> None:
    np.testing.assert_allclose(vectors.dense, oracle["dense_vecs"], atol=1e-5)
    for vector, weights in zip(vectors.sparse, oracle["lexical_weights"], strict=True):
        expected = {int(token): float(weight) for token, weight in weights.items()}
        assert vector.indices.tolist() == sorted(expected)
        np.testing.assert_allclose(vector.values, [expected[i] for i in vector.indices.tolist()], atol=1e-4)


def test_the_texts_cover_what_flagembedding_would_cut(encoder: BgeM3Encoder) -> None:
    lengths = encoder.count_tokens(TEXTS)
    assert lengths[1] == lengths[2] == 2
    assert sum(length > 512 for length in lengths) == 3
    assert max(lengths) == 8192


def test_dense_and_sparse_equal_flagembedding(encoder: BgeM3Encoder, oracle: dict[str, Any]) -> None:
    vectors = encoder.encode_passages(TEXTS)
    assert vectors.dense.dtype == np.float32
    assert_equals(oracle, vectors)
    np.testing.assert_allclose(np.linalg.norm(vectors.dense, axis=1), 1, atol=1e-5)
    assert any(len(vector.indices) > 20 for vector in vectors.sparse), "weights that are all zero would prove nothing"


def test_late_vectors_equal_flagembedding(late: BgeM3Encoder, oracle: dict[str, Any]) -> None:
    vectors = late.encode_passages(TEXTS)
    assert vectors.late is not None
    assert_equals(oracle, vectors)
    for own, other, tokens in zip(vectors.late, oracle["colbert_vecs"], late.count_tokens(TEXTS), strict=True):
        assert own.shape == (tokens - 1, 64), "every token but <s>"
        np.testing.assert_allclose(own, other, atol=1e-5)


def test_all_three_come_from_one_forward(tiny_bge_m3: Path) -> None:
    sizes: list[int] = []
    encoder = encoder_of(tiny_bge_m3, on_forward=sizes.append, late=True)
    encoder.encode_passages(TEXTS[:4])
    assert sizes == [sum(encoder.count_tokens(TEXTS[:4]))], "no text is run twice, not even to try"


def test_they_equal_flagembedding_where_memory_is_short(tiny_bge_m3: Path, oracle: dict[str, Any]) -> None:
    sizes: list[int] = []

    def need_memory(size: int) -> None:
        sizes.append(size)
        if size > 8192:
            raise torch.OutOfMemoryError("CUDA out of memory")

    encoder = encoder_of(tiny_bge_m3, batch_tokens=100_000, on_forward=need_memory, late=True)
    vectors = encoder.encode_passages(TEXTS)
    assert vectors.late is not None
    assert sizes[0] == sum(encoder.count_tokens(TEXTS)) > 8192, "the first batch had no memory"
    assert_equals(oracle, vectors)
    for own, other in zip(vectors.late, oracle["colbert_vecs"], strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)


def test_a_text_without_memory_is_named(tiny_bge_m3: Path) -> None:
    def need_memory(size: int) -> None:
        if size > 500:
            raise torch.OutOfMemoryError("CUDA out of memory")

    encoder = encoder_of(tiny_bge_m3, on_forward=need_memory)
    with pytest.raises(OutOfMemoryError, match=r"text 3 of 3 \(8192 tokens\) does not fit the memory"):
        encoder.encode_passages([*TEXTS[:2], TEXTS[-1]])
    encoder.encode_passages(TEXTS[:4])


def test_eight_threads_equal_flagembedding(late: BgeM3Encoder, oracle: dict[str, Any]) -> None:
    with ThreadPoolExecutor(8) as pool:
        for vectors in pool.map(lambda _: late.encode_passages(TEXTS[:8]), range(32)):
            assert vectors.late is not None
            assert_equals({name: values[:8] for name, values in oracle.items()}, vectors)
            for own, other in zip(vectors.late, oracle["colbert_vecs"], strict=False):
                np.testing.assert_allclose(own, other, atol=1e-5)


def test_queries_are_encoded_as_passages(encoder: BgeM3Encoder) -> None:
    assert_same(encoder.encode_queries(TEXTS[:5]), encoder.encode_passages(TEXTS[:5]))


def test_vectors_do_not_depend_on_the_batch(encoder: BgeM3Encoder, tiny_bge_m3: Path) -> None:
    small = encoder_of(tiny_bge_m3, batch_tokens=1)
    assert_same(small.encode_passages(TEXTS), encoder.encode_passages(TEXTS))


def test_no_text_is_no_vector(encoder: BgeM3Encoder, late: BgeM3Encoder) -> None:
    vectors = late.encode_passages([])
    assert vectors.dense.shape == (0, 64)
    assert vectors.sparse == vectors.late == ()
    assert encoder.encode_passages([]).late is None


def test_it_is_a_text_encoder(encoder: BgeM3Encoder) -> None:
    assert isinstance(encoder, TextEncoder)
    assert (encoder.fingerprint, encoder.dim, encoder.max_tokens, encoder.sparse_needs_idf) == ("tiny", 64, 8192, False)


def test_a_text_past_the_limit_is_refused_or_cut(encoder: BgeM3Encoder) -> None:
    text, fitting = "the " * 9000, TEXTS[-1]
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
        encoder_of(folder)


@pytest.mark.parametrize(
    "name", ["sparse_linear.pt", "colbert_linear.pt", "tokenizer.json", "config.json", "model.safetensors"]
)
def test_a_broken_file_is_refused_in_one_line(tiny_bge_m3: Path, tmp_path: Path, name: str) -> None:
    folder = copy(tiny_bge_m3, tmp_path / "m3")
    (folder / name).write_bytes(b"not what it says")
    with pytest.raises(UnavailableError, match="run: rag models") as caught:
        encoder_of(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_lack_a_parameter_are_refused(tiny_bge_m3: Path, tmp_path: Path) -> None:
    folder = copy(tiny_bge_m3, tmp_path / "m3", without="model.safetensors")
    state = load_file(tiny_bge_m3 / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(UnavailableError, match=r"lack 1 parameters, the first 'encoder.layer.1.output.dense.weight'"):
        encoder_of(folder)


@pytest.mark.parametrize(("name", "rows"), [("sparse_linear.pt", 1), ("colbert_linear.pt", 64)])
def test_a_head_of_another_width_is_refused(tiny_bge_m3: Path, tmp_path: Path, name: str, rows: int) -> None:
    folder = copy(tiny_bge_m3, tmp_path / "m3")
    torch.save(torch.nn.Linear(32, rows).state_dict(), folder / name)
    with pytest.raises(UnavailableError, match=rf"{name} .* shape \({rows}, 32\), the model needs \({rows}, 64\)"):
        encoder_of(folder)


def test_the_published_pickle_layout_loads_too(encoder: BgeM3Encoder, tiny_bge_m3: Path, tmp_path: Path) -> None:
    folder = copy(tiny_bge_m3, tmp_path / "m3", without="model.safetensors")
    torch.save(load_file(tiny_bge_m3 / "model.safetensors"), folder / "pytorch_model.bin")
    assert_same(encoder_of(folder).encode_passages(TEXTS[:4]), encoder.encode_passages(TEXTS[:4]))


def flagembedding_loop(ids: list[int], weights: npt.NDArray[np.float32], special: set[int]) -> dict[str, np.float32]:
    """What FlagEmbedding 1.4.2 does in ``M3Embedder.encode_single_device``: a dict, token by token, ids as text."""
    found: dict[str, Any] = defaultdict(int)
    for weight, token in zip(weights, ids, strict=True):
        if token not in special and weight > 0 and weight > found[str(token)]:
            found[str(token)] = weight
    return found


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 4, width=32)), min_size=1, max_size=8), max_size=5),
    st.sets(st.integers(0, 5)),
)
def test_term_weights_are_those_of_flagembeddings_loop(texts: list[list[tuple[int, float]]], special: set[int]) -> None:
    rows = [np.array([token for token, _ in text], dtype=np.int64) for text in texts]
    weights = [np.array([weight for _, weight in text], dtype=np.float32) for text in texts]
    found = max_weights(rows, weights, np.array(sorted(special), dtype=np.int64))
    for vector, ids, values in zip(found, rows, weights, strict=True):
        expected = {int(token): float(weight) for token, weight in flagembedding_loop(ids, values, special).items()}
        assert dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True)) == expected
        assert vector.indices.tolist() == sorted(expected)


def test_term_weights_of_more_texts_than_one_sort_holds() -> None:
    largest = 2**30
    rows, weights = [np.array([7, largest, 7])] * 5, [np.array([1, 2, 3], dtype=np.float32)] * 5
    for vector in max_weights(rows, weights, np.array([], dtype=np.int64)):
        assert (vector.indices.tolist(), vector.values.tolist()) == ([7, largest], [3.0, 2.0])


def test_the_reduction_of_many_lengths_equals_the_loop() -> None:
    source = np.random.default_rng(0)
    lengths = source.integers(16, 512, 256)
    rows = [np.array([0, *source.zipf(1.3, length).clip(max=250_001), 2]) for length in lengths]
    weights = [source.normal(0.05, 0.1, len(row)).clip(min=0).astype(np.float32) for row in rows]
    for vector, row, values in zip(max_weights(rows, weights, np.array([0, 1, 2, 3])), rows, weights, strict=True):
        loop = flagembedding_loop(row.tolist(), values, {0, 1, 2, 3})
        assert dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True)) == {
            int(token): float(weight) for token, weight in loop.items()
        }
