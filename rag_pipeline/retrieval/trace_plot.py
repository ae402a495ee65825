"""Traces -> a picture: the time of each step, query by query, and what each leg gave the newest one's candidates.

Enters: traces, oldest first. Leaves: a PNG file. Matplotlib is an extra, imported when a plot is wanted. This module
knows nothing of how a query runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag_pipeline.errors import ConfigError, UnavailableError
from rag_pipeline.retrieval.trace import Trace
from rag_pipeline.retrieval.trace_view import facts, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_traces"]

_MOST_CANDIDATES = 15
_MOST_LETTERS = 48
_WHOLE = "total"
"""The step that has all others in it."""


def plot_traces(traces: Sequence[Trace], file: Path) -> None:
    """Draw the traces into ``file``, a PNG.

    Raises:
        ConfigError: ``file`` cannot be written.
        UnavailableError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise UnavailableError("plots need matplotlib; run: pip install 'rag-pipeline[plot]'") from exc
    # A Figure of its own, not pyplot's: nothing global is touched, so that a notebook's backend stays as it was.
    figure = Figure(figsize=(11, 2 + 0.3 * len(traces) + 0.3 * _MOST_CANDIDATES), layout="constrained")
    times, shares = figure.subplots(2, 1, height_ratios=[1 + len(traces), 1 + _MOST_CANDIDATES])
    _draw_times(times, traces)
    _draw_shares(shares, traces[-1])
    try:
        figure.savefig(file, format="png", dpi=120)
    except OSError as exc:
        raise ConfigError(f"cannot write {file}: {exc.strerror}; name another file") from exc


def _draw_times(axes: Axes, traces: Sequence[Trace]) -> None:
    steps = list(dict.fromkeys(name for trace in traces for name in trace.timings_ms if name != _WHOLE))
    labels = [_short(facts(trace).get("query", "")) for trace in traces]
    _stack(axes, {name: [trace.timings_ms.get(name, 0.0) for trace in traces] for name in steps}, labels)
    axes.set_title("Time of each step, newest query below")
    axes.set_xlabel("ms")


def _draw_shares(axes: Axes, trace: Trace) -> None:
    first = trace.ranked()[:_MOST_CANDIDATES]
    rows = table(trace, most_cut=_MOST_CANDIDATES)[:_MOST_CANDIDATES]
    places = [{leg: (at.adds if trace.formula else at.score) for leg, at in one.legs.items()} for one in first]
    parts = {leg: [at.get(leg, 0.0) for at in places] for leg in trace.legs}
    _stack(axes, parts, [f"{_short(row['place'])}  {row[''] or '-'}" for row in rows])
    axes.set_title(_short(facts(trace).get("query", "")), parse_math=False)
    axes.set_xlabel("what each leg adds to the fused score" if trace.formula else "score")


def _stack(axes: Axes, parts: dict[str, list[float]], labels: Sequence[str]) -> None:
    """Draw bars beside each other, those below zero to the left."""
    ends = {sign: [0.0] * len(labels) for sign in (True, False)}
    for name, widths in parts.items():
        starts = [ends[width >= 0][row] for row, width in enumerate(widths)]
        axes.barh(range(len(labels)), widths, left=starts, label=name)
        for row, width in enumerate(widths):
            ends[width >= 0][row] += width
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.invert_yaxis()
    if parts:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _MOST_LETTERS else f"{flat[:_MOST_LETTERS]} ..."
