"""``rag ingest`` and ``rag snapshot``: what makes an index, keeps it true, and saves it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_pipeline.cli.options import Config, Index, Json, emit, open_pipeline, show_help
from rag_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from rag_pipeline.app import RagPipeline
    from rag_pipeline.indexing.ingest import IngestReport

__all__ = ["ingest", "snapshot_app"]

snapshot_app = typer.Typer(
    help="Save a whole index as one file, and restore it.", invoke_without_command=True, callback=show_help
)


def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders or files.")],
    watch: Annotated[bool, typer.Option("--watch", help="Go on: ingest again whenever something changes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, do nothing.")] = False,
    retry: Annotated[bool, typer.Option("--retry-quarantined", help="Try files again that failed before.")] = False,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Make the index true to folders of documents."""
    from rag_pipeline import terminal

    if watch and (dry_run or retry):
        raise ConfigError("--watch goes with neither --dry-run nor --retry-quarantined; give one of them")
    with open_pipeline(config, index) as rag:
        if watch:
            _watch(rag, paths, as_json)
            return
        with terminal.IngestProgress() as progress:
            report = rag.ingest(*paths, dry_run=dry_run, retry_quarantined=retry, on_progress=progress.update)
    emit(as_json, report.to_json(), lambda: terminal.print_report(report, rag.settings))
    if report.quarantine:
        raise typer.Exit(3)


def _watch(rag: RagPipeline, paths: list[Path], as_json: bool) -> None:
    """Print a report for each run that changed something; with JSON, each on a line of its own."""
    from rag_pipeline import terminal

    def show(report: IngestReport) -> None:
        emit(as_json, report.to_json(), lambda: terminal.print_report(report, rag.settings))

    progress = terminal.IngestProgress()
    reports = rag.watch(*paths, on_progress=progress.update, on_error=lambda error: terminal.say(f"error: {error}"))
    try:
        with progress:
            first = next(reports)
        show(first)
        terminal.say("Watching for changes; Ctrl-C ends it.")
        for report in reports:
            if report.changes:
                show(report)
    except KeyboardInterrupt:
        terminal.say("Stopped watching. What was finished is kept.")


Snapshot = Annotated[Path, typer.Argument(metavar="FILE", help="The snapshot, a .tar.gz.")]


@snapshot_app.command("create")
def snapshot_create(
    file: Snapshot,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Save the whole index: points, manifest, pictures, checksums."""
    from rag_pipeline import terminal

    rag = open_pipeline(config, index)
    with terminal.StageProgress() as progress:
        report = rag.create_snapshot(file, overwrite=overwrite, on_progress=progress.update)
    emit(as_json, report.to_json(), lambda: terminal.print_pairs(report.to_json()))


@snapshot_app.command("restore")
def snapshot_restore(file: Snapshot, as_json: Json = False, config: Config = None, index: Index = None) -> None:
    """Make the index, which must not be there yet, of a snapshot."""
    from rag_pipeline import terminal

    rag = open_pipeline(config, index)
    with terminal.StageProgress() as progress:
        report = rag.restore_snapshot(file, on_progress=progress.update)
    emit(as_json, report.to_json(), lambda: terminal.print_pairs(report.to_json()))


@snapshot_app.command("verify")
def snapshot_verify(file: Snapshot, as_json: Json = False) -> None:
    """Check every byte of a snapshot, and restore nothing."""
    from rag_pipeline import terminal
    from rag_pipeline.indexing.snapshot import verify_snapshot

    with terminal.StageProgress() as progress:
        report = verify_snapshot(file, progress.update)
    emit(as_json, report.to_json(), lambda: terminal.print_pairs(report.to_json()))
