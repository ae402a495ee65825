"""What `rag tune` found for one index: how much the legs count, how to rerank, and the evidence for it.

Enters: the folder of an index, with ``calibration.json``. Leaves: a :class:`Calibration`, or None where there is none
that fits the index and the models. This module knows nothing of how it was found.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rag_pipeline.errors import UnavailableError
from rag_pipeline.store.edge import EdgeStore

__all__ = ["FILE", "Calibration", "Reranking", "made_with", "read_calibration"]

FILE = "calibration.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reranking:
    """How many candidates are read (0: none), in windows of how many tokens, and what the logit counts."""

    depth: int
    window: int
    blend: float

    def __post_init__(self) -> None:
        if self.depth < 0 or self.window < 16 or not 0 <= self.blend <= 1:
            raise ValueError(f"Reranking needs depth >= 0, window >= 16 and a blend in [0, 1], got {self}")


@dataclass(frozen=True, slots=True)
class Calibration:
    """What replaces the defaults. ``made_with`` must equal what the index and the reranker are.

    ``dense`` is the share of the dense leg beside the sparse one, by the language of the question; a language that is
    not in it keeps the rule. ``reranking`` is None where the settings stand. ``evidence`` is for people to read.
    """

    made_with: Mapping[str, Any]
    created: str
    dense: Mapping[str, float] = field(default_factory=dict)
    reranking: Reranking | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in self.dense.values()):
            raise ValueError(f"Calibration.dense holds shares in [0, 1], got {dict(self.dense)}")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what :meth:`to_dict` returned.

        Raises:
            TypeError, ValueError: the values are no calibration.
        """
        reranking = values.get("reranking")
        return cls(**{**values, "reranking": None if reranking is None else Reranking(**reranking)})

    def write(self, folder: Path) -> Path:
        """Write the file of an index, whole or not at all; return its path.

        Raises:
            UnavailableError: it cannot be written.
        """
        path = folder / FILE
        partial = path.with_suffix(".partial")
        try:
            partial.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
            os.replace(partial, path)
        except OSError as exc:
            raise UnavailableError(f"cannot write {path}: {exc.strerror}; check disk and permissions") from exc
        return path


def made_with(index: Path, reranker: str) -> dict[str, Any]:
    """Return what must be equal for a calibration to hold: models and chunking of the index, and the reranker's name.

    Raises:
        UnavailableError: there is no index, or its description cannot be read.
    """
    return EdgeStore.read_fingerprint(index).to_dict() | {"reranker": reranker}


def read_calibration(index: Path, reranker: str) -> Calibration | None:
    """Return the calibration of an index, or None: there is none, or it is of other models, which a warning says."""
    path = index / FILE
    try:
        found = Calibration.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, TypeError, ValueError, AttributeError) as exc:
        log.warning("%s cannot be read (%s) and is not used; run rag tune again", path, type(exc).__name__)
        return None
    if found.made_with != made_with(index, reranker):
        log.warning("%s was made with other models or chunking and is not used; run rag tune again", path)
        return None
    return found
