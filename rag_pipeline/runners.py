"""Settings -> what runs a transformer: torch, or the OpenVINO graph that was made of the same weights.

Enters: settings and checked weights. Leaves: a runner, or reports of the graphs that were made. What is not chosen is
not loaded. This module knows no tokens and no texts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rag_pipeline.config import RerankerSettings, Settings, TextSettings
from rag_pipeline.encoders.openvino import OpenVinoRunner, find_graph, graph_folder
from rag_pipeline.encoders.weights import Weights, locate
from rag_pipeline.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from rag_pipeline.encoders.agreement import Sample
    from rag_pipeline.encoders.quantize import GraphReport
    from rag_pipeline.encoders.runner import Runner, Transformer

__all__ = ["load_transformer", "make_runner", "quantize_model", "validate_model"]

log = logging.getLogger(__name__)


def make_runner(settings: Settings, chosen: TextSettings | RerankerSettings, weights: Weights) -> Runner:
    """Return what runs these weights, loaded.

    Raises:
        ConfigError: there is no such device, or OpenVINO is asked to run on it.
        UnavailableError: the device is not on this machine, a file is not what its name says, or the backend is
            ``openvino`` and it is not installed, or no graph of these weights agreed with torch.
    """
    from rag_pipeline.encoders.checkpoint import resolve_devices, resolve_dtype

    folder = graph_folder(weights, settings.models_dir)
    if chosen.backend == "openvino":
        if chosen.device not in ("auto", "cpu"):
            raise ConfigError(f"backend openvino runs on the CPU, not on {chosen.device!r}; set device: cpu")
        if not find_graph(folder, chosen.graph):
            raise UnavailableError(
                f"there is no {chosen.graph} graph of {weights.name!r} that agreed with these weights; make it with "
                f"rag models quantize {weights.name}, or set backend: auto"
            )
        return OpenVinoRunner(folder, chosen.graph, threads=chosen.threads)
    devices = resolve_devices(chosen.device)
    # Who names a precision wants that of torch.
    automatic = chosen.backend == "auto" and chosen.dtype == "auto" and devices[0].type == "cpu"
    if automatic and find_graph(folder, chosen.graph):
        try:
            return OpenVinoRunner(folder, chosen.graph, threads=chosen.threads)
        except UnavailableError as exc:
            log.warning("torch runs %s: %s", weights.name, exc)
    from rag_pipeline.encoders.runner import TorchRunner

    return TorchRunner(load_transformer(weights), devices, resolve_dtype(chosen.dtype, devices[0]), chosen.batch_tokens)


def load_transformer(weights: Weights) -> Transformer:
    """Load a model for torch, float32, on the CPU.

    Raises:
        ConfigError: these weights are not run on torch, or are of no text model.
        UnavailableError: a file is missing, unreadable or of another model.
    """
    if weights.loader == "bge-m3":
        from rag_pipeline.encoders.bge_m3 import load_bge_m3

        return load_bge_m3(weights.folder)
    if weights.loader in ("sentence", "transformers"):
        from rag_pipeline.encoders.sentence import load_sentence

        return load_sentence(weights)
    if weights.loader == "torch-reranker":
        from rag_pipeline.retrieval.cross_encoder import load_reranker

        return load_reranker(weights.folder)
    if weights.loader.startswith("onnx"):
        raise ConfigError(
            f"{weights.name!r} is an ONNX file, which is quantized already; choose a model in torch's form"
        )
    raise ConfigError(f"{weights.name!r} is a {weights.loader} model; choose a text encoder or a reranker")


def quantize_model(
    settings: Settings, name: str, sample: Sample, say: Callable[[str], None] = lambda message: None
) -> Sequence[GraphReport]:
    """Make OpenVINO graphs of a model and keep those that agree with it; see ``encoders/quantize.py``.

    Raises:
        ConfigError: there is no such model, or it does not run on torch.
        UnavailableError: its weights or OpenVINO are not on this machine, or OpenVINO cannot convert it.
    """
    weights = _weights(settings, name)
    model = load_transformer(weights)
    from rag_pipeline.encoders.checkpoint import load_tokenizer
    from rag_pipeline.encoders.quantize import quantize

    return quantize(model, load_tokenizer(weights.folder), sample, graph_folder(weights, settings.models_dir), say)


def validate_model(
    settings: Settings, name: str, sample: Sample, say: Callable[[str], None] = lambda message: None
) -> Sequence[GraphReport]:
    """Compare the graphs of a model with it again; one that no longer agrees is not run any more.

    Raises:
        ConfigError: there is no such model, or it does not run on torch.
        UnavailableError: there are no graphs, or weights or OpenVINO are not on this machine.
    """
    weights = _weights(settings, name)
    model = load_transformer(weights)
    from rag_pipeline.encoders.checkpoint import load_tokenizer
    from rag_pipeline.encoders.quantize import validate

    return validate(model, load_tokenizer(weights.folder), sample, graph_folder(weights, settings.models_dir), say)


def _weights(settings: Settings, name: str) -> Weights:
    """Find weights by name; where the settings have a folder of the user's own for that model, those in it."""
    for chosen in (settings.text, settings.reranker):
        if chosen is not None and chosen.model == name:
            return locate(name, settings.models_dir, chosen.path)
    return locate(name, settings.models_dir)
