"""The command line: parse, call, print. Everything it can do, :class:`~rag_pipeline.RagPipeline` can do too.

Results go to stdout (with ``--json`` one JSON document), logs, progress and errors to stderr. Exit codes: 0 done;
1 failed; 2 usage or configuration; 3 done, but some files were quarantined.
"""

from __future__ import annotations

import atexit
import gc
import json
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from rag_pipeline.errors import ConfigError, InputError, RagError

if TYPE_CHECKING:
    from rag_pipeline.app import RagPipeline
    from rag_pipeline.config import Settings

__all__ = ["app", "main"]

app = typer.Typer(
    name="rag",
    help="Search and cited answers over folders of documents. Everything stays on this machine.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="List, fetch and check model weights.", invoke_without_command=True)
app.add_typer(models_app, name="models")


class SearchMode(StrEnum):
    """Which legs a search runs."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"
    IMAGE = "image"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="YAML settings [default: compact].")]
Index = Annotated[Path | None, typer.Option("--index", metavar="DIR", help="The index [default: .rag].")]


@app.callback()
@models_app.callback()
def _show_help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders or files.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, do nothing.")] = False,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Make the index true to folders of documents."""
    from rag_pipeline import terminal

    with _open(config, index) as rag, terminal.IngestProgress() as progress:
        report = rag.ingest(*paths, dry_run=dry_run, on_progress=progress.update)
    _emit(as_json, report.to_json(), lambda: terminal.print_report(report, rag.settings))
    if report.quarantine:
        raise typer.Exit(3)


@app.command()
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

    picture = _read_bytes(image) if image else None
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

    with _open(config, index) as rag:
        _run_queries(rag, query if picture is None else query or "", queries, run, as_json)


@app.command()
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

    with _open(config, index) as rag:
        _run_queries(rag, query, queries, run, as_json)


@app.command(name="eval")
def evaluate_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A judged set in BEIR layout.")],
    modes: Annotated[str, typer.Option("--modes", help="dense,sparse,hybrid,hybrid+rerank")] = "",
    run_dir: Annotated[Path | None, typer.Option("--run-dir", metavar="DIR", help="Write TREC runs here.")] = None,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Measure the whole chain on judged data."""
    from rag_pipeline import terminal
    from rag_pipeline.evaluation.beir import read_beir
    from rag_pipeline.evaluation.evaluate import evaluate, parse_modes

    judged = read_beir(folder)
    rag = _open(config, index)
    chosen = parse_modes(modes, can_rerank=rag.settings.reranker is not None)
    with terminal.StageProgress() as progress:
        rows = evaluate(
            judged, rag.settings, rag.encoder, rag.cross_encoder, chosen, run_dir=run_dir, on_progress=progress.update
        )
    payload = {
        "dataset": judged.name,
        "profile": rag.settings.profile,
        "rows": [{"mode": row.mode, "queries": row.queries, "measures": dict(row.measures)} for row in rows],
    }
    _emit(as_json, payload, lambda: terminal.print_rows(judged.name, rag.settings.profile, rows))


@app.command()
def export(
    vectors: Annotated[bool, typer.Option("--vectors", help="Add the named vectors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="No effect: the output is JSON lines.")] = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Print every point as a JSON line, ordered by id."""
    with _open(config, index) as rag:
        for row in rag.export(vectors=vectors):
            sys.stdout.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")


@app.command()
def status(as_json: Json = False, config: Config = None, index: Index = None) -> None:
    """Show what the index holds."""
    from rag_pipeline import terminal
    from rag_pipeline.health import index_status

    report = index_status(_open(config, index).settings)
    _emit(as_json, report, lambda: terminal.print_pairs(report))


@app.command()
def doctor(as_json: Json = False, config: Config = None, index: Index = None) -> None:
    """Check the machine and say what to do."""
    from rag_pipeline import terminal
    from rag_pipeline.health import examine

    checks = examine(_open(config, index).settings)
    failed = any(check.state == "failed" for check in checks)
    payload = {"ok": not failed, "checks": [check.to_json() for check in checks]}
    _emit(as_json, payload, lambda: terminal.print_checks(checks))
    if failed:
        raise typer.Exit(1)


@models_app.command("list")
def models_list(as_json: Json = False, config: Config = None, index: Index = None) -> None:
    """Show every known model and whether its weights are here."""
    from rag_pipeline import terminal
    from rag_pipeline.encoders.weights import list_models

    rows = [row.to_json() for row in list_models(_open(config, index).settings.models_dir)]
    _emit(as_json, {"models": rows}, lambda: terminal.print_models(rows))


@models_app.command("pull")
def models_pull(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: the profile's.")] = None,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Fetch weights at their pinned revision and check them."""
    from rag_pipeline import terminal
    from rag_pipeline.encoders.weights import pull

    settings = _open(config, index).settings
    pulled = []
    for name in names or _profile_models(settings):
        terminal.say(f"fetching {name} ...")
        pulled.append({"name": name, "folder": str(pull(name, settings.models_dir))})
    _emit(as_json, {"pulled": pulled}, lambda: terminal.print_table(pulled))


@models_app.command("verify")
def models_verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Default: the profile's.")] = None,
    as_json: Json = False,
    config: Config = None,
    index: Index = None,
) -> None:
    """Check size and SHA-256 of every weight file."""
    from rag_pipeline import terminal
    from rag_pipeline.encoders.weights import verify

    settings = _open(config, index).settings
    rows = [
        {"model": name} | row.to_json()
        for name in names or _profile_models(settings)
        for row in verify(name, settings.models_dir)
    ]
    _emit(as_json, {"files": rows}, lambda: terminal.print_table(rows))
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; a known error is one line on stderr and an exit code, never a traceback."""
    # Imports and models make objects by the hundred thousand that live to the end: searching them for garbage, again
    # and again and once more at exit, takes 0.7 s of a search that takes 2.
    gc.set_threshold(100_000, 50, 50)
    atexit.register(gc.freeze)
    try:
        code = app(standalone_mode=False)
    except RagError as exc:
        _fail(str(exc), 2 if isinstance(exc, ConfigError) else 1)
    except typer.TyperException as exc:
        _fail(f"{str(getattr(exc, 'format_message', exc.__str__)()).rstrip('.')}; see rag --help", 2)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, as `rag export | head` does
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr; with ``--json`` also one JSON document on stdout, for programs that read it."""
    line = " ".join(message.split())
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": line, "exit_code": code}) + "\n")
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)


def _open(config: Path | None, index: Path | None) -> RagPipeline:
    from rag_pipeline.app import RagPipeline

    return RagPipeline.from_config(config, index=index)


def _emit(as_json: bool, payload: object, show: Callable[[], None]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(payload, ensure_ascii=False) + "\n")
    else:
        show()


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
        _emit(True, payload, lambda: None)


def _read_queries(path: Path) -> list[tuple[str, str]]:
    """Read one query per line, or BEIR JSON lines (``_id``, ``text``); a line's number is its id where it has none."""
    lines = _read_bytes(path).decode("utf-8", errors="replace").splitlines()
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


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}; give an existing file") from exc


def _parse_filters(pairs: list[str]) -> dict[str, str | int]:
    filters: dict[str, str | int] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"--filter {pair!r} is not KEY=VALUE; write for example --filter file_name=report.pdf")
        filters[key] = int(value) if value.isdigit() else value
    return filters


def _profile_models(settings: Settings) -> list[str]:
    chosen = [settings.text, settings.image, settings.reranker]
    return [section.model for section in chosen if section is not None]
