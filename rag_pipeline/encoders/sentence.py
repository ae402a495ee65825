"""Texts to dense vectors with a model that sentence-transformers saved, without that library.

Enters: texts, checked :class:`Weights`, and a :class:`~rag_pipeline.encoders.runner.Runner` of what
:func:`load_sentence` loads from them. Leaves: (n, dim) float32 unit rows. Pooling, prompts and the longest input come
from the folder's own configuration (``layout.py``); this module knows none of them, and not where the model runs.

The library is the oracle of the tests. It pads every batch to its longest text, and its tokenizer cannot be shared by
threads; ours does neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from pickle import UnpicklingError
from typing import TYPE_CHECKING, cast

import numpy as np

from rag_pipeline.encoders.checkpoint import count_tokens, load_model, load_tokenizer
from rag_pipeline.encoders.layout import DenseLayer, read_layout
from rag_pipeline.encoders.tokens import run_texts
from rag_pipeline.encoders.weights import Weights
from rag_pipeline.errors import ConfigError, UnavailableError
from rag_pipeline.types import FloatMatrix

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from rag_pipeline.encoders.runner import Runner, Transformer

__all__ = ["SentenceEncoder", "load_sentence"]


class SentenceEncoder:
    """A :class:`DenseEncoder` on the model that :func:`load_sentence` loads; threads may share one.

    Args:
        weights: a folder that sentence-transformers saved, or a bare one whose configuration the registry states.
        runner: runs the model of these weights.
        query_prompt: in place of the folder's own: some publishers state their prompts on a web page only.
        passage_prompt: the same, for texts to be found.

    Raises:
        ConfigError: the folder asks for what is not supported.
        UnavailableError: a file is missing or unreadable.
    """

    def __init__(
        self,
        weights: Weights,
        runner: Runner,
        *,
        query_prompt: str | None = None,
        passage_prompt: str | None = None,
    ) -> None:
        from tokenizers import normalizers

        layout = read_layout(weights)
        self._name = weights.name
        self._runner = runner
        self._query_prompt = layout.query_prompt if query_prompt is None else query_prompt
        self._passage_prompt = layout.passage_prompt if passage_prompt is None else passage_prompt
        self._tokenizer = load_tokenizer(layout.folder)
        if layout.lower_case:
            parts = [normalizers.Lowercase(), self._tokenizer.normalizer]
            self._tokenizer.normalizer = normalizers.Sequence([part for part in parts if part is not None])
        self.dim = layout.dim
        self.max_tokens = layout.max_tokens
        # The files of a folder state pooling and prompts; what they do not state is named beside them.
        self.fingerprint = weights.fingerprint
        bare = weights.loader == "transformers"
        if bare:
            self.fingerprint += f" pooling={layout.pooling}"
        if bare or (query_prompt, passage_prompt) != (None, None):
            self.fingerprint += f" query_prefix={self._query_prompt!r} passage_prefix={self._passage_prompt!r}"

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included and prompts not."""
        return count_tokens(self._tokenizer, texts)

    def encode_passages(self, texts: Sequence[str], *, truncate: bool = False) -> FloatMatrix:
        """Encode texts to be found, (n, dim) float32 unit rows; ``truncate`` cuts the end of a text that is too long.

        Raises:
            InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
            OutOfMemoryError: the device has no memory for one text.
        """
        return self._encode(texts, self._passage_prompt, truncate=truncate)

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        """Encode questions, (n, dim) float32 unit rows, behind the query prompt where the model has one.

        Raises:
            InputError: a question is longer than ``max_tokens``.
            OutOfMemoryError: the device has no memory for one question.
        """
        return self._encode(texts, self._query_prompt, truncate=False)

    def _encode(self, texts: Sequence[str], prompt: str, *, truncate: bool) -> FloatMatrix:
        rows = np.empty((len(texts), self.dim), dtype=np.float32)
        prompted = [prompt + text for text in texts]
        done = 0
        for ids, found in run_texts(
            self._runner,
            self._tokenizer,
            prompted,
            ("dense",),
            max_tokens=self.max_tokens,
            truncate=truncate,
            name=repr(self._name),
        ):
            rows[done : done + len(ids)] = found["dense"]
            done += len(ids)
        return rows


def load_sentence(weights: Weights) -> Transformer:
    """Load the backbone, pooling and final layers of a sentence-transformers model, in float32 on the CPU.

    Raises:
        ConfigError: the folder asks for what is not supported; see ``layout.py``.
        UnavailableError: a file is missing, unreadable, or lacks parameters.
    """
    from transformers import AutoModel

    from rag_pipeline.encoders.heads import DenseHead
    from rag_pipeline.encoders.runner import Transformer

    layout = read_layout(weights)
    # BERT's pooler is trained for its first task only; many published files leave it out.
    backbone = load_model(cast("type[PreTrainedModel]", AutoModel), layout.folder, unused=("pooler.",))
    heads = DenseHead([module for layer in layout.layers for module in _dense(layer)], layout.first)
    return Transformer(backbone, layout.pooling, heads.eval(), layout.first_position, layout.pads)


def _dense(layer: DenseLayer) -> list[torch.nn.Module]:
    """Return the linear layer, with its weights, and its activation."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    linear = torch.nn.Linear(layer.width_in, layer.width_out, bias=layer.bias)
    safe, pickled = layer.folder / "model.safetensors", layer.folder / "pytorch_model.bin"
    try:
        state = load_file(safe) if safe.is_file() else torch.load(pickled, map_location="cpu", weights_only=True)
        linear.load_state_dict({name.removeprefix("linear."): values for name, values in state.items()})
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, SafetensorError) as exc:
        reason = str(exc).strip().split("\n", 1)[0]
        raise UnavailableError(f"cannot load the layer in {layer.folder} ({reason}); complete the folder") from exc
    kind = getattr(torch.nn, layer.activation, None)
    if not (isinstance(kind, type) and issubclass(kind, torch.nn.Module)):
        raise ConfigError(f"{layer.folder / 'config.json'}: torch.nn has no {layer.activation!r}; correct it")
    return [linear, kind()]
