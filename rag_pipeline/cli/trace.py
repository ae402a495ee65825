"""``rag trace``: the queries that were kept, as a table, as JSON, or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_pipeline.cli.options import Config, Index, Json, emit, open_pipeline

__all__ = ["show_traces"]


def show_traces(
    last: Annotated[int, typer.Option("--last", min=1, help="How many queries; 1 is shown in full.")] = 10,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw them into a PNG file.")] = None,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Show queries kept by `rag search --trace`, or by the setting trace.keep."""
    from rag_pipeline import terminal
    from rag_pipeline.retrieval.trace_view import summary

    rag = open_pipeline(config, index)
    traces = rag.traces.read(last)
    if not traces:
        terminal.say(f"No traces in {rag.traces.folder}: keep some with rag search --trace, or trace.keep: true")
    elif plot is not None:
        from rag_pipeline.retrieval.trace_plot import plot_traces

        plot_traces(traces, plot)
        terminal.say(f"Drawn into {plot}")

    def show() -> None:
        if len(traces) == 1:
            terminal.print_trace(traces[0])
        elif traces:
            terminal.print_table([summary(trace) for trace in traces])

    emit(as_json, {"traces": [trace.to_dict() for trace in traces]}, show)
