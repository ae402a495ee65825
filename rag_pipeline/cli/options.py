"""What the commands share: their options, opening a pipeline, printing a result."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from rag_pipeline.app import RagPipeline

__all__ = ["Config", "Filters", "Index", "Json", "KeepTrace", "emit", "open_pipeline", "read_bytes", "show_help"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML settings [default: compact].")]
KeepTrace = Annotated[
    bool, typer.Option("--trace", help="Keep question, ranks and times in the index folder, for rag trace.")
]
Index = Annotated[Path | None, typer.Option("--index", metavar="DIR", help="The index [default: .rag].")]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="KEY=VALUE",
        help="Search only there: path=reports/**/*.pdf, type=pdf, 'page>=3', 'date>=2024-01', tag=finance. Repeatable.",
    ),
]


def open_pipeline(config: Path | None, index: Path | None, *, keep_traces: bool = False) -> RagPipeline:
    """Build the pipeline; nothing is opened or loaded yet. ``keep_traces`` does what the setting trace.keep does."""
    from rag_pipeline.app import RagPipeline

    rag = RagPipeline.from_config(config, index=index)
    if not keep_traces:
        return rag
    trace = rag.settings.trace.model_copy(update={"keep": True})
    return RagPipeline(rag.settings.model_copy(update={"trace": trace}))


def emit(as_json: bool, payload: object, show: Callable[[], None]) -> None:
    """Print ``payload`` as one JSON document, or show it to a person."""
    if as_json:
        sys.stdout.write(json.dumps(payload, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        show()


def read_bytes(path: Path) -> bytes:
    """Return what is in a file that was named on the command line."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}; give an existing file") from exc


def show_help(context: typer.Context) -> None:
    """Print a group's help where no command of it was named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
