"""The house of the design: imports go downwards, vendors live in one room, one module reads the environment."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rag_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))

LEVELS = [
    {"errors", "media_types", "types"},
    {"evidence", "filters"},
    {"config", "language", "protocols"},
    {"documents", "encoders", "store"},
    {"indexing", "retrieval"},
    {"answering", "evaluation", "migration"},
    {"runners"},
    {"display", "parts", "wire"},
    {"tuning", "wired"},
    {"app", "health"},
    {"serving", "terminal"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

SHOWN_BY = {"evidence": {"display", "documents"}, "retrieval": {"display"}}
"""A value can be looked at (`page_image()`, `_repr_html_`): its methods, when called, reach up for who shows it."""

VENDORS = {
    "unstructured": {"documents"},
    "torch": {"encoders", "retrieval/cross_encoder.py"},
    "transformers": {"encoders", "retrieval/cross_encoder.py"},
    "sentence_transformers": {"encoders/reference.py"},
    "FlagEmbedding": {"encoders/reference.py"},
    "onnxruntime": {"encoders", "retrieval/cross_encoder.py"},
    "openvino": {"encoders"},
    "nncf": {"encoders"},
    "qdrant_edge": {"store", "encoders/bm25.py"},
    "qdrant_client": {"store"},
    "ir_measures": {"evaluation"},
    "matplotlib": {"retrieval/trace_plot.py"},
    "rich": {"terminal.py"},
    "typer": {"cli"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path, *, typing_too: bool = True) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    room = room_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "rag_pipeline" or len(parts) == 1 or parts[1] == room:
            continue
        if parts[1] in SHOWN_BY.get(room, ()):
            assert f"\nfrom {name} " not in path.read_text(), f"{room} may import {name} in a method only"
            continue
        assert LEVEL[parts[1]] < LEVEL[room], f"{room} may not import {parts[1]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_vendors_live_in_one_room(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    for name in imports_of(path):
        allowed = VENDORS.get(name.split(".")[0])
        assert allowed is None or place in allowed or room_of(path) in allowed, f"{place} may not import {name}"


def test_only_config_reads_the_environment() -> None:
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers <= {"config.py", "__init__.py"}, "__init__ sets the no-telemetry defaults, config reads"


def test_importing_the_package_loads_no_vendor() -> None:
    code = "import sys, rag_pipeline; print([m for m in sys.modules if '.' not in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for vendor in ("torch", "numpy", "llama_index", "pydantic", "unstructured", "onnxruntime", "typer"):
        assert f"'{vendor}'" not in loaded


def test_asking_for_help_loads_no_model_library() -> None:
    code = """
import sys
from rag_pipeline.cli import main
sys.argv = ["rag", "--help"]
try:
    main()
finally:
    print([m for m in sys.modules if "." not in m])
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for vendor in ("torch", "llama_index", "unstructured", "onnxruntime", "numpy"):
        assert f"'{vendor}'" not in loaded
