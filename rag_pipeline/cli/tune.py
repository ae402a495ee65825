"""``rag tune``: how much the legs count and how to rerank, found on the index itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_pipeline.cli.options import Config, Index, Json, emit, open_pipeline

__all__ = ["tune"]


def tune(
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries", metavar="DIR", help="Judged queries in BEIR layout [made of the index's own chunks]."
        ),
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, max=10_000, help="Chunks to make questions of.")] = 200,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be chosen; write nothing.")] = False,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Calibrate fusion and reranking on this index."""
    from rag_pipeline import terminal

    with terminal.StageProgress() as progress, open_pipeline(config, index) as rag:
        calibration = rag.tune(queries, sample=sample, dry_run=dry_run, on_progress=progress.update)
    emit(
        as_json, {"dry_run": dry_run} | calibration.to_dict(), lambda: terminal.print_calibration(calibration, dry_run)
    )
