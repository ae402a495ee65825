"""``rag search``, ``rag ask`` and ``rag export``: what leaves an index."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_pipeline.cli.options import Config, Index, Json, emit, open_pipeline, read_bytes
from rag_pipeline.errors import ConfigError, InputError

if TYPE_CHECKING:
    from rag_pipeline.app import RagPipeline

__all__ = ["ask", "export", "search"]


class SearchMode(StrEnum):
    """Which legs a search runs."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"
    IMAGE = "image"


def search(
    query: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, max=1000, help="How many hits.")] = None,
    mode: Annotated[SearchMode, typer.Option("--mode", help="Which legs to run.")] = SearchMode.HYBRID,
    filters: Annotated[list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="Payload filter.")] = None,
    image: Annotated[Path | None, typer.Option("--image", metavar="FILE", help="Search by a picture.")] = None,
    no_rerank: Annotated[bool, typer.Option("--no-rerank", help="Keep the fused order.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show legs, fusion and times.")] = False,
    queries: Annotated[Path | None, typer.Option("--queries", metavar="FILE", help="Many queries from a file.")] = None,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Find passages and pictures."""
    from rag_pipeline import terminal
    from rag_pipeline.retrieval.trace import Trace
    from rag_pipeline.wire import hit_json

    picture = read_bytes(image) if image else None
    wanted = _parse_filters(filters or [])

    def run(rag: RagPipeline, text: str) -> dict[str, Any]:
        trace = Trace()
        hits = rag.search(
            text, top_k=top_k, mode=mode.value, filters=wanted, image=picture, rerank=not no_rerank, trace=trace
        )
        if not as_json:
            terminal.print_hits(text, hits, trace if explain else None)
        found: dict[str, Any] = {"hits": [hit_json(hit) for hit in hits], "timings_ms": trace.timings_ms}
        return found | ({"explain": trace.to_dict()} if explain else {})

    with open_pipeline(config, index) as rag:
        _run_queries(rag, query if picture is None else query or "", queries, run, as_json)


def ask(
    query: Annotated[str | None, typer.Argument(help="The question.")] = None,
    queries: Annotated[Path | None, typer.Option("--queries", metavar="FILE", help="Many queries from a file.")] = None,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Answer a question, every statement cited."""
    from rag_pipeline import terminal
    from rag_pipeline.wire import answer_json

    def run(rag: RagPipeline, text: str) -> dict[str, Any]:
        answer = rag.ask(text)
        if not as_json:
            terminal.print_answer(text, answer)
        return answer_json(answer)

    with open_pipeline(config, index) as rag:
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


def _parse_filters(pairs: list[str]) -> dict[str, str | int]:
    filters: dict[str, str | int] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"--filter {pair!r} is not KEY=VALUE; write for example --filter file_name=report.pdf")
        filters[key] = int(value) if value.isdigit() else value
    return filters
