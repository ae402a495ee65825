"""What a sentence-transformers folder says about itself, read as data: pooling, limits, prompts, final layers.

Enters: checked :class:`Weights`. Leaves: a :class:`Layout`, or the reason why the folder is refused. This module loads
no weights and imports no vendor. It reads only files that are in the fingerprint, so that what changes a vector changes
the fingerprint too.

Nothing that a folder names is imported. What is not on the short lists below is refused by name: a model that is run
almost as its authors ran it gives vectors that look right and rank wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

from rag_pipeline.encoders.weights import Weights
from rag_pipeline.errors import ConfigError, UnavailableError

__all__ = ["PACKED", "DenseLayer", "Layout", "read_layout"]

_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_PASSAGE_PROMPTS = ("document", "passage", "corpus")
"""Names of one thing; sentence-transformers takes the first that a model has."""
PACKED = {"bert", "roberta", "xlm-roberta", "camembert"}
"""Models that ``packed.py`` can run: only attention mixes tokens, and positions come in from outside."""
_PADDING_FIRST = {"camembert", "mpnet", "roberta", "xlm-roberta"}
"""Models that count positions from behind the padding token's."""


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A linear layer behind pooling: ``activation`` is the name of a class in ``torch.nn``."""

    folder: Path
    width_in: int
    width_out: int
    bias: bool
    activation: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How a model is run.

    ``folder`` holds the backbone and its tokenizer. ``max_tokens`` counts special tokens and prompt. ``first`` numbers
    of a vector are kept (Matryoshka), all where it is None. ``first_position`` and ``pads`` are those of ``runner.py``.
    """

    folder: Path
    pooling: Literal["cls", "mean"]
    max_tokens: int
    dim: int
    query_prompt: str = ""
    passage_prompt: str = ""
    lower_case: bool = False
    layers: tuple[DenseLayer, ...] = ()
    first: int | None = None
    first_position: int = 0
    pads: bool = False


def read_layout(weights: Weights) -> Layout:
    """Read the configuration of a sentence-transformers folder, or the registry's for a bare transformers one.

    Raises:
        ConfigError: the model needs code of its publisher, or a module, pooling or similarity that is not supported.
        UnavailableError: a file is missing or unreadable.
    """
    if weights.loader == "transformers":
        return _stated(weights)
    modules = _modules(weights)
    if [kind for kind, _ in modules[:2]] != ["Transformer", "Pooling"]:
        raise ConfigError(
            f"{weights.folder / 'modules.json'}: begins with {', '.join(kind for kind, _ in modules[:2])}; "
            "only models that begin with Transformer, Pooling are supported"
        )
    body, final = modules[0][1], _read(weights, "config_sentence_transformers.json")
    config = _config(weights, body)
    limits = _read(weights, f"{body}sentence_bert_config.json")
    _check_task(weights, limits, f"{body}sentence_bert_config.json")
    pooling, width = _pooling(weights, f"{modules[1][1]}config.json", config)
    layers, normalized = _layers(weights, modules[2:], width)
    _check_similarity(weights, final, normalized=normalized)
    dim = layers[-1].width_out if layers else width
    first = cast("int | None", final.get("truncate_dim"))
    prompts = cast("Mapping[str, str | None]", final.get("prompts") or {})
    return Layout(
        folder=weights.folder / body,
        pooling=pooling,
        max_tokens=_max_tokens(weights, body, config, limits),
        dim=dim if first is None else min(dim, first),
        query_prompt=prompts.get("query") or "",
        passage_prompt=next((prompts[name] or "" for name in _PASSAGE_PROMPTS if prompts.get(name)), ""),
        lower_case=bool(limits.get("do_lower_case")),
        layers=layers,
        first=first,
        first_position=_first_position(config),
        pads=str(config.get("model_type")) not in PACKED,
    )


# ------------------------------------------------------------------------------------ the parts


