"""A torch model -> OpenVINO graphs, in INT8 and in 16 bits, put in place only where they agree with the model.

Enters: a :class:`~rag_pipeline.encoders.runner.Transformer`, its tokenizer and a sample. Leaves: a folder with graphs
and a report of sizes, agreement and speed. This module does not choose what runs where; ``parts.py`` does.
"""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import nn

from rag_pipeline.encoders.agreement import LEAST, Sample, compare, shortcomings
from rag_pipeline.encoders.hashes import sha256_of
from rag_pipeline.encoders.openvino import REPORT, GraphKind, OpenVinoRunner, import_openvino
from rag_pipeline.encoders.runner import Runner, TorchRunner, Transformer
from rag_pipeline.errors import UnavailableError
from rag_pipeline.types import FloatMatrix, TokenIds

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["GraphReport", "quantize", "validate"]

_LONGEST = 512
"""Tokens of a text of the sample: longer ones take minutes in float32 on two cores."""
_PAIRED = (8, 32)
"""Questions, and passages with each of them, on which a reranker is compared."""
_BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class GraphReport:
    """What was measured of one graph, beside torch in float32 on the same texts, in one run.

    ``size`` is in bytes on disk, ``files`` are the SHA-256 of each, ``measures`` are those of ``agreement.py`` for
    each output, ``refused`` says why the graph may not run, and is empty where it may.
    """

    kind: GraphKind
    size: int
    files: Mapping[str, str]
    measures: Mapping[str, Mapping[str, float]]
    tokens_per_s: float
    torch_tokens_per_s: float
    refused: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self) | {"files": dict(self.files), "refused": list(self.refused)}


def quantize(
    model: Transformer,
    tokenizer: Tokenizer,
    sample: Sample,
    folder: Path,
    say: Callable[[str], None] = lambda message: None,
    *,
    least: Mapping[str, float] = LEAST,
) -> list[GraphReport]:
    """Convert a model, compare each graph with it, and put those that agree into ``folder``.

    Args:
        model: float32, on the CPU.
        tokenizer: neither truncates nor pads.
        sample: texts to compare on.
        folder: where the graphs belong; replaced as a whole, and only where at least one graph agrees.
        say: is told what goes on; the whole takes minutes with a large model.
        least: below these measures a graph does not agree.

    Raises:
        UnavailableError: OpenVINO or NNCF is not installed, or cannot convert this model.
    """
    partial = folder.parent / ".partial" / folder.name
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        rows, questions = _tokenize(model, tokenizer, sample)
        say("converting ...")
        _write_graphs(model, rows[questions:], partial)
        reports = _compare(model, rows, questions, partial, get_args(GraphKind), say, least)
        for report in reports:
            if report.refused:
                for name in report.files:
                    (partial / name).unlink()
        if not all(report.refused for report in reports):
            _write_report(partial, sample, reports)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return reports


def validate(
    model: Transformer,
    tokenizer: Tokenizer,
    sample: Sample,
    folder: Path,
    say: Callable[[str], None] = lambda message: None,
) -> list[GraphReport]:
    """Compare the graphs in ``folder`` with their model again; one that no longer agrees is not run any more.

    Raises:
        UnavailableError: there are no graphs, OpenVINO is not installed, or a graph cannot be loaded.
    """
    kinds = [kind for kind in get_args(GraphKind) if (folder / f"{kind}.xml").is_file()]
    if not kinds:
        raise UnavailableError(f"there is no graph in {folder}; make it with rag models quantize")
    rows, questions = _tokenize(model, tokenizer, sample)
    reports = _compare(model, rows, questions, folder, kinds, say, LEAST)
    _write_report(folder, sample, reports)
    return reports


# ------------------------------------------------------------------------------------ the graph


