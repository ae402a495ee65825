"""What a person sees: results on stdout, progress and remarks on stderr, drawn with rich.

Enters: reports, hits, answers. Leaves: nothing. Progress is drawn on a terminal only, so that logs stay clean.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rag_pipeline.config import Settings
    from rag_pipeline.evaluation.evaluate import Row
    from rag_pipeline.evidence import Answer, Evidence
    from rag_pipeline.health import Check
    from rag_pipeline.indexing.ingest import IngestReport
    from rag_pipeline.indexing.ingest import Progress as IngestState
    from rag_pipeline.retrieval.calibration import Calibration
    from rag_pipeline.retrieval.trace import Trace

__all__ = [
    "IngestProgress",
    "StageProgress",
    "print_answer",
    "print_bench",
    "print_calibration",
    "print_checks",
    "print_hits",
    "print_models",
    "print_pairs",
    "print_report",
    "print_rows",
    "print_table",
    "print_trace",
    "say",
]

_out = Console(highlight=False, soft_wrap=True)  # a line that is piped or copied stays one line
_err = Console(stderr=True, highlight=False, soft_wrap=True)
_SNIPPET = 360


def say(message: str) -> None:
    """Print a remark on stderr."""
    _err.print(escape(message))


def shown_path(path: str) -> str:
    """Return a path as a person would type it here: relative below the working directory, absolute elsewhere."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


class StageProgress:
    """Bars for stages that report (stage, done, total)."""

    def __init__(self) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=_err,
            disable=not _err.is_terminal,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def update(self, stage: str, done: int, total: int) -> None:
        """Draw ``done`` of ``total`` for a stage, starting its bar where it is new."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(escape(stage), total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing and leave the terminal clean."""
        self._bars.stop()


class IngestProgress(StageProgress):
    """The bar of one ingestion: files done, chunks written and how fast, what is running, the time left."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing; an interrupted person is told that nothing is lost."""
        super().__exit__(kind, error, trace)
        if isinstance(error, KeyboardInterrupt):
            say("Interrupted. What was finished is kept; run the same command to go on.")

    def update(self, state: IngestState) -> None:  # type: ignore[override]
        """Draw the state of the run; a stage that is over makes room for the next."""
        for stage in [stage for stage in self._tasks if stage != state.stage]:
            self._bars.remove_task(self._tasks.pop(stage))
        super().update(state.stage, state.done, state.total)
        if state.stage != "indexing":
            return
        parts = [f"{state.chunks} chunks"]
        if state.chunks_per_second:
            parts.append(f"{state.chunks_per_second:.0f}/s")
        if state.quarantined:
            parts.append(f"{state.quarantined} quarantined")
        if state.seconds_left:
            parts.append(f"about {_duration(state.seconds_left)} left")
        running = ", ".join(os.path.basename(name)[:30] for name in state.running[:3])
        self._bars.update(self._tasks[state.stage], description=f"{', '.join(parts)}  {escape(running)}")


