"""The values of ``types.py`` in the engine's words, and back.

Enters: vectors to write or to look for, and records read. Leaves: what ``qdrant_edge`` takes, and :class:`Record`. This
module knows nothing of schemas, requests and files.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import qdrant_edge as qdrant

from rag_pipeline.types import Record, SparseVector, VectorValue

__all__ = ["engine_vector", "record_of"]


def engine_vector(value: VectorValue) -> Any:
    """Return a vector as the engine takes it: a list, a list of a token's vectors each, or its own sparse vector.

    Raises:
        ValueError: a number is NaN or infinite, which the engine would take and rank anywhere.
    """
    numbers = value.values if isinstance(value, SparseVector) else value
    if not np.isfinite(numbers).all():
        raise ValueError("a vector holds NaN or infinity")
    if isinstance(value, SparseVector):
        return qdrant.SparseVector(value.indices.tolist(), value.values.tolist())
    return value.tolist()


def record_of(row: qdrant.Record) -> Record:
    """Return what the engine read, its vectors as arrays: (dim,), (tokens, dim), or sparse."""
    vectors: dict[str, VectorValue] = {}
    for name, value in cast(dict[str, Any], row.vector or {}).items():
        if isinstance(value, qdrant.SparseVector):
            vectors[name] = SparseVector.from_weights(dict(zip(value.indices, value.values, strict=True)))
        else:
            vectors[name] = np.asarray(value, dtype=np.float32)
    return Record(str(row.id), row.payload or {}, vectors)
