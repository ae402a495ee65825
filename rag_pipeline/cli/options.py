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

__all__ = ["Config", "Index", "Json", "emit", "open_pipeline", "read_bytes", "show_help"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML settings [default: compact].")]
Index = Annotated[Path | None, typer.Option("--index", metavar="DIR", help="The index [default: .rag].")]


def open_pipeline(config: Path | None, index: Path | None) -> RagPipeline:
    """Build the pipeline; nothing is opened or loaded yet."""
    from rag_pipeline.app import RagPipeline

    return RagPipeline.from_config(config, index=index)


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
