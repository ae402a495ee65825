"""Token ids to what a model makes of them, on torch: batches within a token budget, on one device or several.

Enters: a transformer with pooling and heads, and the token ids of texts. Leaves: arrays by the names of the heads'
outputs. This module knows no tokenizer and no question; the encoders and rerankers do. ``openvino.py`` runs the same
models with the same contract (:class:`Runner`).
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch

from rag_pipeline.encoders.packed import Packed, pack, run_packed
from rag_pipeline.errors import OutOfMemoryError
from rag_pipeline.types import FloatMatrix, TokenIds

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from rag_pipeline.encoders.heads import Heads

__all__ = ["PER_TOKEN", "Plan", "Runner", "TorchRunner", "Transformer"]

logger = logging.getLogger(__name__)

PER_TOKEN = frozenset({"sparse", "multi"})
"""Outputs with a row for each token; all others have one row for each text."""

_BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of one forward unless the caller says. On a CPU core 2048 were 13 % faster than 8192 and 9 % faster than
512 (all-MiniLM-L6-v2: what the layers write stays near the core); a large GPU needs many to be busy."""


class Runner(Protocol):
    """What runs a model. Threads may share one."""

    @property
    def name(self) -> str:
        """What runs, on what, in which precision, such as ``torch cpu float32``."""

    def run(self, rows: Sequence[TokenIds], outputs: Collection[str]) -> dict[str, list[FloatMatrix]]:
        """Run every text once.

        Args:
            rows: token ids of each text, special tokens included.
            outputs: names of the heads' outputs that are wanted.

        Returns:
            For each output a float32 array for each text, in their order: (width,), or (tokens,) and (tokens, width)
            for what is made of every token (:data:`PER_TOKEN`).

        Raises:
            OutOfMemoryError: the device has no memory for one text.
        """


@dataclass(frozen=True, slots=True)
class Transformer:
    """A model ready to run: backbone, pooling and heads, in eval mode.

    ``first_position`` is where the backbone counts positions from; ``pads`` says that its attention must see padded
    batches, because it is not one of those that ``packed.py`` can exchange.
    """

    backbone: PreTrainedModel
    pooling: Literal["cls", "mean"]
    heads: Heads
    first_position: int = 0
    pads: bool = False

    def to(self, device: torch.device, dtype: torch.dtype) -> Transformer:
        """Move it to a device, and its backbone to a precision; return it."""
        self.backbone.to(device=device, dtype=dtype)  # type: ignore[call-arg]
        self.heads.to(device)
        return self

    def run(self, rows: Sequence[TokenIds], outputs: Collection[str]) -> dict[str, torch.Tensor]:
        """Run one batch; text-level outputs have a row for each text, the others one for each token of all texts.

        Nothing in here waits for the device.
        """
        packed = pack(rows, self.backbone.device, first_position=self.first_position)
        states = self._padded(packed) if self.pads else run_packed(self.backbone, packed)
        # Heads are small, and what they return is compared to the fourth digit: they stay in float32.
        states = states.float()
        if self.pooling == "cls":
            pooled = states[packed.starts]
        else:
            sums = torch.zeros(len(rows), states.shape[1], device=states.device).index_add_(0, packed.owners, states)
            pooled = sums / packed.bounds.diff()[:, None]
        return self.heads(pooled, states, outputs)  # type: ignore[no-any-return]

    def _padded(self, packed: Packed) -> torch.Tensor:
        """Run texts filled up to the longest, and leave the filling out of what comes back."""
        texts, longest, total = len(packed.lengths), max(packed.lengths), packed.ids.shape[1]
        device = packed.ids.device
        owners = packed.owners
        places = owners * longest + torch.arange(total, device=device) - packed.starts[owners]
        ids = torch.full((texts * longest,), self.backbone.config.pad_token_id or 0, device=device)
        mask = torch.zeros_like(ids)
        ids[places] = packed.ids[0]
        mask[places] = 1
        states: torch.Tensor = self.backbone(
            input_ids=ids.view(texts, longest), attention_mask=mask.view(texts, longest)
        ).last_hidden_state
        return states.flatten(0, 1)[places]


