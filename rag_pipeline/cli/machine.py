"""``rag status``, ``rag doctor`` and ``rag eval``: what is here, and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_pipeline.cli.options import Config, Index, Json, emit, open_pipeline

if TYPE_CHECKING:
    from rag_pipeline.config import Settings

__all__ = ["doctor", "evaluate", "status"]


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
    from rag_pipeline.app import RagPipeline
    from rag_pipeline.evaluation.beir import read_beir
    from rag_pipeline.evaluation.evaluate import evaluate as measure
    from rag_pipeline.evaluation.evaluate import parse_modes

    judged = read_beir(folder)
    settings = _without_memory(open_pipeline(config, index).settings)
    chosen = parse_modes(modes, can_rerank=settings.reranker is not None)
    with terminal.StageProgress() as progress, RagPipeline(settings) as rag:
        rows = measure(
            judged, settings, rag.encoder, rag.cross_encoder, chosen, run_dir=run_dir, on_progress=progress.update
        )
    payload = {
        "dataset": judged.name,
        "profile": settings.profile,
        "rows": [{"mode": row.mode, "queries": row.queries, "measures": dict(row.measures)} for row in rows],
    }
    emit(as_json, payload, lambda: terminal.print_rows(judged.name, settings.profile, rows))


def _without_memory(settings: Settings) -> Settings:
    """Forget questions: the time of a mode includes that of encoding them, which another mode has done before."""
    return settings.model_copy(update={"cache": settings.cache.model_copy(update={"queries": 0})})


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
