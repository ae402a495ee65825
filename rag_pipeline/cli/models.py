"""``rag models``: weights, and the graphs that OpenVINO runs in their place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_pipeline.cli.options import Config, Index, Json, emit, open_pipeline, show_help

if TYPE_CHECKING:
    from rag_pipeline.config import Settings
    from rag_pipeline.encoders.agreement import Sample
    from rag_pipeline.encoders.quantize import GraphReport

__all__ = ["models_app"]

models_app = typer.Typer(
    help="List, fetch, check and quantize models.", invoke_without_command=True, callback=show_help
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model that runs on torch.")]
Texts = Annotated[
    Path | None,
    typer.Option("--sample", metavar="PATH", help="Texts to compare on [those of --index, else built in]."),
]


@models_app.command("list")
def models_list(as_json: Json = False, config: Config = None, index: Index = None) -> None:
    """Show every known model and whether its weights are here."""
    from rag_pipeline import terminal
    from rag_pipeline.encoders.weights import list_models

    rows = [row.to_json() for row in list_models(open_pipeline(config, index).settings.models_dir)]
    emit(as_json, {"models": rows}, lambda: terminal.print_models(rows))


@models_app.command("pull")
def models_pull(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: the profile's.")] = None,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Fetch weights at their pinned revision and check them."""
    from rag_pipeline import terminal
    from rag_pipeline.encoders.weights import pull

    settings = open_pipeline(config, index).settings
    pulled = []
    for name in names or _profile_models(settings):
        terminal.say(f"fetching {name} ...")
        pulled.append({"name": name, "folder": str(pull(name, settings.models_dir))})
    emit(as_json, {"pulled": pulled}, lambda: terminal.print_table(pulled))


@models_app.command("verify")
def models_verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: the profile's.")] = None,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Check size and SHA-256 of every weight file."""
    from rag_pipeline import terminal
    from rag_pipeline.encoders.weights import verify

    settings = open_pipeline(config, index).settings
    rows = [
        {"model": name} | row.to_json()
        for name in names or _profile_models(settings)
        for row in verify(name, settings.models_dir)
    ]
    emit(as_json, {"files": rows}, lambda: terminal.print_table(rows))
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


@models_app.command("quantize")
def models_quantize(
    name: Name, sample: Texts = None, as_json: Json = False, config: Config = None, index: Index = None
) -> None:
    """Make OpenVINO graphs of a model, INT8 and 16 bits, and keep those that agree with it."""
    from rag_pipeline import terminal
    from rag_pipeline.runners import quantize_model

    settings = open_pipeline(config, index).settings
    reports = quantize_model(settings, name, _sample(sample, index), terminal.say)
    _emit_graphs(as_json, name, reports, "is not installed")


@models_app.command("validate")
def models_validate(
    name: Name, sample: Texts = None, as_json: Json = False, config: Config = None, index: Index = None
) -> None:
    """Compare the OpenVINO graphs of a model with it again: after an update, on another machine, on your texts."""
    from rag_pipeline import terminal
    from rag_pipeline.runners import validate_model

    settings = open_pipeline(config, index).settings
    reports = validate_model(settings, name, _sample(sample, index), terminal.say)
    _emit_graphs(as_json, name, reports, "is not run any more")


def _sample(path: Path | None, index: Path | None) -> Sample:
    """Return the texts to compare on: of a file or folder, of an index that holds enough, or those built in."""
    from rag_pipeline.encoders.agreement import ENOUGH, MOST, built_in_sample, read_sample, sample_of

    if path is not None:
        return read_sample(path)
    if index is not None:
        from rag_pipeline.store.edge import EdgeStore

        # Opened as what it is, not as what the settings ask for: its texts serve for any model. Ids are hashes, so
        # that the first are a sample of all.
        made_as = EdgeStore.read_schema(index), EdgeStore.read_fingerprint(index)
        with EdgeStore.open(index, *made_as, create=False) as store:
            texts = [str(record.payload.get("text", "")) for record in islice(store.scroll(), MOST)]
        if len(texts) >= ENOUGH:
            return sample_of(texts, str(index))
    return built_in_sample()


def _emit_graphs(as_json: bool, name: str, reports: Sequence[GraphReport], fate: str) -> None:
    from rag_pipeline import terminal

    emit(
        as_json,
        {"model": name, "graphs": [report.to_json() for report in reports]},
        lambda: terminal.print_table([_graph_row(report) for report in reports]),
    )
    refused = [f"the {report.kind} graph {fate}: {', '.join(report.refused)}" for report in reports if report.refused]
    if refused:
        terminal.say(f"error: {name}: {'; '.join(refused)}")
        raise typer.Exit(1)


def _graph_row(report: GraphReport) -> dict[str, Any]:
    """Return what a person wants to see of a graph: the worst of its outputs, and how much faster it is."""
    values = [(name, value) for measures in report.measures.values() for name, value in measures.items()]
    worst = {name: min(value for other, value in values if other == name) for name in dict(values)}
    return {
        "graph": report.kind,
        "size": f"{report.size / 1e6:,.1f} MB",
        **{name.replace("_", " "): f"{value:.4f}" for name, value in worst.items()},
        "tokens/s": f"{report.tokens_per_s:,.0f}",
        "torch": f"{report.torch_tokens_per_s:,.0f}",
        "": "refused" if report.refused else "ok",
    }


def _profile_models(settings: Settings) -> list[str]:
    chosen = [settings.text, settings.image, settings.reranker]
    names = [section.model for section in chosen if section is not None]
    fallback = settings.reranker.fallback if settings.reranker else None
    return [*names, fallback] if fallback else names
