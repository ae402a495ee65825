"""``rag status``, ``rag doctor``, ``rag eval`` and ``rag models``: what is here, and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_pipeline.cli.options import Config, Index, Json, emit, open_pipeline, show_help

if TYPE_CHECKING:
    from rag_pipeline.config import Settings

__all__ = ["doctor", "evaluate", "models_app", "status"]

models_app = typer.Typer(help="List, fetch and check model weights.", invoke_without_command=True, callback=show_help)


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A judged set in BEIR layout.")],
    modes: Annotated[str, typer.Option("--modes", help="dense,sparse,hybrid,hybrid+rerank")] = "",
    run_dir: Annotated[Path | None, typer.Option("--run-dir", metavar="DIR", help="Write TREC runs here.")] = None,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Measure the whole chain on judged data."""
    from rag_pipeline import terminal
    from rag_pipeline.evaluation.beir import read_beir
    from rag_pipeline.evaluation.evaluate import evaluate as measure
    from rag_pipeline.evaluation.evaluate import parse_modes

    judged = read_beir(folder)
    rag = open_pipeline(config, index)
    chosen = parse_modes(modes, can_rerank=rag.settings.reranker is not None)
    with terminal.StageProgress() as progress:
        rows = measure(
            judged, rag.settings, rag.encoder, rag.cross_encoder, chosen, run_dir=run_dir, on_progress=progress.update
        )
    payload = {
        "dataset": judged.name,
        "profile": rag.settings.profile,
        "rows": [{"mode": row.mode, "queries": row.queries, "measures": dict(row.measures)} for row in rows],
    }
    emit(as_json, payload, lambda: terminal.print_rows(judged.name, rag.settings.profile, rows))


def status(as_json: Json = False, config: Config = None, index: Index = None) -> None:
    """Show what the index holds."""
    from rag_pipeline import terminal
    from rag_pipeline.health import index_status

    report = index_status(open_pipeline(config, index).settings)
    emit(as_json, report, lambda: terminal.print_pairs(report))


def doctor(as_json: Json = False, config: Config = None, index: Index = None) -> None:
    """Check the machine and say what to do."""
    from rag_pipeline import terminal
    from rag_pipeline.health import examine

    checks = examine(open_pipeline(config, index).settings)
    failed = any(check.state == "failed" for check in checks)
    payload = {"ok": not failed, "checks": [check.to_json() for check in checks]}
    emit(as_json, payload, lambda: terminal.print_checks(checks))
    if failed:
        raise typer.Exit(1)


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


def _profile_models(settings: Settings) -> list[str]:
    chosen = [settings.text, settings.image, settings.reranker]
    return [section.model for section in chosen if section is not None]
