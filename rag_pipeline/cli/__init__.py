"""The command line: parse, call, print. Everything it can do, :class:`~rag_pipeline.RagPipeline` can do too.

Results go to stdout (with ``--json`` one JSON document), logs, progress and errors to stderr. Exit codes: 0 done;
1 failed; 2 usage or configuration; 3 done, but some files were quarantined.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import sys
from typing import NoReturn

import typer

from rag_pipeline.cli.bench import bench_app
from rag_pipeline.cli.ingest import ingest, snapshot_app
from rag_pipeline.cli.machine import doctor, evaluate, status
from rag_pipeline.cli.models import models_app
from rag_pipeline.cli.options import show_help
from rag_pipeline.cli.search import ask, export, search
from rag_pipeline.cli.trace import show_traces
from rag_pipeline.cli.tune import tune
from rag_pipeline.errors import ConfigError, RagError

__all__ = ["app", "main"]

app = typer.Typer(
    name="rag",
    help="Search and cited answers over folders of documents. Everything stays on this machine.",
    invoke_without_command=True,
    callback=show_help,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (ingest, search, ask, export, status, doctor, tune):
    app.command()(command)
app.command(name="eval")(evaluate)
app.command(name="trace")(show_traces)
app.add_typer(snapshot_app, name="snapshot")
app.add_typer(models_app, name="models")
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Run the command line; a known error is one line on stderr and an exit code, never a traceback."""
    # Imports and models make objects by the hundred thousand that live to the end: searching them for garbage, again
    # and again and once more at exit, takes 0.7 s of a search that takes 2.
    gc.set_threshold(100_000, 50, 50)
    atexit.register(gc.freeze)
    _return_memory()
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


def _return_memory() -> None:
    """Have glibc keep less of what is freed.

    By itself it keeps a heap for every thread, and ever larger blocks in them: an ingestion over broken and enormous
    files then peaked at 660 MB and not at 560, and was no faster. It is the process's setting, so that a library must
    not touch it, and a program may.
    """
    most_arenas, mapped_from = -8, -3  # M_ARENA_MAX, M_MMAP_THRESHOLD of malloc.h
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(most_arenas, 2)
        mallopt(mapped_from, 2**20)


def _fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr; with ``--json`` also one JSON document on stdout, for programs that read it."""
    line = " ".join(message.split())
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": line, "exit_code": code}) + "\n")
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)
