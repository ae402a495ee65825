"""``rag bench``: how fast the profile's models run on this machine, and beside the libraries they come from."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_pipeline.cli.options import Config, Index, Json, emit, open_pipeline, show_help
from rag_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from rag_pipeline.app import RagPipeline
    from rag_pipeline.config import Settings
    from rag_pipeline.evaluation.speed import Speed

__all__ = ["bench_app"]

bench_app = typer.Typer(help="Measure the speed of the models here.", invoke_without_command=True, callback=show_help)

Texts = Annotated[
    Path | None, typer.Option("--texts", metavar="PATH", help="A BEIR folder, JSON lines or lines of text [the index].")
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Texts that are measured, evenly spread over all.")]
Repeat = Annotated[int, typer.Option("--repeat", min=1, help="Counted runs of each side; the median is shown.")]
Against = Annotated[bool, typer.Option("--against/--alone", help="Also run the libraries these models come from.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Texts in a batch of those libraries.")]


@bench_app.command()
def encode(
    texts: Texts = None,
    limit: Limit = 256,
    repeat: Repeat = 3,
    against: Against = True,
    batch: Batch = 32,
    budgets: Annotated[str, typer.Option("--budgets", help="Token budgets to try, such as 2048,8192.")] = "",
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Passages: tokens and texts per second, and the share of the machine's matrix multiplication."""
    from rag_pipeline import terminal
    from rag_pipeline.encoders.device import vram_mb
    from rag_pipeline.encoders.reference import reference_encoders
    from rag_pipeline.evaluation import speed
    from rag_pipeline.parts import make_text_encoder

    rag = open_pipeline(config, index)
    passages = speed.spread(_passages(rag, texts), limit)
    encoder = make_text_encoder(_uncached(rag.settings))
    lengths = [min(count, encoder.max_tokens) for count in encoder.count_tokens(passages)]
    sizes = {"texts": len(passages), "tokens": sum(lengths), "repeat": repeat}
    encoder.encode_passages(passages, truncate=True)
    memory = {"peak_rss_mb": round(speed.peak_mb()), "peak_vram_mb": round(vram_mb())}
    sides: dict[str, Callable[[], object]] = {"rag": partial(encoder.encode_passages, passages, truncate=True)}
    if against:
        weights, device = _text_weights(rag.settings), _device(rag.settings.text.device)
        for name, run in reference_encoders(weights, device, batch):
            sides[name] = partial(run, passages)
    with terminal.StageProgress() as progress:
        speeds = speed.compare(sides, **sizes, on_run=progress.update)
    payload: dict[str, Any] = {
        "machine": _machine(), "model": rag.settings.text.model, **sizes, **memory, "rows": _rows(speeds),
        "roofline": _roofline(rag.settings, lengths, speeds[0]),
        "budgets": [_budget(rag.settings, passages, sum(lengths), int(one)) for one in budgets.split(",") if one],
    }  # fmt: skip
    emit(as_json, payload, lambda: terminal.print_bench(payload))


