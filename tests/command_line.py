"""`rag` as another program meets it: a subprocess, its exit code, one JSON document or one line of error."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["NOTES", "OPENING", "RAG", "assert_one_line", "document", "environment", "rag"]

RAG = [sys.executable, "-m", "rag_pipeline"]
NOTES = "# Otter 2\n\nThe warranty of the Otter 2 lasts thirty months from the day of delivery.\n"
OPENING = "# Office\n\nThe office in Lindau opens at nine and closes at five.\n"


def environment(**variables: str) -> dict[str, str]:
    """The environment without the settings of the machine that runs the tests."""
    machine = {name: value for name, value in os.environ.items() if not name.startswith("RAG_")}
    return machine | {"RAG_INGEST__WORKERS": "1"} | variables  # conftest.py says why


def rag(*arguments: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [*RAG, *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env=environment(**variables), timeout=240, check=False,
    )  # fmt: skip


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the one JSON document on stdout."""
    assert done.returncode in (0, 3), done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    for words in said:
        assert words in done.stderr
