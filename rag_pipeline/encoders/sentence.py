"""Texts to dense vectors with a sentence-transformers folder, in fp32.

Enters: texts and checked :class:`Weights`. Leaves: (n, dim) float32 unit rows. Pooling, prompts and the longest input
come from the folder's own configuration; this module knows none of them. Nothing is fetched, and no code that a folder
may carry is run.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rag_pipeline.encoders.checkpoint import count_tokens, load_tokenizer, resolve_device
from rag_pipeline.encoders.weights import Weights
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.types import FloatMatrix

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["SentenceEncoder"]


class SentenceEncoder:
    """A :class:`DenseEncoder` on sentence-transformers; safe to call from many threads, which take turns.

    Args:
        weights: A folder that sentence-transformers saved.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: there is no such device name.
        UnavailableError: the device is not on this machine, or a file is not what its name says.
    """

    def __init__(self, weights: Weights, *, device: str = "auto") -> None:
        self._weights = weights
        # A tokenizer of its own for counting: sentence-transformers turns truncation on in the model's.
        self._tokenizer = load_tokenizer(weights.folder)
        self._model = _load(weights, str(resolve_device(device)))
        self._query_prompt = self._model.prompts.get("query") or ""
        self._passage_prompt = self._model.prompts.get("document") or ""
        self._lock = threading.Lock()  # two threads at the library's tokenizer fail with "Already borrowed"

    @property
    def fingerprint(self) -> str:
        """The weights, whose files state pooling and prompts."""
        return self._weights.fingerprint

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self._model.get_embedding_dimension() or 0)

    @property
    def max_tokens(self) -> int:
        """Most tokens a text may have, special tokens and prompt included."""
        return int(self._model.max_seq_length or 0)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included and prompts not."""
        return count_tokens(self._tokenizer, texts)

    def encode_passages(self, texts: Sequence[str], *, truncate: bool = False) -> FloatMatrix:
        """Encode texts to be found, (n, dim) float32 unit rows; ``truncate`` cuts the end of a text that is too long.

        Raises:
            InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
        """
        return self._encode(texts, self._passage_prompt, truncate=truncate)

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        """Encode questions, (n, dim) float32 unit rows, behind the query prompt where the model has one.

        Raises:
            InputError: a question is longer than ``max_tokens``.
        """
        return self._encode(texts, self._query_prompt, truncate=False)

    def _encode(self, texts: Sequence[str], prompt: str, *, truncate: bool) -> FloatMatrix:
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        if not truncate:
            for number, tokens in enumerate(self.count_tokens([prompt + text for text in texts]), start=1):
                if tokens > self.max_tokens:
                    raise InputError(
                        f"text {number} of {len(texts)} has {tokens} tokens, {self._weights.name!r} reads "
                        f"{self.max_tokens}; shorten or split it"
                    )
        with self._lock:
            rows = self._model.encode(list(texts), prompt=prompt, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(rows, dtype=np.float32)


def _load(weights: Weights, device: str) -> SentenceTransformer:
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    # It would draw "Loading weights" on stderr, even where that is a file.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return SentenceTransformer(
            str(weights.folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": "float32"},
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as exc:
        reason = str(exc).strip().split("\n", 1)[0]
        raise UnavailableError(
            f"cannot load the weights in {weights.folder} ({reason}); run `rag models verify {weights.name}`"
        ) from exc
