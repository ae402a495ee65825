"""Texts -> BGE-M3's dense and sparse vectors, from one forward of one multilingual model (Chen et al. 2024).

Enters: texts and a folder with the published files. Leaves: unit rows and term weights. This module knows nothing
of queries' meaning, of the engine, or of which languages the texts are in.

FlagEmbedding's architecture, without its wrapper: XLM-R and the two linear heads are run here directly, and
`BGEM3FlagModel` is the oracle in the tests. The wrapper runs with random heads when a head's file is missing,
encodes the first batch twice, takes every RuntimeError for out-of-memory, builds sparse weights token by token in
Python, cuts texts at 512 tokens unless told, and shares one tokenizer between threads without a lock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rag_pipeline.encoders.checkpoint import count_tokens, load_model, load_tokenizer, resolve_device, run_batches
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.types import SparseVector, TextVectors

if TYPE_CHECKING:
    import torch

__all__ = ["BgeM3Encoder", "max_weights"]

MAX_TOKENS = 8192
_SPECIAL = ("<s>", "</s>", "<pad>", "<unk>")
"""Tokens without a sparse weight. ``<mask>`` keeps its own, as in FlagEmbedding."""


class BgeM3Encoder:
    """BGE-M3 as a :class:`~rag_pipeline.protocols.TextEncoder`; threads may share one.

    Args:
        folder: the published files: ``config.json``, ``tokenizer.json``, weights, ``sparse_linear.pt`` and
            ``colbert_linear.pt``.
        fingerprint: what must be equal for two vectors to be comparable.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; float32 on the CPU, float16 on CUDA.
        batch_tokens: tokens of one forward, padding included.

    Raises:
        UnavailableError: a file is missing, unreadable or of another model.
    """

    sparse_needs_idf = False

    def __init__(self, folder: Path, fingerprint: str, *, device: str = "auto", batch_tokens: int = 8192) -> None:
        from transformers import XLMRobertaModel

        self.fingerprint = fingerprint
        self._batch_tokens = batch_tokens
        self._device = resolve_device(device)
        # Both heads must be there, though the multi-vector one is not run: a folder without it is not BGE-M3.
        weight, bias = _read_head(folder / "sparse_linear.pt")
        _read_head(folder / "colbert_linear.pt")
        # The pooler is no part of BGE-M3: its dense vector is the first token's hidden state.
        self._model = load_model(XLMRobertaModel, folder, self._device, unused=("pooler.",))
        config = self._model.config
        if weight.shape != (1, config.hidden_size):
            raise UnavailableError(
                f"sparse_linear.pt in {folder} has shape {tuple(weight.shape)}, the model needs "
                f"(1, {config.hidden_size}); run: rag models pull bge-m3"
            )
        self._sparse_weight, self._sparse_bias = weight.to(self._device), bias.to(self._device)
        self._tokenizer = load_tokenizer(folder)
        special = [self._tokenizer.token_to_id(token) for token in _SPECIAL]
        if None in special:
            raise UnavailableError(f"tokenizer.json in {folder} is not XLM-R's; run: rag models pull bge-m3")
        self._special = np.array(special, dtype=np.int64)
        self._pad = special[_SPECIAL.index("<pad>")]
        self.dim: int = config.hidden_size
        # XLM-R counts positions from pad_token_id + 1, so two of its positions are never used.
        self.max_tokens: int = min(MAX_TOKENS, config.max_position_embeddings - 2)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text, ``<s>`` and ``</s>`` included."""
        return count_tokens(self._tokenizer, texts)

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[str] | None = None, *, truncate: bool = False
    ) -> TextVectors:
        """Encode texts to be found. ``languages`` changes nothing: one model reads them all.

        Raises:
            InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
            UnavailableError: the device has no memory for one text.
        """
        return self._encode(texts, truncate=truncate)

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> TextVectors:
        """Encode questions; BGE-M3 takes no instruction.

        Raises:
            InputError: a question is longer than ``max_tokens``.
            UnavailableError: the device has no memory for one question.
        """
        return self._encode(texts, truncate=False)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def _encode(self, texts: Sequence[str], *, truncate: bool) -> TextVectors:
        rows = self._ids(texts)
        for position, ids in enumerate(rows):
            if len(ids) <= self.max_tokens:
                continue
            if not truncate:
                raise InputError(
                    f"text {position + 1} of {len(rows)} has {len(ids)} tokens, the model reads {self.max_tokens}; "
                    "split it, or allow truncation"
                )
            rows[position] = [*ids[: self.max_tokens - 1], ids[-1]]
        dense = np.empty((len(rows), self.dim), dtype=np.float32)
        sparse = [SparseVector.from_weights({})] * len(rows)

        def forward(batch: list[int]) -> None:
            ids = np.full((len(batch), len(rows[batch[0]])), self._pad, dtype=np.int64)
            mask = np.zeros_like(ids)
            for line, row in enumerate(batch):
                ids[line, : len(rows[row])] = rows[row]
                mask[line, : len(rows[row])] = 1
            dense[batch], weights = self._forward(ids, mask)
            weights[np.isin(ids, self._special)] = 0
            for row, vector in zip(batch, max_weights(ids, weights), strict=True):
                sparse[row] = vector

        run_batches([len(ids) for ids in rows], self._batch_tokens, forward)
        return TextVectors(dense, tuple(sparse))

    def _forward(
        self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Run (b, t) token ids; return (b, dim) unit rows and (b, t) token weights, both float32."""
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            tokens, attention = torch.from_numpy(ids).to(self._device), torch.from_numpy(mask).to(self._device)
            hidden = self._model(input_ids=tokens, attention_mask=attention).last_hidden_state.float()
            dense = functional.normalize(hidden[:, 0], dim=-1)
            weights = functional.relu(functional.linear(hidden, self._sparse_weight, self._sparse_bias)).squeeze(-1)
            return dense.cpu().numpy(), weights.cpu().numpy()


def max_weights(ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> list[SparseVector]:
    """Reduce token weights to term weights: the largest weight of each id in its row; zeros are left out.

    Args:
        ids: (b, t) token ids.
        weights: (b, t) float32, zero where a token does not count.

    >>> [vector] = max_weights(np.array([[9, 7, 9, 1]]), np.array([[0.5, 0.25, 0.75, 0.0]], dtype=np.float32))
    >>> vector.indices.tolist(), vector.values.tolist()
    ([7, 9], [0.25, 0.75])
    """
    rows, columns = np.nonzero(weights > 0)
    terms, values = ids[rows, columns], weights[rows, columns]
    order = np.lexsort((terms, rows))
    rows, terms, values = rows[order], terms[order], values[order]
    first = np.flatnonzero((np.diff(rows, prepend=-1) != 0) | (np.diff(terms, prepend=-1) != 0))
    if len(first):
        values = np.maximum.reduceat(values, first)
    cuts = np.searchsorted(rows[first], np.arange(1, len(ids)))
    indices = np.split(terms[first].astype(np.uint32), cuts)
    return [SparseVector(*pair) for pair in zip(indices, np.split(values, cuts), strict=True)]


def _read_head(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias, float32, of a linear head saved as a state dict."""
    import torch

    if not path.is_file():
        raise UnavailableError(f"{path.name} is missing in {path.parent}; run: rag models pull bge-m3")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state["weight"].float(), state["bias"].float()
    except (OSError, RuntimeError, EOFError, UnpicklingError, KeyError, TypeError, AttributeError) as exc:
        raise UnavailableError(f"cannot read the head {path} ({type(exc).__name__}); run: rag models verify") from exc
