"""A transformer encoder on texts laid end to end: no padding, and attention within each text only.

Enters: a transformers model of the BERT family and the token ids of some texts. Leaves: the hidden state of every
token. This module knows no tokenizer, and nothing of what is made of hidden states.

Padding costs a forward as much as text does: with the lengths of real chunks, a fifth to a half of it. Here the
linear layers, which are most of the work, see one long row of all tokens; attention alone needs to know where texts
begin. On CUDA torch's own variable-length flash attention does that in one kernel. Elsewhere texts of one length that
lie next to each other are attended to together, by the ordinary kernel: sorted texts make long runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.nn import functional
from transformers import AttentionInterface

from rag_pipeline.types import TokenIds

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Packed", "pack", "run_packed"]

_NAME = "rag_packed"


@dataclass(frozen=True, slots=True)
class Packed:
    """Texts end to end on a device: ``ids`` and ``positions`` (1, total) int64, ``lengths`` in tokens, in their order.

    ``starts`` (n,) int64 and ``bounds`` (n + 1,) int32 are where texts begin; the last bound is the end of all.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    lengths: tuple[int, ...]
    starts: torch.Tensor
    bounds: torch.Tensor

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Neighbours of one length: (length, how many)."""
        return [(length, len(list(same))) for length, same in itertools.groupby(self.lengths)]

    @property
    def owners(self) -> torch.Tensor:
        """The text that each token is of, (total,) int64."""
        texts = torch.arange(len(self.lengths), device=self.ids.device)
        # Told the total, torch need not wait for the device to count it.
        return torch.repeat_interleave(texts, self.bounds.diff(), output_size=self.ids.shape[1])


def pack(rows: Sequence[TokenIds], device: torch.device, *, first_position: int = 0) -> Packed:
    """Lay texts end to end on a device.

    Args:
        rows: token ids, special tokens included; no row is empty.
        device: where the model runs.
        first_position: position of a text's first token. XLM-R and RoBERTa count from ``pad_token_id + 1``, and pass
            over a ``<pad>`` that someone wrote into a text; so does this.
    """
    lengths = tuple(len(row) for row in rows)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.concatenate(rows)
    counted = ids != first_position - 1
    count = np.cumsum(counted)
    before = np.repeat((count - counted)[bounds[:-1]], lengths)
    positions = (count - before) * counted + first_position - 1
    all_of_it = torch.from_numpy(np.concatenate([ids, positions, bounds]))
    if device.type == "cuda":
        # Only from pinned memory does a copy leave the host free to prepare what comes next.
        all_of_it = all_of_it.pin_memory()
    there = all_of_it.to(device, non_blocking=True)
    total = len(ids)
    starts_and_end = there[2 * total :]
    return Packed(
        ids=there[None, :total],
        positions=there[None, total : 2 * total],
        lengths=lengths,
        starts=starts_and_end[:-1],
        bounds=starts_and_end.to(torch.int32),
    )


def run_packed(model: PreTrainedModel, packed: Packed) -> torch.Tensor:
    """Return the last hidden states, (total, width) in the model's dtype, by the model's own layers.

    The model's attention is exchanged at the first call, and stays so.
    """
    if model.config._attn_implementation != _NAME:
        model.set_attn_implementation(_NAME)
    states: torch.Tensor = model(input_ids=packed.ids, position_ids=packed.positions, packed=packed).last_hidden_state
    return states[0]


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed: Packed,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each text; (1, heads, total, width) in, (1, total, heads, width) out."""
    if _has_varlen(query):
        from torch.nn.attention.varlen import varlen_attn

        longest = max(packed.lengths)
        one, other, third = (part[0].transpose(0, 1) for part in (query, key, value))
        # A tensor, since nothing beside it is asked for.
        ended = varlen_attn(one, other, third, packed.bounds, packed.bounds, longest, longest, scale=scaling)
        return cast(torch.Tensor, ended)[None], None
    heads, width = query.shape[1], query.shape[3]
    attended = torch.empty(query.shape[2], heads, width, dtype=query.dtype, device=query.device)
    start = 0
    for length, texts in packed.runs:
        end = start + length * texts
        one, other, third = (
            part[0, :, start:end].view(heads, texts, length, width).transpose(0, 1) for part in (query, key, value)
        )
        found = functional.scaled_dot_product_attention(one, other, third, scale=scaling)
        attended[start:end] = found.transpose(1, 2).reshape(end - start, heads, width)
        start = end
    return attended[None], None


def _has_varlen(query: torch.Tensor) -> bool:
    """Whether flash attention of variable length takes this: half precision, on a GPU of the year 2020 or later."""
    if not query.is_cuda or query.dtype == torch.float32 or query.shape[3] % 8:
        return False
    return torch.cuda.get_device_capability(query.device) >= (8, 0)


AttentionInterface.register(_NAME, _attend)
