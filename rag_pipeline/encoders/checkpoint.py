"""A folder of published weights -> a model ready to run, and work cut into batches that fit the device.

Enters: a folder in Hugging Face layout, a device name, token counts. Leaves: a model in eval mode, a tokenizer that
never truncates or pads, batches of row numbers. This module knows nothing of what a model is for.

Only `safetensors` files and `pytorch_model.bin` read with ``weights_only=True`` are loaded; nothing is fetched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, TypeVar, cast

from rag_pipeline.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

    Model = TypeVar("Model", bound=PreTrainedModel)

__all__ = ["count_tokens", "load_model", "load_tokenizer", "resolve_device", "run_batches", "token_batches"]

logger = logging.getLogger(__name__)

_COUNTED_AT_ONCE = 1024
"""Texts: a tokenizer returns a kilobyte for each, and a document may have hundreds of thousands of short lines."""


def resolve_device(name: str) -> torch.device:
    """Return the device that ``name`` means: ``auto`` (the first CUDA device, else the CPU), ``cpu``, ``cuda:N``.

    Raises:
        ConfigError: ``name`` is no device.
        UnavailableError: the device is not on this machine.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise ConfigError(f"device {name!r} is not known; use auto, cpu, cuda or cuda:N") from exc
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UnavailableError(f"device {name!r} is not on this machine; use auto or cpu")
    return device


def load_model(kind: type[Model], folder: Path, device: torch.device, *, unused: Sequence[str] = ()) -> Model:
    """Load weights into the architecture ``kind``, in eval mode: float32 on the CPU, float16 on CUDA.

    Args:
        kind: a transformers model class, or one of its ``Auto`` classes.
        folder: holds ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``.
        device: where the model will run.
        unused: prefixes of parameters that the caller never runs, so that the file need not have them.

    Raises:
        UnavailableError: a file is missing or unreadable, or lacks parameters, which would then be random.
    """
    import torch
    from safetensors import SafetensorError

    for choices in (("config.json",), ("model.safetensors", "pytorch_model.bin")):
        if not any((folder / name).is_file() for name in choices):
            raise UnavailableError(f"{' or '.join(choices)} is missing in {folder}; run: rag models pull")
    try:
        with _without_bars():
            loaded = kind.from_pretrained(
                folder,
                # bfloat16 keeps 8 bits of mantissa: scores close to each other would round to the same value.
                dtype=torch.float16 if device.type == "cuda" else torch.float32,
                local_files_only=True,
                weights_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as exc:
        reason = str(exc).strip().split("\n", 1)[0]
        raise UnavailableError(f"cannot load the weights in {folder} ({reason}); run: rag models verify") from exc
    model, report = cast("tuple[Model, dict[str, set[str]]]", loaded)
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(tuple(unused)))
    if missing:
        raise UnavailableError(
            f"the weights in {folder} lack {len(missing)} parameters, the first {missing[0]!r}; run: rag models pull"
        )
    model.to(device)  # type: ignore[arg-type]  # transformers wraps the method and loses its type
    model.eval()  # type: ignore[no-untyped-call]
    return model


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers from drawing a progress bar on the caller's stderr, terminal or not."""
    from transformers.utils import logging as switches

    shown = switches.is_progress_bar_enabled()
    switches.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            switches.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load ``tokenizer.json`` with truncation and padding off, so that what is counted is what is encoded.

    The tokenizer of the `tokenizers` library is used rather than transformers' wrapper because encoding changes
    nothing in it: threads may share it without a lock. It must not be changed after this call.

    Raises:
        UnavailableError: the file is missing or unreadable.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UnavailableError(f"tokenizer.json is missing in {folder}; run: rag models pull")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as exc:  # the Rust library raises bare Exception
        raise UnavailableError(f"cannot read {path} ({exc}); run: rag models verify") from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Return the tokens of each text, special tokens included."""
    return [
        len(encoding)
        for start in range(0, len(texts), _COUNTED_AT_ONCE)
        for encoding in tokenizer.encode_batch_fast(list(texts[start : start + _COUNTED_AT_ONCE]))
    ]


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield row numbers in batches of at most ``budget`` tokens, padding included, longest rows first.

    A row longer than the budget is a batch of its own.

    >>> list(token_batches([3, 9, 4, 20], budget=10))
    [[3], [1], [2, 0]]
    """
    batch: list[int] = []
    # Longest first: a batch that does not fit the device fails at the start of a long run, not at its end.
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def run_batches(lengths: Sequence[int], budget: int, forward: Callable[[list[int]], None]) -> None:
    """Call ``forward`` on every row once, in :func:`token_batches`; halve a batch that the device has no memory for.

    Only the device's own out-of-memory error halves a batch. Any other error is a defect, and surfaces.

    Raises:
        UnavailableError: a row does not fit even alone.
    """
    import torch

    waiting = list(token_batches(lengths, budget))[::-1]
    while waiting:
        batch = waiting.pop()
        try:
            forward(batch)
        except torch.OutOfMemoryError as exc:
            if len(batch) == 1:
                raise UnavailableError(
                    f"input {batch[0] + 1} of {len(lengths)} ({lengths[batch[0]]} tokens) does not fit the memory of "
                    "the device, even alone; free the device, or choose device cpu"
                ) from exc
            half = len(batch) // 2
            logger.warning("no device memory for a batch of %d inputs; halving it", len(batch))
            waiting += [batch[half:], batch[:half]]