@bench_app.command()
def rerank(
    texts: Texts = None,
    limit: Limit = 64,
    repeat: Repeat = 3,
    against: Against = True,
    batch: Batch = 32,
    query: Annotated[str, typer.Option("--query", help="The question of every pair.")] = "what does it improve?",
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Pairs of one question and passages: pairs per second."""
    from rag_pipeline import terminal
    from rag_pipeline.encoders.device import vram_mb
    from rag_pipeline.encoders.reference import reference_rerankers
    from rag_pipeline.encoders.weights import locate
    from rag_pipeline.evaluation import speed

    rag = open_pipeline(config, index)
    reranker, chosen = rag.cross_encoder, rag.settings.reranker
    if reranker is None or chosen is None:
        raise ConfigError("this profile has no reranker to measure; add one, or use --config configs/compact.yaml")
    passages = speed.spread(_passages(rag, texts), limit)
    tokens = sum(min(512, count) for count in rag.encoder.count_tokens([f"{query} {passage}" for passage in passages]))
    sides: dict[str, Callable[[], object]] = {"rag": partial(reranker.score, query, passages)}
    if against:
        weights = locate(chosen.model, rag.settings.models_dir, chosen.path)
        for name, run in reference_rerankers(weights, _device(chosen.device), batch):
            sides[name] = partial(run, query, passages)
    sizes = {"texts": len(passages), "tokens": tokens, "repeat": repeat}
    with terminal.StageProgress() as progress:
        speeds = speed.compare(sides, **sizes, on_run=progress.update)
    memory = {"peak_rss_mb": round(speed.peak_mb()), "peak_vram_mb": round(vram_mb())}
    payload = {"machine": _machine(), "model": chosen.model, **sizes, **memory, "rows": _rows(speeds)}
    emit(as_json, payload, lambda: terminal.print_bench(payload))


@bench_app.command()
def query(
    texts: Texts = None,
    limit: Limit = 100,
    repeat: Repeat = 3,
    against: Against = True,
    tokens: Annotated[int, typer.Option("--tokens", min=4, help="Tokens of each question.")] = 16,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Questions, one at a time: p50 and p95 of encoding, and of the whole search where there is an index."""
    from rag_pipeline import terminal
    from rag_pipeline.encoders.reference import reference_encoders
    from rag_pipeline.evaluation import speed
    from rag_pipeline.parts import make_text_encoder

    rag = open_pipeline(config, index)
    encoder = make_text_encoder(_uncached(rag.settings))
    passages = speed.spread(_passages(rag, texts), limit)
    questions = [_first_tokens(encoder.count_tokens, passage, tokens) for passage in passages]
    work: dict[str, Callable[[str], object]] = {"encode": lambda question: encoder.encode_queries([question])}
    if against:
        weights, device = _text_weights(rag.settings), _device(rag.settings.text.device)
        for name, run in reference_encoders(weights, device, 1):
            work[f"encode, {name}"] = lambda question, run=run: run([question])  # type: ignore[misc]
    if (rag.settings.index / "shard").exists():
        work["search, without reranking"] = partial(rag.search, rerank=False)
    rows = []
    with terminal.StageProgress() as progress:
        for number, (name, one) in enumerate(work.items()):
            progress.update("queries", number, len(work))
            p50, p95 = speed.latencies_ms(one, questions, repeat=repeat)
            rows.append({"side": name, "p50_ms": round(p50, 2), "p95_ms": round(p95, 2)})
    payload = {"machine": _machine(), "model": rag.settings.text.model, "texts": len(questions), "repeat": repeat}
    payload |= {"tokens_each": tokens, "rows": rows}
    emit(as_json, payload, lambda: terminal.print_bench(payload))


def _passages(rag: RagPipeline, texts: Path | None) -> list[str]:
    from rag_pipeline.evaluation.speed import read_texts

    if texts is not None:
        return read_texts(texts)
    if not (rag.settings.index / "shard").exists():
        raise ConfigError(f"no texts to measure with: there is no index at {rag.settings.index}; pass --texts PATH")
    return [str(record.payload["text"]) for record in rag.open_store().scroll()]


def _first_tokens(count: Callable[[Sequence[str]], list[int]], text: str, tokens: int) -> str:
    """Return the longest beginning of a text, cut between words, that has at most ``tokens`` tokens."""
    words = text.split()
    starts = [" ".join(words[:end]) for end in range(1, min(len(words), tokens) + 1)]
    fitting = [start for start, length in zip(starts, count(starts), strict=True) if length <= tokens]
    return fitting[-1] if fitting else words[0]


def _uncached(settings: Settings) -> Settings:
    return settings.model_copy(update={"cache": settings.cache.model_copy(update={"max_mb": 0, "queries": 0})})


def _text_weights(settings: Settings) -> Any:
    from rag_pipeline.encoders.weights import locate

    return locate(settings.text.model, settings.models_dir, settings.text.path)


def _device(name: str) -> str:
    from rag_pipeline.encoders.device import accelerator

    return ("cuda" if accelerator() else "cpu") if name == "auto" else name


def _rows(speeds: Sequence[Speed]) -> list[dict[str, object]]:
    return [
        {
            "side": one.side,
            "tokens_per_s": round(one.tokens_per_s),
            "texts_per_s": round(one.texts_per_s, 2),
            "seconds": round(one.seconds, 3),
            "rag_is_faster_by": round(one.seconds / speeds[0].seconds, 2),
        }
        for one in speeds
    ]


def _roofline(settings: Settings, lengths: Sequence[int], ours: Speed) -> dict[str, object] | None:
    """Say how much of the measured rate of matrix multiplication the forward reaches; None for an ONNX file."""
    from rag_pipeline.encoders.device import matmul_rate
    from rag_pipeline.evaluation import speed

    config = _text_weights(settings).folder / "config.json"
    if not config.is_file():
        return None
    device = _device(settings.text.device)
    dtype = "bfloat16" if device.startswith("cuda") else "float32"
    rate, done = matmul_rate(device, dtype), speed.model_flops(config, lengths) / ours.seconds
    return {"of": f"torch {dtype} matmul on {device}", "matmul_gflops": round(rate / 1e9, 1),
            "model_gflops": round(done / 1e9, 1), "share": round(done / rate, 3)}  # fmt: skip


def _budget(settings: Settings, passages: Sequence[str], tokens: int, budget: int) -> dict[str, object]:
    from rag_pipeline.evaluation import speed
    from rag_pipeline.parts import make_text_encoder

    text = settings.text.model_copy(update={"batch_tokens": budget})
    encoder = make_text_encoder(_uncached(settings).model_copy(update={"text": text}))
    work = {str(budget): partial(encoder.encode_passages, passages, truncate=True)}
    (one,) = speed.compare(work, texts=len(passages), tokens=tokens, repeat=1)
    return {"batch_tokens": budget, "tokens_per_s": round(one.tokens_per_s), "peak_rss_mb": round(speed.peak_mb())}


def _machine() -> dict[str, object]:
    from rag_pipeline.encoders.device import accelerator

    found: dict[str, object] = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    return found | ({"gpu": name} if (name := accelerator()) else {})
