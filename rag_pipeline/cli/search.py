"""``rag search``, ``rag ask`` and ``rag export``: what leaves an index."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_pipeline.cli.options import Config, Filters, Index, Json, KeepTrace, emit, open_pipeline, read_bytes
from rag_pipeline.cli.pages import PageFolder, PageImages
from rag_pipeline.errors import ConfigError, InputError
from rag_pipeline.filters import all_of, parse_filter

if TYPE_CHECKING:
    from rag_pipeline.app import RagPipeline

__all__ = ["ask", "export", "search"]


class SearchMode(StrEnum):
    """Which legs a search runs."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"
    IMAGE = "image"


class SearchContext(StrEnum):
    """What is shown with a hit."""

    NONE = "none"
    NEIGHBOURS = "neighbours"
    SECTION = "section"


def search(
    query: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, max=1000, help="How many hits.")] = None,
    mode: Annotated[SearchMode, typer.Option("--mode", help="Which legs to run.")] = SearchMode.HYBRID,
    filters: Filters = None,
    image: Annotated[Path | None, typer.Option("--image", metavar="FILE", help="Search by a picture.")] = None,
    no_rerank: Annotated[bool, typer.Option("--no-rerank", help="Keep the fused order.")] = False,
    context: Annotated[
        SearchContext, typer.Option("--context", help="Add the passages beside each hit, or its section.")
    ] = SearchContext.NONE,
    explain: Annotated[bool, typer.Option("--explain", help="Show legs, fusion and times.")] = False,
    queries: Annotated[Path | None, typer.Option("--queries", metavar="FILE", help="Many queries from a file.")] = None,
    page_images: PageImages = None,
    keep_trace: KeepTrace = False,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Find passages and pictures."""
    from rag_pipeline import terminal
    from rag_pipeline.retrieval.trace import Trace
    from rag_pipeline.wire import hit_json

    picture = read_bytes(image) if image else None
    wanted = all_of(*map(parse_filter, filters or []))
    pages = PageFolder(page_images)

    def run(rag: RagPipeline, text: str) -> dict[str, Any]:
        trace = Trace()
        hits = rag.search(
            text,
            top_k=top_k,
            mode=mode.value,
            filters=wanted,
            image=picture,
            rerank=not no_rerank,
            context=context.value,
            trace=trace,
        )
        if not as_json:
            terminal.print_hits(text, hits, trace if explain else None, whole=context is not SearchContext.NONE)
        shown = [hit_json(hit) | pages.draw(hit) for hit in hits]
        found: dict[str, Any] = {"hits": shown, "timings_ms": trace.timings_ms}
        return found | ({"explain": trace.to_dict()} if explain else {})

    with open_pipeline(config, index, keep_traces=keep_trace) as rag:
        _run_queries(rag, query if picture is None else query or "", queries, run, as_json)


def ask(
    query: Annotated[str | None, typer.Argument(help="The question.")] = None,
    filters: Filters = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show legs, fusion and times.")] = False,
    queries: Annotated[Path | None, typer.Option("--queries", metavar="FILE", help="Many queries from a file.")] = None,
    page_images: PageImages = None,
    keep_trace: KeepTrace = False,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Answer a question, every statement cited."""
    from rag_pipeline import terminal
    from rag_pipeline.retrieval.trace import Trace
    from rag_pipeline.wire import answer_json

    wanted = all_of(*map(parse_filter, filters or []))
    pages = PageFolder(page_images)

    def run(rag: RagPipeline, text: str) -> dict[str, Any]:
        trace = Trace()
        answer = rag.ask(text, filters=wanted, trace=trace)
        if not as_json:
            terminal.print_answer(text, answer)
            if explain:
                terminal.print_trace(trace)
        told = answer_json(answer)
        for row, citation in zip(told["citations"], answer.citations, strict=True):
            row.update(pages.draw(citation))
        return told | ({"explain": trace.to_dict()} if explain else {})

    with open_pipeline(config, index, keep_traces=keep_trace) as rag:
        _run_queries(rag, query, queries, run, as_json)


def export(
    vectors: Annotated[bool, typer.Option("--vectors", help="Add the named vectors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="No effect: the output is JSON lines.")] = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Print every point as a JSON line, ordered by id."""
    with open_pipeline(config, index) as rag:
        for row in rag.export(vectors=vectors):
            sys.stdout.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")


def _run_queries(
    rag: RagPipeline,
    query: str | None,
    queries: Path | None,
    run: Callable[[RagPipeline, str], dict[str, Any]],
    as_json: bool,
) -> None:
    """Run the one query, or each of a file's; with JSON, a file gives {"queries": [{id, query, ...}]}."""
    if (query is None) == (queries is None):
        raise ConfigError("give one QUERY, or --queries FILE, not both and not neither")
    if queries is None:
        payload = run(rag, query or "")
    else:
        payload = {"queries": [{"id": i, "query": text} | run(rag, text) for i, text in _read_queries(queries)]}
    if as_json:
        emit(True, payload, lambda: None)


def _read_queries(path: Path) -> list[tuple[str, str]]:
    """Read one query per line, or BEIR JSON lines (``_id``, ``text``); a line's number is its id where it has none."""
    lines = read_bytes(path).decode("utf-8", errors="replace").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        if line.startswith("{"):
            try:
                row = json.loads(line)
                found.append((str(row["_id"]), str(row["text"])))
            except (ValueError, KeyError) as exc:
                raise InputError(f"{path}:{number} is not a JSON object with _id and text; correct the line") from exc
        elif line.strip():
            found.append((str(number), line.strip()))
    return found
