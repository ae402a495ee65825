"""A question and passages -> one raw logit each: the models behind the reranker.

Enters: texts. Leaves: (n,) float32 logits, higher is more relevant, with no scale that two models share. This module
knows nothing of nodes, of fusion, or of where the passages come from.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from rag_pipeline.encoders.checkpoint import load_model, load_tokenizer, read_config
from rag_pipeline.errors import OutOfMemoryError, UnavailableError
from rag_pipeline.protocols import Reranker

if TYPE_CHECKING:
    from tokenizers import Encoding

    from rag_pipeline.encoders.runner import Runner, Transformer

__all__ = ["FallbackReranker", "OnnxReranker", "TorchReranker", "load_reranker"]

logger = logging.getLogger(__name__)


class _CrossEncoder(ABC):
    """What both models share: how a question and a passage become pairs of at most ``max_tokens``."""

    def __init__(self, folder: Path, fingerprint: str, max_tokens: int) -> None:
        self.fingerprint = fingerprint
        self.max_tokens = max_tokens
        self._tokenizer = load_tokenizer(folder)

    def score(self, query: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (n,) float32 raw logits, one for each passage.

        A question longer than half of ``max_tokens`` is cut there. A passage that does not fit beside it is read in
        windows that overlap by a quarter, and the best window is the passage's score.

        Raises:
            OutOfMemoryError: the device has no memory for one pair.
        """
        pairs, owners = self._pairs(query, passages)
        best = np.full(len(passages), -np.inf, dtype=np.float32)
        np.maximum.at(best, owners, self._logits(pairs))
        return best

    def _pairs(self, query: str, passages: Sequence[str]) -> tuple[list[Encoding], list[int]]:
        """Return the pairs to score, and for each the number of its passage."""
        question = self._tokenizer.encode(query, add_special_tokens=False)
        half = self.max_tokens // 2
        if len(question) > half:
            # Cut the text, not the encoding: a cut encoding carries the rest along into every pair.
            question = self._tokenizer.encode(query[: question.offsets[half - 1][1]], add_special_tokens=False)
            question.truncate(half)
        room = self.max_tokens - self._tokenizer.num_special_tokens_to_add(is_pair=True) - len(question)
        pairs, owners = [], []
        for number, passage in enumerate(self._tokenizer.encode_batch_fast(list(passages), add_special_tokens=False)):
            passage.truncate(room, stride=room // 4)
            windows = [passage, *passage.overflowing]
            pairs += [self._tokenizer.post_process(question, window) for window in windows]
            owners += [number] * len(windows)
        return pairs, owners

    @abstractmethod
    def _logits(self, pairs: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        """Return (n,) float32 logits of pairs that fit the model."""


class OnnxReranker(_CrossEncoder):
    """A cross-encoder in an ONNX file, on the CPU, without torch: ms-marco-MiniLM-L-12-v2 in INT8.

    Each pair is run alone. The file quantises activations as it runs, with one scale for a whole batch, so that in
    batches of 8 a logit moved by up to 0.2 with its neighbours; alone it never moves, and on two cores pairs of 230
    tokens run faster (61 a second) than padded in batches of 8 (53) or 16 (50).

    Args:
        folder: holds ``model.onnx`` and ``tokenizer.json``.
        fingerprint: model and weights, for traces and reports.
        max_tokens: tokens of one pair, at most what the model has positions for.
        threads: CPU threads of one forward; 0: all cores.

    Raises:
        UnavailableError: a file is missing, unreadable or of another kind of model.
    """

    def __init__(self, folder: Path, fingerprint: str, *, max_tokens: int = 512, threads: int = 0) -> None:
        import onnxruntime

        super().__init__(folder, fingerprint, max_tokens)
        path = folder / "model.onnx"
        if not path.is_file():
            raise UnavailableError(f"model.onnx is missing in {folder}; run: rag models verify")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only: its warnings are about the file's graph, which is not ours
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # onnxruntime's errors have no common base but Exception
            reason = str(exc).strip().split("\n", 1)[0]
            raise UnavailableError(f"cannot load {path} ({reason}); run: rag models verify") from exc
        if self._session.get_outputs()[0].shape[-1] != 1:
            raise UnavailableError(f"{path} is no reranker: it does not give one logit; choose a reranker model")
        self._inputs = [value.name for value in self._session.get_inputs()]

    def _logits(self, pairs: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        logits = np.empty(len(pairs), dtype=np.float32)
        for row, pair in enumerate(pairs):
            values = {"input_ids": pair.ids, "attention_mask": pair.attention_mask, "token_type_ids": pair.type_ids}
            feeds = {name: np.array([values[name]], dtype=np.int64) for name in self._inputs}
            logits[row] = self._session.run(None, feeds)[0].item()
        return logits


def load_reranker(folder: Path) -> Transformer:
    """Load a published bge-reranker (v2-m3, base, large), float32, on the CPU; a runner takes it from there.

    Args:
        folder: holds ``config.json`` and the weights of XLM-R with a classifier of one logit.

    Raises:
        UnavailableError: a file is missing, unreadable or of another kind of model.
    """
    from transformers import XLMRobertaForSequenceClassification

    from rag_pipeline.encoders.heads import LogitHead
    from rag_pipeline.encoders.runner import Transformer

    model = load_model(XLMRobertaForSequenceClassification, folder)
    if model.config.num_labels != 1:
        raise UnavailableError(
            f"the model in {folder} gives {model.config.num_labels} logits, not 1; choose a reranker"
        )
    first_position = cast(int, model.config.pad_token_id) + 1
    return Transformer(model.roberta, "cls", LogitHead(model.classifier).eval(), first_position=first_position)


class TorchReranker(_CrossEncoder):
    """The published bge-reranker models (v2-m3, base, large): XLM-R with a classifier of one logit.

    Args:
        folder: the published files; ``config.json`` and ``tokenizer.json`` are read.
        fingerprint: model and weights, for traces and reports.
        runner: runs what :func:`load_reranker` loads from this folder.
        max_tokens: tokens of one pair; v2-m3 has positions for 8192, and was trained and measured at 512.

    Raises:
        UnavailableError: a file is missing or unreadable.
    """

    def __init__(self, folder: Path, fingerprint: str, runner: Runner, *, max_tokens: int = 512) -> None:
        # XLM-R counts positions from pad_token_id + 1, so two of its positions are never used.
        positions = cast(int, read_config(folder)["max_position_embeddings"])
        super().__init__(folder, fingerprint, min(max_tokens, positions - 2))
        self._runner = runner

    def _logits(self, pairs: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        logits = self._runner.run([np.array(pair.ids, dtype=np.int64) for pair in pairs], ("logit",))["logit"]
        return np.array(logits, dtype=np.float32).reshape(len(pairs))


class FallbackReranker:
    """A reranker, and a smaller one in its place once the device has had no memory for the first.

    From then on the second scores everything, under a fingerprint that says so. The question at which it happened is
    scored again from the start: logits of two models have no common scale.

    Args:
        first: loads the reranker that is wanted.
        second: loads the one that takes its place; called only when it must.
    """

    def __init__(self, first: Callable[[], Reranker], second: Callable[[], Reranker]) -> None:
        self._load_second = second
        self._lock = threading.Lock()
        self._fallen = False
        self._model: Reranker | None = None
        try:
            self._model = first()
        except OutOfMemoryError as exc:
            self._leave_first(exc)

    @property
    def fingerprint(self) -> str:
        """Of the model that scores; of the second one, with the reason why it does."""
        model = self._current()
        return f"{model.fingerprint} (fallback: no memory for the first)" if self._fallen else model.fingerprint

    def score(self, query: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (n,) float32 raw logits, one for each passage, all of them from one model.

        Raises:
            OutOfMemoryError: the device has no memory for the second model, either.
        """
        fallen = self._fallen
        try:
            return self._current().score(query, passages)
        except OutOfMemoryError as exc:
            if fallen:
                raise
            self._leave_first(exc)
        # Outside of the handler: the error holds on to the first model, whose memory the second needs.
        return self._current().score(query, passages)

    def _leave_first(self, why: OutOfMemoryError) -> None:
        with self._lock:
            if not self._fallen:
                # Its words, not the error itself: whoever keeps the record would keep the first model by its traceback.
                logger.warning("the fallback reranker takes over: %s", str(why))
                self._model, self._fallen = None, True

    def _current(self) -> Reranker:
        with self._lock:
            if self._model is None:
                self._model = self._load_second()
            return self._model