class _Graph(nn.Module):
    """A transformer on padded batches: (b, t) ids and mask in, every output of the heads out."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.heads = model.heads
        self._pooling = model.pooling

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        kept = attention_mask.float()
        # One row for all tokens of a text: the square that transformers makes of it takes 268 MB at 8192 tokens.
        hidden = (1.0 - kept[:, None, None, :]) * torch.finfo(torch.float32).min
        states = self.backbone(input_ids=input_ids, attention_mask=hidden).last_hidden_state
        if self._pooling == "cls":
            pooled = states[:, 0]
        else:
            pooled = (states * kept[:, :, None]).sum(dim=1) / kept.sum(dim=1, keepdim=True)
        made = self.heads(pooled, states, self.heads.names)
        return tuple(made[name] for name in self.heads.names)


def _write_graphs(model: Transformer, passages: Sequence[TokenIds], folder: Path) -> None:
    """Write ``bf16.xml`` and ``int8.xml``, each with its ``.bin``."""
    openvino, nncf = import_openvino(), _import_nncf()
    backbone = model.backbone
    attention = backbone.config._attn_implementation
    pad = int(backbone.config.pad_token_id or 0)
    longest = max(map(len, passages[:2]))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in passages[:2]])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in passages[:2]])
    backbone.set_attn_implementation("sdpa")  # OpenVINO knows it as one operation
    try:
        with torch.no_grad(), _hushed():
            graph = openvino.convert_model(_Graph(model), example_input={"input_ids": ids, "attention_mask": mask})
    except Exception as exc:  # the tracer's and OpenVINO's errors share no other base
        reason = str(exc).strip().rsplit("\n", 1)[-1]  # before it, files and lines of OpenVINO's own
        raise UnavailableError(f"OpenVINO cannot convert this model ({reason}); use backend: torch") from exc
    finally:
        backbone.set_attn_implementation(attention)
    graph.reshape({port: [-1, -1] for port in graph.inputs})
    for port, name in zip(graph.outputs, model.heads.names, strict=True):
        port.tensor.set_names({name})
    # The file holds float16, whatever the processor then computes in: half the size, and bfloat16 keeps fewer bits.
    openvino.save_model(graph, folder / "bf16.xml", compress_to_fp16=True)
    # OpenVINO 2026.4 computes a layer of a single output wrongly from INT8 weights, as the sparse head and the logit
    # are; heads are small, and keep theirs.
    heads = nncf.IgnoredScope(patterns=[".*heads.*"], validate=False)
    with _hushed():
        graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=heads)
    openvino.save_model(graph, folder / "int8.xml")


def _import_nncf() -> Any:
    try:
        import nncf
    except ImportError as exc:
        raise UnavailableError(
            f"NNCF cannot be imported ({exc}); install it with pip install 'rag-pipeline[openvino]'"
        ) from exc
    return nncf


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep two libraries quiet: a tracer that warns of every branch, and one that draws bars on stdout."""
    loggers = [logging.getLogger("nncf"), logging.getLogger("transformers")]
    levels = [one.level for one in loggers]
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for one in loggers:
            one.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)


# ------------------------------------------------------------------------------- the comparison


def _tokenize(model: Transformer, tokenizer: Tokenizer, sample: Sample) -> tuple[list[TokenIds], int]:
    """Return the token ids of all questions and then all passages, or of pairs question by question; and how many."""
    longest = min(_LONGEST, model.backbone.config.max_position_embeddings - model.first_position)
    if model.heads.names == ("logit",):
        asked, offered = sample.questions[: _PAIRED[0]], sample.passages[: _PAIRED[1]]
        encodings = tokenizer.encode_batch([(question, passage) for question in asked for passage in offered])
    else:
        asked = sample.questions
        encodings = tokenizer.encode_batch([*asked, *sample.passages])
    rows = [np.array(one.ids, dtype=np.int64) for one in encodings]
    return [row if len(row) <= longest else np.append(row[: longest - 1], row[-1]) for row in rows], len(asked)


def _compare(
    model: Transformer,
    rows: Sequence[TokenIds],
    questions: int,
    folder: Path,
    kinds: Sequence[GraphKind],
    say: Callable[[str], None],
    least: Mapping[str, float],
) -> list[GraphReport]:
    say(f"running {len(rows)} texts on torch ...")
    torch_runner = TorchRunner(model, [torch.device("cpu")], torch.float32, _BATCH_TOKENS)
    trusted, torch_speed = _run(torch_runner, rows, model.heads.names)
    reports = []
    for kind in kinds:
        say(f"running them on the {kind} graph ...")
        found, speed = _run(OpenVinoRunner(folder, kind), rows, model.heads.names)
        measures = compare(trusted, found, questions)
        files = {name: sha256_of(folder / name) for name in (f"{kind}.xml", f"{kind}.bin")}
        size = sum((folder / name).stat().st_size for name in files)
        reports.append(
            GraphReport(kind, size, files, measures, speed, torch_speed, tuple(shortcomings(measures, least)))
        )
    return reports


def _run(
    runner: Runner, rows: Sequence[TokenIds], outputs: Sequence[str]
) -> tuple[dict[str, list[FloatMatrix]], float]:
    """Return what a runner makes of every text, and its tokens a second."""
    runner.run(rows[:2], outputs)  # the first run makes buffers and kernels
    start = time.perf_counter()
    found = runner.run(rows, outputs)
    return found, sum(map(len, rows)) / (time.perf_counter() - start)


def _write_report(folder: Path, sample: Sample, reports: Sequence[GraphReport]) -> None:
    import openvino
    import transformers

    report = {
        "sample": sample.source,
        "machine": platform.processor() or platform.machine(),
        "versions": {vendor.__name__: vendor.__version__ for vendor in (openvino, torch, transformers)},
        "graphs": {report.kind: report.to_json() for report in reports},
    }  # fmt: skip
    temporary = folder / f"{REPORT}.new"
    temporary.write_text(json.dumps(report, indent=1), encoding="utf-8")
    os.replace(temporary, folder / REPORT)