def _duration(seconds: float) -> str:
    """Write a time as a person would say it.

    >>> _duration(42), _duration(200), _duration(9000)
    ('42 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_report(report: IngestReport, settings: Settings) -> None:
    """Print the summary of an ingestion, and each quarantined file with its reason."""
    counts = ", ".join(f"{number} {name}" for name, number in report.files.items() if number) or "no files"
    verb = "Would do" if report.dry_run else "Files"
    _out.print(f"[bold]{verb}:[/bold] {counts}")
    if report.dry_run:
        for change in report.changes:
            before = f"  [dim](was {escape(shown_path(change.before))})[/dim]" if change.before else ""
            _out.print(f"  {change.action:<11} {escape(shown_path(change.path))}{before}")
    else:
        _out.print(
            f"[bold]Written:[/bold] {report.chunks} chunks and {report.figures} figures in {report.seconds:.1f} s"
            f" into {escape(shown_path(str(settings.index.absolute())))}"
        )
    if settings.image is None:
        _out.print(
            f"[dim]Profile {escape(settings.profile)}: pictures are found by caption and context only"
            " (no CLIP weights in reach; see configs/bge-m3.yaml).[/dim]"
        )
    for note in report.notes:
        _out.print(f"[yellow]note[/yellow] {escape(note)}")
    for item in report.quarantine:
        _out.print(f"[yellow]quarantined[/yellow] {escape(shown_path(item.path))}: {escape(item.reason)}")


def print_hits(query: str, hits: Sequence[Evidence], trace: Trace | None, *, whole: bool = False) -> None:
    """Print hits, best first, ``whole`` or in brief; with a trace also what each candidate got where, and the times."""
    if not hits:
        _out.print(f"Nothing found for {query!r}.")
    for hit in hits:
        _out.print(_headline(hit))
        shown = hit.text if whole else _snippet(hit.text)
        _out.print(Padding(escape(shown), (0, 0, 0, 4), expand=False), soft_wrap=False)
    if trace is not None:
        print_trace(trace)


def print_trace(trace: Trace) -> None:
    """Print what holds for a whole query, then a row for each candidate."""
    from rag_pipeline.retrieval.trace_view import facts, table

    _out.print()
    print_pairs(facts(trace))
    print_table(table(trace))


def _headline(hit: Evidence) -> Text:
    line = Text.assemble((f"{hit.rank:>2}. ", "bold"), (shown_path(hit.path), "cyan"))
    if hit.page is not None:
        line.append(f", page {hit.page}")
    if hit.heading:
        line.append(f"  {' > '.join(hit.heading)}", style="dim")
    if hit.figure is not None:
        line.append("  [picture]", style="magenta")
    return line


def _snippet(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SNIPPET else flat[:_SNIPPET].rsplit(" ", 1)[0] + " ..."


def print_answer(question: str, answer: Answer) -> None:
    """Print the answer and, under it, each citation with file, page and exact quote."""
    _out.print(f"[bold]Q[/bold] {escape(question)}")
    _out.print(f"[bold]A[/bold] {escape(answer.text)}", style="yellow" if answer.abstained else None)
    if answer.abstained and answer.reason:
        _out.print(f"    [dim]{escape(answer.reason)}[/dim]")
    for citation in answer.citations:
        place = f", page {citation.page}" if citation.page is not None else ""
        heading = f"  [dim]{escape(' > '.join(citation.heading))}[/dim]" if citation.heading else ""
        _out.print(f"    \\[{citation.n}] [cyan]{escape(shown_path(citation.path))}[/cyan]{place}{heading}")
        _out.print(
            Padding(f'[italic]"{escape(" ".join(citation.quote.split()))}"[/italic]', (0, 0, 0, 8), expand=False),
            soft_wrap=False,
        )
    for left_out in answer.dropped:
        _out.print(f"    [dim]left out, {escape(left_out)}[/dim]")


def print_rows(dataset: str, profile: str, rows: Sequence[Row]) -> None:
    """Print one row of measures per mode."""
    table = Table(title=f"{dataset}, profile {profile}, {rows[0].queries if rows else 0} queries")
    table.add_column("mode")
    for name in rows[0].measures if rows else ():
        table.add_column(name, justify="right")
    table.add_column("s", justify="right")
    for row in rows:
        table.add_row(row.mode, *(f"{value:.4f}" for value in row.measures.values()), f"{row.seconds:.1f}")
    _out.print(table, soft_wrap=False)


def print_calibration(found: Calibration, dry_run: bool) -> None:
    """Print every trial of `rag tune`, and what of it holds from now on."""
    print_table(
        [
            {
                "tried": trial["what"],
                "language": trial["language"],
                "questions": trial["questions"],
                "nDCG@10": f"{trial['ndcg']:.4f}",
                "": trial["verdict"],
            }
            for trial in found.evidence["trials"]
        ]
    )
    verb = "Would hold" if dry_run else "Holds from now on"
    shares = ", ".join(f"dense {share:.2g} for {language or 'any language'}" for language, share in found.dense.items())
    _out.print(f"[bold]{verb}:[/bold] {shares or 'the default weights'}; {_reranking(found)}")


def _reranking(found: Calibration) -> str:
    if found.reranking is None:
        return "reranking as the settings have it"
    if not found.reranking.depth:
        return "no reranking"
    how = found.reranking
    return f"reranking {how.depth} in windows of {how.window} tokens, blend {how.blend:g}"


def print_checks(checks: Sequence[Check]) -> None:
    """Print each check of the machine, and what to do where it did not pass."""
    marks = {"ok": "[green]ok[/green]     ", "warning": "[yellow]warning[/yellow]", "failed": "[red]failed[/red] "}
    for check in checks:
        _out.print(f"{marks[check.state]} [bold]{escape(check.name)}[/bold]  {escape(check.found)}")
        if check.remedy:
            _out.print(f"         [dim]-> {escape(check.remedy)}[/dim]")


def print_models(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the known models: what they are, their true size, and whether they are here."""
    print_table(
        [
            {
                "model": row["name"],
                "licence": row["licence"],
                "size": f"{row['size'] / 1e6:,.0f} MB",
                "here": "yes" if row["present"] else "no",
                "from": row["source"],
            }
            for row in rows
        ]
    )


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with the same keys as a table."""
    table = Table(box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(str(name), overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    _out.print(table, soft_wrap=False)


def print_bench(report: Mapping[str, Any]) -> None:
    """Print what was measured: a line of facts, then each table of rows."""
    tables = {name: rows for name, rows in report.items() if isinstance(rows, list) and rows}
    print_pairs({name: value for name, value in report.items() if not isinstance(value, list) and value is not None})
    for rows in tables.values():
        _out.print()
        print_table(rows)


def print_pairs(values: Mapping[str, Any], indent: int = 0) -> None:
    """Print names and values, one a line; what is nested, indented."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _out.print(f"{' ' * indent}[bold]{escape(name)}[/bold]")
            print_pairs(value, indent + 2)
        else:
            _out.print(f"{' ' * indent}[bold]{escape(name)}[/bold] {escape(str(value))}")