def _stated(weights: Weights) -> Layout:
    """Return what the registry states of a model whose pinned files do not say it."""
    options, config = weights.options, _config(weights, "")
    return Layout(
        folder=weights.folder,
        pooling=cast("Literal['cls', 'mean']", options["pooling"]),
        max_tokens=int(str(options["max_tokens"])),
        dim=int(str(options["dim"])),
        query_prompt=str(options["query_prefix"]),
        passage_prompt=str(options["passage_prefix"]),
        first_position=_first_position(config),
        pads=str(config.get("model_type")) not in PACKED,
    )


def _modules(weights: Weights) -> list[tuple[str, str]]:
    """Return (class name, folder in front of its files: empty or ending in a slash) of each module, in order."""
    path = weights.folder / "modules.json"
    entries = _json(weights, "modules.json")
    if not isinstance(entries, list):
        raise UnavailableError(f"cannot read {path} (not a list); complete the folder")
    modules = []
    for entry in entries:
        kind, place = str(entry.get("type")), PurePosixPath(str(entry.get("path", "")))
        if not kind.startswith("sentence_transformers."):
            raise ConfigError(
                f"{path}: type {kind!r} is code of the model's publisher, which is never run; choose a model of "
                "sentence-transformers' own modules"
            )
        name = kind.rsplit(".", 1)[1]
        if name not in ("Transformer", "Pooling", "Dense", "Normalize"):
            raise ConfigError(
                f"{path}: module {kind!r} is not supported; Transformer, Pooling, Dense and Normalize are"
            )
        if place.is_absolute() or ".." in place.parts:
            raise ConfigError(f"{path}: path {str(place)!r} leads out of the folder; correct it")
        modules.append((name, "" if place == PurePosixPath() else f"{place}/"))
    return modules


def _config(weights: Weights, body: str) -> dict[str, Any]:
    """Return the backbone's ``config.json``; refuse what only its publisher's code can run."""
    config = _read(weights, f"{body}config.json", needed=True)
    for name, values in (
        ("config.json", config),
        ("tokenizer_config.json", _read(weights, f"{body}tokenizer_config.json")),
    ):
        if values.get("auto_map"):
            # Also where transformers has a class of the same model_type: jina-embeddings-v2 says "bert", and is none.
            raise ConfigError(
                f"{weights.folder / body / name}: auto_map says that the model needs code of its publisher, which is "
                "never run; choose a model that transformers itself can run"
            )
    if config.get("is_encoder_decoder"):
        raise ConfigError(
            f"{weights.folder / body / 'config.json'}: model_type {config.get('model_type')!r} is an encoder with a "
            "decoder; choose an encoder"
        )
    return config


def _pooling(weights: Weights, name: str, config: Mapping[str, Any]) -> tuple[Literal["cls", "mean"], int]:
    """Return the pooling and the width of what is pooled."""
    values = _read(weights, name, needed=True)
    stated = values.get("pooling_mode") or [mode for key, mode in _OLD_MODES.items() if values.get(key)] or "mean"
    modes = [stated] if isinstance(stated, str) else list(stated)
    if len(modes) != 1 or modes[0] not in ("cls", "mean"):
        raise ConfigError(f"{weights.folder / name}: pooling {'+'.join(modes)!r} is not supported; cls and mean are")
    if values.get("include_prompt") is False:
        raise ConfigError(
            f"{weights.folder / name}: include_prompt false is not supported; choose a model that pools its prompt too"
        )
    width = values.get("embedding_dimension") or values.get("word_embedding_dimension") or config["hidden_size"]
    return cast("Literal['cls', 'mean']", modes[0]), int(width)


