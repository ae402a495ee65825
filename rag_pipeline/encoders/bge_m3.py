"""Texts -> BGE-M3's dense, sparse and multi-vector outputs, from one forward of one model (Chen et al. 2024).

Enters: texts, and a folder with the published files. Leaves: unit rows, term weights, unit rows of every token. This
module knows nothing of queries' meaning, of the engine, of which languages the texts are in, or of what runs the model.

FlagEmbedding's architecture, without its wrapper: XLM-R and the two linear heads are run here directly, and
`BGEM3FlagModel` is the oracle in the tests. The wrapper runs with random heads when a head's file is missing,
encodes the first batch twice, takes every RuntimeError for out-of-memory, builds sparse weights token by token in
Python, cuts texts at 512 tokens unless told, and shares one tokenizer between threads without a lock.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from rag_pipeline.encoders.checkpoint import count_tokens, load_model, load_tokenizer, read_config
from rag_pipeline.encoders.tokens import run_texts
from rag_pipeline.errors import UnavailableError
from rag_pipeline.types import FloatMatrix, SparseVector, TextVectors, TokenIds

if TYPE_CHECKING:
    from torch import nn

    from rag_pipeline.encoders.runner import Runner, Transformer

__all__ = ["BgeM3Encoder", "load_bge_m3", "max_weights"]

MAX_TOKENS = 8192
_SPECIAL = ("<s>", "</s>", "<pad>", "<unk>")
"""Tokens without a sparse weight. ``<mask>`` keeps its own, as in FlagEmbedding."""


def load_bge_m3(folder: Path) -> Transformer:
    """Load XLM-R and both heads, float32, on the CPU; a runner takes them from there.

    Args:
        folder: holds ``config.json``, weights, ``sparse_linear.pt`` and ``colbert_linear.pt``.

    Raises:
        UnavailableError: a file is missing, unreadable or of another model.
    """
    from transformers import XLMRobertaModel

    from rag_pipeline.encoders.heads import BgeM3Heads
    from rag_pipeline.encoders.runner import Transformer

    sparse, multi = _read_head(folder / "sparse_linear.pt"), _read_head(folder / "colbert_linear.pt")
    # The pooler is no part of BGE-M3: its dense vector is the first token's hidden state.
    backbone = load_model(XLMRobertaModel, folder, unused=("pooler.",))
    backbone.pooler = None
    width = backbone.config.hidden_size
    for name, head, shape in (("sparse_linear.pt", sparse, (1, width)), ("colbert_linear.pt", multi, (width, width))):
        if head.weight.shape != shape:
            raise UnavailableError(
                f"{name} in {folder} has shape {tuple(head.weight.shape)}, the model needs {shape}; "
                "run: rag models pull bge-m3"
            )
    heads = BgeM3Heads(sparse, multi).eval()
    return Transformer(backbone, "cls", heads, first_position=cast(int, backbone.config.pad_token_id) + 1)


class BgeM3Encoder:
    """BGE-M3 as a :class:`~rag_pipeline.protocols.TextEncoder`; threads may share one.

    Args:
        folder: the published files; ``config.json`` and ``tokenizer.json`` are read.
        fingerprint: what must be equal for two vectors to be comparable.
        runner: runs what :func:`load_bge_m3` loads from this folder.
        late: whether texts come with a vector of each token, too, out of the same forward: (tokens - 1, dim) float32
            unit rows. As in FlagEmbedding's ``colbert_vecs``, ``<s>`` has none, because it is the dense vector, and
            ``</s>`` has one.

    Raises:
        UnavailableError: a file is missing, unreadable or of another model.
    """

    sparse_needs_idf = False

    def __init__(self, folder: Path, fingerprint: str, runner: Runner, *, late: bool = False) -> None:
        self.fingerprint = fingerprint
        self.late = late
        self._runner = runner
        self._tokenizer = load_tokenizer(folder)
        special = [self._tokenizer.token_to_id(token) for token in _SPECIAL]
        if None in special:
            raise UnavailableError(f"tokenizer.json in {folder} is not XLM-R's; run: rag models pull bge-m3")
        self._special = np.array(special, dtype=np.int64)
        config = read_config(folder)
        self.dim = cast(int, config["hidden_size"])
        # XLM-R counts positions from pad_token_id + 1, so two of its positions are never used.
        self.max_tokens = min(MAX_TOKENS, cast(int, config["max_position_embeddings"]) - 2)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text, ``<s>`` and ``</s>`` included."""
        return count_tokens(self._tokenizer, texts)

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[str] | None = None, *, truncate: bool = False
    ) -> TextVectors:
        """Encode texts to be found. ``languages`` changes nothing: one model reads them all.

        Raises:
            InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
            OutOfMemoryError: the device has no memory for one text.
        """
        return self._encode(texts, truncate=truncate)

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> TextVectors:
        """Encode questions; BGE-M3 takes no instruction.

        Raises:
            InputError: a question is longer than ``max_tokens``.
            OutOfMemoryError: the device has no memory for one question.
        """
        return self._encode(texts, truncate=False)

    def _encode(self, texts: Sequence[str], *, truncate: bool) -> TextVectors:
        outputs = ("dense", "sparse", "multi") if self.late else ("dense", "sparse")
        dense = np.empty((len(texts), self.dim), dtype=np.float32)
        sparse: list[SparseVector] = []
        late: list[FloatMatrix] = []
        for rows, found in run_texts(
            self._runner, self._tokenizer, texts, outputs, max_tokens=self.max_tokens, truncate=truncate
        ):
            dense[len(sparse) : len(sparse) + len(rows)] = found["dense"]
            sparse += max_weights(rows, found["sparse"], self._special)
            late += [vectors[1:] for vectors in found.get("multi", ())]
        return TextVectors(dense, tuple(sparse), tuple(late) if self.late else None)