class TorchRunner:
    """A :class:`Runner` on torch. With several devices each has a copy of the weights, and takes batches as it can.

    Args:
        model: in eval mode; moved to the first device.
        devices: where to run.
        dtype: of the backbone.
        batch_tokens: most tokens of one forward, unless a single text has more; where the model needs padding, that
            counts too. 0: what suits the device.

    Raises:
        OutOfMemoryError: a device has no memory for the weights.
    """

    def __init__(
        self, model: Transformer, devices: Sequence[torch.device], dtype: torch.dtype, batch_tokens: int = 0
    ) -> None:
        try:
            copies = [copy.deepcopy(model).to(device, dtype) for device in devices[1:]]
            self._models = [model.to(devices[0], dtype), *copies]
        except torch.OutOfMemoryError as exc:
            raise OutOfMemoryError(
                "the weights do not fit the memory of the device; free the device, or choose device cpu"
            ) from exc
        self._batch_tokens = batch_tokens or _BATCH_TOKENS[devices[0].type]
        # Without the number of a device: what comes out is the same on each, and caches go by this name.
        self.name = f"torch {devices[0].type} {str(dtype).removeprefix('torch.')}"

    def run(self, rows: Sequence[TokenIds], outputs: Collection[str]) -> dict[str, list[FloatMatrix]]:
        """See :class:`Runner`. Only the device's own out-of-memory error makes batches smaller; others surface."""
        results: dict[str, list[FloatMatrix]] = {name: [np.empty(0, np.float32)] * len(rows) for name in outputs}
        lengths = [len(row) for row in rows]
        models = self._models[: max(1, len(rows))]
        # A few texts are shared by all devices, too, rather than one having them all.
        budget = min(self._batch_tokens, -(-sum(lengths) // len(models)))
        plan = Plan(lengths, budget, padded=models[0].pads)
        if len(models) == 1:
            _work(models[0], rows, plan, results)
            return results
        with ThreadPoolExecutor(len(models)) as pool:
            working = [pool.submit(_work, model, rows, plan, results) for model in models]
            try:
                wait(working, return_when=FIRST_EXCEPTION)
            finally:
                plan.abandon()
            for one in working:
                one.result()
        return results


class Plan:
    """The rows that wait, handed out in batches of at most ``budget`` tokens, longest rows first.

    >>> plan = Plan([3, 9, 4, 20], budget=10)
    >>> [plan.take(), plan.take(), plan.take(), plan.take()]
    [[3], [1], [2, 0], []]
    """

    def __init__(self, lengths: Sequence[int], budget: int, *, padded: bool = False) -> None:
        self._lengths = lengths
        self._budget = budget
        self._padded = padded
        # Longest first: a batch that does not fit the device fails at the start of a long run, not at its end.
        self._waiting = deque(sorted(range(len(lengths)), key=lambda row: -lengths[row]))
        self._lock = threading.Lock()

    def take(self) -> list[int]:
        """Return the next batch, empty at the end; a row over the budget is a batch of its own."""
        batch: list[int] = []
        total = longest = 0
        with self._lock:
            while self._waiting:
                length = self._lengths[self._waiting[0]]
                total, longest = total + length, max(longest, length)
                if batch and (longest * (len(batch) + 1) if self._padded else total) > self._budget:
                    break
                batch.append(self._waiting.popleft())
        return batch

    def halve(self, batch: list[int], cause: BaseException) -> None:
        """Take back a batch that the device had no memory for; all that follow have half as many tokens.

        Raises:
            OutOfMemoryError: the batch is a single row.
        """
        lengths = [self._lengths[row] for row in batch]
        if len(batch) == 1:
            raise OutOfMemoryError(
                f"text {batch[0] + 1} of {len(self._lengths)} ({lengths[0]} tokens) does not fit the memory of the "
                "device, even alone; free the device, or choose device cpu"
            ) from cause
        tokens = max(lengths) * len(lengths) if self._padded else sum(lengths)
        with self._lock:
            self._budget = budget = min(self._budget, tokens // 2)
            self._waiting.extendleft(reversed(batch))
        logger.warning("no device memory for %d texts at once; going on with %d tokens", len(batch), budget)

    def abandon(self) -> None:
        """Leave what still waits undone: nobody will read the results."""
        with self._lock:
            self._waiting.clear()


@dataclass(frozen=True, slots=True)
class _Launched:
    """A batch on its way: its outputs are being copied to the host, and are there once ``arrived`` is."""

    batch: list[int]
    outputs: dict[str, torch.Tensor]
    arrived: torch.cuda.Event | None


def _work(model: Transformer, rows: Sequence[TokenIds], plan: Plan, results: Mapping[str, list[FloatMatrix]]) -> None:
    """Run batches until none is left. What a batch gave is stored while the device is at the next one."""
    before: _Launched | None = None
    while batch := plan.take():
        try:
            launched = _launch(model, batch, rows, results)
        except RuntimeError as exc:
            if not _out_of_memory(exc):
                raise
            plan.halve(batch, exc)
            continue
        if before is not None:
            _store(before, rows, results)
        before = launched
    if before is not None:
        _store(before, rows, results)


def _launch(model: Transformer, batch: list[int], rows: Sequence[TokenIds], wanted: Collection[str]) -> _Launched:
    with torch.inference_mode():
        found = model.run([rows[row] for row in batch], wanted)
        # Behind this batch's own work, ahead of the next one's; torch takes pinned memory for it.
        outputs = {name: found[name].to("cpu", non_blocking=True) for name in wanted}
    device = model.backbone.device
    arrived = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
    return _Launched(batch, outputs, arrived)


def _store(done: _Launched, rows: Sequence[TokenIds], results: Mapping[str, list[FloatMatrix]]) -> None:
    if done.arrived is not None:
        done.arrived.synchronize()
    ends = np.cumsum([len(rows[row]) for row in done.batch])[:-1]
    for name, tensor in done.outputs.items():
        # Pinned memory is scarce: results, which may be kept for long, get memory of their own.
        values = tensor.numpy() if done.arrived is None else tensor.numpy().copy()
        for row, value in zip(done.batch, np.split(values, ends) if name in PER_TOKEN else values, strict=True):
            results[name][row] = value


def _out_of_memory(exc: RuntimeError) -> bool:
    """Whether a device said so: CUDA has an error of its own for it, the CPU's allocator only words."""
    return isinstance(exc, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(exc)
