"""Texts to dense vectors with an ONNX file of a BERT and its ``tokenizer.json``, on the CPU, without torch.

Enters: texts and checked :class:`Weights`. Leaves: (n, dim) float32 unit rows. This module knows nothing of chunks,
and of the model only its pooling, its query instruction and its longest input, which the registry states.

Every text is a forward pass of its own, and passes run beside each other on one thread each. In the dynamically
quantised files used here the scale of activations is taken over a whole batch, so that in a batch the vector of a text
would depend on its neighbours (cosine .9975 to .9985 between batches of 1 and of 8, .993 on short questions): the same
text would get other vectors in another run. Alone it gets the same bits always, whatever the number of threads. It
costs nothing: of 96 texts of 256 tokens on two cores, 63 a second in batches of 1, 53 in batches of 8, 39 of 32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from rag_pipeline.encoders.checkpoint import count_tokens, load_tokenizer
from rag_pipeline.encoders.weights import Weights
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.types import FloatMatrix

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["OnnxEncoder"]

_TOKENIZED_AT_ONCE = 32


class OnnxEncoder:
    """A :class:`DenseEncoder` on onnxruntime; safe to call from many threads.

    Args:
        weights: With ``model.onnx``, ``tokenizer.json`` and the options ``pooling`` (``cls`` or ``mean``),
            ``query_prefix`` and ``max_tokens``.
        threads: Texts that are encoded at the same time; 0: one for each core.

    Raises:
        UnavailableError: a file is not what its name says.
    """

    def __init__(self, weights: Weights, *, threads: int = 0) -> None:
        self._weights = weights
        self._pooling = str(weights.options["pooling"])
        self._prefix = str(weights.options["query_prefix"])
        self._max_tokens = int(str(weights.options["max_tokens"]))
        self._threads = threads or os.cpu_count() or 1
        self._tokenizer = load_tokenizer(weights.folder)
        self._specials = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._session = _session(weights)
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._dim = len(self._forward(self._tokenizer.encode("").ids))

    @property
    def fingerprint(self) -> str:
        """Weights, pooling and query instruction."""
        return f"{self._weights.fingerprint} pooling={self._pooling} query_prefix={self._prefix!r}"

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self._dim

    @property
    def max_tokens(self) -> int:
        """Most tokens a text may have, special tokens and query instruction included."""
        return self._max_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included and the query instruction not."""
        return count_tokens(self._tokenizer, texts)

    def encode_passages(self, texts: Sequence[str], *, truncate: bool = False) -> FloatMatrix:
        """Encode texts to be found, (n, dim) float32 unit rows; ``truncate`` cuts the end of a text that is too long.

        Raises:
            InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
        """
        return self._encode(texts, truncate=truncate)

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        """Encode questions behind the query instruction, (n, dim) float32 unit rows.

        Raises:
            InputError: a question is longer than ``max_tokens``.
        """
        return self._encode([self._prefix + text for text in texts], truncate=False)

    def _encode(self, texts: Sequence[str], *, truncate: bool) -> FloatMatrix:
        rows = np.empty((len(texts), self._dim), dtype=np.float32)
        with ThreadPoolExecutor(self._threads) as pool:
            for number, row in enumerate(pool.map(self._forward, self._tokenized(texts, truncate=truncate))):
                rows[number] = row
        return rows

    def _tokenized(self, texts: Sequence[str], *, truncate: bool) -> Iterator[list[int]]:
        """Yield the ids of each text; what else the tokenizer returns, a kilobyte for ten tokens, goes at once."""
        room = self._max_tokens - self._specials
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            some = list(texts[start : start + _TOKENIZED_AT_ONCE])
            for number, encoding in enumerate(self._tokenizer.encode_batch_fast(some, add_special_tokens=False)):
                if len(encoding) > room:
                    if not truncate:
                        raise InputError(
                            f"text {start + number + 1} of {len(texts)} has {len(encoding) + self._specials} tokens, "
                            f"{self._weights.name!r} reads {self._max_tokens}; shorten or split it"
                        )
                    encoding.truncate(room)
                yield self._tokenizer.post_process(encoding).ids

    def _forward(self, tokens: list[int]) -> FloatMatrix:
        ids = np.array([tokens], dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(None, {name: feeds[name] for name in self._inputs})[0][0]
        pooled = states[0] if self._pooling == "cls" else states.mean(axis=0)
        row: FloatMatrix = pooled / np.linalg.norm(pooled)
        return row


def _session(weights: Weights) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread for each pass: two threads within one pass wait for each other at every layer, and were a third slower
    # than two passes beside each other on a machine with other work.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = weights.folder / "model.onnx"
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # onnxruntime's errors share no other base
        raise UnavailableError(f"cannot load {path} ({exc}); run `rag models verify {weights.name}`") from exc