def max_weights(
    rows: Sequence[TokenIds], weights: Sequence[npt.NDArray[np.float32]], special: npt.NDArray[np.int64]
) -> list[SparseVector]:
    """Reduce token weights to term weights: the largest weight of each id in its text; zeros are left out.

    Args:
        rows: token ids of each text.
        weights: (tokens,) float32 of each text, 0 and more.
        special: token ids that do not count.

    >>> [vector] = max_weights([np.array([0, 9, 7, 9, 2])], [np.float32([1, 0.5, 0.25, 0.75, 1])], np.array([0, 2]))
    >>> vector.indices.tolist(), vector.values.tolist()
    ([7, 9], [0.25, 0.75])
    """
    if not rows:
        return []
    lengths = [len(row) for row in rows]
    ids, values = np.concatenate(rows), np.concatenate(weights)
    kept = np.flatnonzero((values > 0) & ~np.isin(ids, special))
    owners, ids, values = np.repeat(np.arange(len(rows)), lengths)[kept], ids[kept], values[kept]
    span = int(ids.max(initial=0)) + 1
    if (
        len(rows) > 1 and len(rows) * span > 1 << 31
    ):  # more than 8,000 texts of XLM-R's 250,002 ids: the key below would not hold them
        half = len(rows) // 2
        return max_weights(rows[:half], weights[:half], special) + max_weights(rows[half:], weights[half:], special)
    # Text, term and weight as one number: positive floats are in the order of their bits, so that one sort brings
    # together what belongs together, the largest weight last.
    sorted_ = np.sort((owners * span + ids) << 32 | values.view(np.int32), kind="stable")
    keys = sorted_ >> 32
    last = np.flatnonzero(np.append(keys[1:] != keys[:-1], len(keys) > 0))
    keys, values = keys[last], sorted_[last].astype(np.int32).view(np.float32)
    terms = (keys % span).astype(np.uint32)
    bounds = np.searchsorted(keys, np.arange(len(rows) + 1) * span).tolist()
    return [SparseVector(terms[start:end], values[start:end]) for start, end in itertools.pairwise(bounds)]


def _read_head(path: Path) -> nn.Linear:
    """Return a linear head saved as a state dict, float32."""
    import torch

    if not path.is_file():
        raise UnavailableError(f"{path.name} is missing in {path.parent}; run: rag models pull bge-m3")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        weight, bias = state["weight"].float(), state["bias"].float()
        head = torch.nn.Linear(weight.shape[1], weight.shape[0])
        head.load_state_dict({"weight": weight, "bias": bias})
    except (
        OSError, RuntimeError, EOFError, UnpicklingError, KeyError, IndexError, TypeError, AttributeError
    ) as exc:  # fmt: skip
        raise UnavailableError(f"cannot read the head {path} ({type(exc).__name__}); run: rag models verify") from exc
    return head
