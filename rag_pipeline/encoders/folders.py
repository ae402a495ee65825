"""A folder of the user's own: what it holds, and which of its files a loader reads.

Enters: a folder and the name that the user gave it. Leaves: the name of a loader, and names of files. This module opens
no weights; it goes by the names of files, and by ``architectures`` in ``config.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from rag_pipeline.encoders.registry import registry
from rag_pipeline.errors import ConfigError, UnavailableError

__all__ = ["kind_of", "own_files"]

_NEEDED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "onnx": (("model.onnx",), ("tokenizer.json",)),
    "onnx-reranker": (("model.onnx",), ("tokenizer.json",)),
    "sentence": (
        ("modules.json",), ("config.json", "0_Transformer/config.json"),
        ("tokenizer.json", "0_Transformer/tokenizer.json"),
        (
            "model.safetensors", "pytorch_model.bin",
            "0_Transformer/model.safetensors", "0_Transformer/pytorch_model.bin",
        ),
    ),
    "transformers": (("config.json",), ("tokenizer.json",), ("model.safetensors", "pytorch_model.bin")),
    "bge-m3": (
        ("config.json",), ("tokenizer.json",), ("model.safetensors", "pytorch_model.bin"),
        ("sparse_linear.pt",), ("colbert_linear.pt",),
    ),
    "clip": (
        ("config.json",), ("tokenizer.json",), ("preprocessor_config.json",),
        ("model.safetensors", "pytorch_model.bin"),
    ),
    "torch-reranker": (("config.json",), ("tokenizer.json",), ("model.safetensors", "pytorch_model.bin")),
}  # fmt: skip
"""What each loader needs in a folder of the user's own; of alternatives, the first one there is loaded."""

_READ_TOO = ("config_sentence_transformers.json", "sentence_bert_config.json", "tokenizer_config.json")
"""What a sentence-transformers folder may say about itself besides; it changes vectors, so it is in the fingerprint."""


def kind_of(name: str, folder: Path) -> str:
    """Return the loader of a folder under a name of the user's own, by the files in it."""
    if not folder.is_dir():
        raise UnavailableError(f"there is no folder {folder}, the path of {name!r}; correct it or unset path")
    if all((folder / file).is_file() for file in ("sparse_linear.pt", "colbert_linear.pt")):
        return "bge-m3"  # before sentence-transformers: BGE-M3 is published with modules.json, too
    if (folder / "modules.json").is_file():
        return "sentence"
    try:
        kinds = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError, AttributeError):
        kinds = []
    if any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        return "torch-reranker"
    if "CLIPModel" in kinds:
        return "clip"
    raise ConfigError(
        f"{folder} is neither a sentence-transformers model (modules.json) nor a BGE-M3, a CLIP or a reranker, and the "
        f"registry has no {name!r}; correct path, or choose one of {', '.join(registry())}"
    )


def own_files(name: str, loader: str, folder: Path, pinned: Iterable[str]) -> list[str]:
    """Return the files of a folder of the user's own that its loader reads; ``pinned`` are the registry's."""
    names = {file for file in pinned if (folder / file).is_file()}
    for choices in _NEEDED[loader]:
        found = [file for file in choices if (folder / file).is_file()]
        if not found:
            raise UnavailableError(
                f"{folder} has no {' or '.join(choices)}, which {name!r} needs; complete the folder or unset path"
            )
        names.add(found[0])
    if loader == "sentence":
        names.update(file.relative_to(folder).as_posix() for file in folder.glob("[0-9]_*/*") if file.is_file())
        names.update(file for file in _READ_TOO if (folder / file).is_file())
    return sorted(names)