def _layers(weights: Weights, modules: list[tuple[str, str]], width: int) -> tuple[tuple[DenseLayer, ...], bool]:
    """Return the linear layers, and whether the model ends with unit rows."""
    kinds = [kind for kind, _ in modules]
    if kinds.count("Dense") + kinds.count("Normalize") != len(kinds) or "Normalize" in kinds[:-1]:
        raise ConfigError(
            f"{weights.folder / 'modules.json'}: {', '.join(kinds)} behind the pooling is not supported; "
            "Dense layers and one Normalize at the end are"
        )
    layers = []
    for _, place in modules[: kinds.count("Dense")]:
        path = weights.folder / place / "config.json"
        values = _read(weights, f"{place}config.json", needed=True)
        activation = str(values.get("activation_function") or "torch.nn.modules.activation.Tanh")
        kept = values.get("module_input_name", "sentence_embedding"), values.get("module_output_name")
        if values.get("use_residual") or kept[0] != "sentence_embedding" or kept[1] not in (None, kept[0]):
            raise ConfigError(f"{path}: use_residual and named inputs and outputs are not supported; use a plain Dense")
        if not activation.startswith("torch.nn.modules."):
            raise ConfigError(f"{path}: activation_function {activation!r} is not one of torch.nn; use one of those")
        if int(values["in_features"]) != width:
            raise ConfigError(f"{path}: in_features is {values['in_features']}, what comes in has {width}; correct it")
        width = int(values["out_features"])
        layers.append(
            DenseLayer(
                weights.folder / place, int(values["in_features"]), width, bool(values.get("bias", True)),
                activation.rsplit(".", 1)[1],
            )
        )  # fmt: skip
    return tuple(layers), kinds[-1:] == ["Normalize"]


def _max_tokens(weights: Weights, body: str, config: Mapping[str, Any], limits: Mapping[str, Any]) -> int:
    """Return what sentence-transformers reads, and never more than there are positions."""
    known = [
        limits.get("max_seq_length") or _read(weights, f"{body}tokenizer_config.json").get("model_max_length"),
        config["max_position_embeddings"] - _first_position(config) if "max_position_embeddings" in config else None,
    ]
    numbers = [int(number) for number in known if number]
    if not numbers:
        raise ConfigError(
            f"{weights.folder / body}: nothing says how many tokens the model reads; write max_seq_length into "
            "sentence_bert_config.json"
        )
    return min(numbers)


def _first_position(config: Mapping[str, Any]) -> int:
    """Return where a model counts positions from."""
    if config.get("model_type") not in _PADDING_FIRST:
        return 0
    padding = config.get("pad_token_id")
    return (1 if padding is None else int(padding)) + 1


def _check_task(weights: Weights, limits: Mapping[str, Any], name: str) -> None:
    asked = {
        "transformer_task": limits.get("transformer_task") not in (None, "feature-extraction"),
        "module_output_name": limits.get("module_output_name") not in (None, "token_embeddings"),
        **{key: bool(limits.get(key)) for key in ("query_length", "document_length", "query_expansion")},
        **{key: bool(limits.get(key)) for key in ("model_args", "model_kwargs", "config_args", "config_kwargs")},
    }
    for key in (key for key, is_asked in asked.items() if is_asked):
        raise ConfigError(f"{weights.folder / name}: {key} {limits[key]!r} is not supported; choose a plain encoder")


def _check_similarity(weights: Weights, final: Mapping[str, Any], *, normalized: bool) -> None:
    """Refuse vectors whose length counts: they are compared by angle here."""
    name = final.get("similarity_fn_name") or "cosine"
    if name != "cosine" and not (normalized and name in ("dot", "euclidean")):
        raise ConfigError(
            f"{weights.folder / 'config_sentence_transformers.json'}: similarity_fn_name {name!r} is not supported for "
            "vectors of any length; choose a model for cosine similarity"
        )


def _read(weights: Weights, name: str, *, needed: bool = False) -> dict[str, Any]:
    """Return an object of a JSON file, empty where a file that is not needed is not there."""
    if name not in weights.files and not needed:
        return {}
    values = _json(weights, name)
    if not isinstance(values, dict):
        raise UnavailableError(f"cannot read {weights.folder / name} (not an object); complete the folder")
    return values


def _json(weights: Weights, name: str) -> object:
    path = weights.folder / name
    if name not in weights.files:
        raise UnavailableError(f"{path} is missing; complete the folder")
    try:
        return cast(object, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as exc:
        raise UnavailableError(f"cannot read {path} ({type(exc).__name__}); complete the folder") from exc
