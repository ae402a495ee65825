"""A folder of published weights -> a model ready to run, and its tokenizer.

Enters: a folder in Hugging Face layout, names of devices and precisions. Leaves: a model in eval mode, a tokenizer that
never truncates or pads, torch's devices. This module knows nothing of what a model is for.

Only `safetensors` files and `pytorch_model.bin` read with ``weights_only=True`` are loaded; nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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

__all__ = [
    "count_tokens", "load_model", "load_tokenizer", "read_config", "resolve_device", "resolve_devices",
    "resolve_dtype",
]  # fmt: skip

_COUNTED_AT_ONCE = 1024
"""Texts: a tokenizer returns a kilobyte for each, and a document may have hundreds of thousands of short lines."""


def resolve_device(name: str) -> torch.device:
    """Return the one device that ``name`` means, of several the first; see :func:`resolve_devices`."""
    return resolve_devices(name)[0]


def resolve_devices(name: str) -> list[torch.device]:
    """Return the devices that ``name`` means.

    Args:
        name: ``cpu``; ``cuda``, all CUDA devices that this process sees; ``cuda:N``, one of them; ``auto``: ``cuda``
            where there is any, else ``cpu``.

    Raises:
        ConfigError: ``name`` is no device.
        UnavailableError: the device is not on this machine.
    """
    import torch

    there = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    if name == "auto":
        return there or [torch.device("cpu")]
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise ConfigError(f"device {name!r} is not known; use auto, cpu, cuda or cuda:N") from exc
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return [device]
    if (device.index or 0) >= len(there):
        raise UnavailableError(f"device {name!r} is not on this machine; use auto or cpu")
    return there if device.index is None else [device]


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision that ``name`` means: ``float32``, ``bfloat16``, ``float16``, or ``auto``.

    ``auto`` is float32 on the CPU and float16 on CUDA: bfloat16 keeps 8 bits of mantissa, and scores that are close to
    each other would round to the same value.

    Raises:
        ConfigError: ``name`` is no precision.
    """
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name == "auto":
        name = "float16" if device.type == "cuda" else "float32"
    if name not in known:
        raise ConfigError(f"dtype {name!r} is not known; use auto, {', '.join(known)}")
    return known[name]


def read_config(folder: Path) -> dict[str, object]:
    """Return ``config.json``.

    Raises:
        UnavailableError: the file is missing or unreadable.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UnavailableError(f"config.json is missing in {folder}; run: rag models pull")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise UnavailableError(f"cannot read {path} ({type(exc).__name__}); run: rag models verify") from exc
    if not isinstance(config, dict):
        raise UnavailableError(f"cannot read {path} (not an object); run: rag models verify")
    return config


def load_model(
    kind: type[Model],
    folder: Path,
    device: torch.device | None = None,
    *,
    dtype: torch.dtype | None = None,
    unused: Sequence[str] = (),
) -> Model:
    """Load weights into the architecture ``kind``, in eval mode.

    Args:
        kind: a transformers model class, or one of its ``Auto`` classes.
        folder: holds ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``.
        device: where the model will be; None: the CPU.
        dtype: precision of the weights; None: what :func:`resolve_dtype` calls ``auto``.
        unused: prefixes of parameters that the caller never runs, so that the file need not have them.

    Raises:
        UnavailableError: a file is missing or unreadable, or lacks parameters, which would then be random.
    """
    import torch
    from safetensors import SafetensorError

    device = device or torch.device("cpu")
    for choices in (("config.json",), ("model.safetensors", "pytorch_model.bin")):
        if not any((folder / name).is_file() for name in choices):
            raise UnavailableError(f"{' or '.join(choices)} is missing in {folder}; run: rag models pull")
    try:
        with _without_bars():
            loaded = kind.from_pretrained(
                folder,
                dtype=dtype or resolve_dtype("auto", device),
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
