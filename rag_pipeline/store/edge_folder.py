"""The folder of an index: ``index.json`` says how it was made, ``shard/`` is the engine's.

Enters: a folder, a schema, a fingerprint. Leaves: an open shard, made where there is none. A shard is made aside and
renamed, so that it is there whole, with its payload indexes, or not at all. This module knows nothing of points.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import qdrant_edge as qdrant

from rag_pipeline.errors import MismatchError, UnavailableError
from rag_pipeline.store.edge_errors import translated
from rag_pipeline.store.edge_indexes import add_indexes
from rag_pipeline.store.schema import CollectionSchema, Fingerprint

__all__ = ["open_shard", "read_description", "require_space"]

_DESCRIPTION = "index.json"
_HNSW_FROM = 50_000
"""Points in one segment before a graph is built. Below it exact search is as fast (20,000 x 384: 1.3 ms on two
cores, with the graph 0.8 ms) and the graph costs more than writing the points (40,000: 19 s against 3 s)."""
_TOKENS = 256
"""Rows of a multi-vector, for the engine's threshold: it is in bytes of the largest leg, not in points."""
_LEAST_FREE_BYTES = 256 * 2**20


def read_description(folder: Path) -> tuple[CollectionSchema, Fingerprint]:
    """Return how the index in ``folder`` was made.

    Raises:
        UnavailableError: there is no index, or its description cannot be read.
    """
    file = folder / _DESCRIPTION
    if not (folder / "shard").exists():
        raise UnavailableError(f"no index at {folder}; run rag ingest FOLDER --index {folder}")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return CollectionSchema.from_dict(values["schema"]), Fingerprint.from_dict(values["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UnavailableError(f"cannot read {file}: {exc}; restore it, or ingest again into a new index") from exc


def open_shard(folder: Path, schema: CollectionSchema, fingerprint: Fingerprint) -> qdrant.EdgeShard:
    """Load the shard of an index, which is made first where there is none. The caller holds the index's lock.

    Raises:
        MismatchError: the index was made with other models, chunking or vectors.
        UnavailableError: its files cannot be read or written, or the disk is nearly full.
    """
    shard = folder / "shard"
    if not shard.exists():
        require_space(folder)
        partial = folder / "shard.partial"
        with translated(folder):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            made = qdrant.EdgeShard.create(str(partial), _config(schema))
            add_indexes(made, schema.indexes, {})
            made.close()
            description = {"schema": schema.to_dict(), "fingerprint": fingerprint.to_dict()}
            _write(folder / _DESCRIPTION, json.dumps(description, indent=2))
            partial.rename(shard)
    stored_schema, stored_fingerprint = read_description(folder)
    fingerprint.check(stored_fingerprint)
    if schema.legs != stored_schema.legs:
        raise MismatchError(
            f"index {folder} has the legs {_named(stored_schema)}; these settings make {_named(schema)}; "
            "use the --config that made it, or another --index"
        )
    with translated(folder):
        return qdrant.EdgeShard.load(str(shard))


def require_space(folder: Path, least: int = _LEAST_FREE_BYTES) -> None:
    """Refuse to write where fewer than ``least`` bytes are free.

    The engine maps its files into memory: a full disk does not raise there, the kernel kills the process (SIGBUS).

    Raises:
        UnavailableError: the disk is nearly full.
    """
    free = shutil.disk_usage(folder).free
    if free < least:
        raise UnavailableError(
            f"the disk of index {folder} has {free // 2**20} MiB free, {least // 2**20} are needed to write safely; "
            "free space and run again"
        )


def _config(schema: CollectionSchema) -> qdrant.EdgeConfig:
    rows = {leg.name: (leg.kind, leg.dim) for leg in schema.legs if leg.dim is not None}
    largest = max((dim * (4 if kind == "dense" else 2 * _TOKENS) for kind, dim in rows.values()), default=4)
    return qdrant.EdgeConfig(
        vectors={name: _params(kind, dim) for name, (kind, dim) in rows.items()},
        sparse_vectors={
            leg.name: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf if leg.idf else None)
            for leg in schema.legs
            if leg.kind == "sparse"
        },
        optimizers=qdrant.EdgeOptimizersConfig(indexing_threshold=_HNSW_FROM * largest // 1024),
        # Segments are read side by side, and there is one: handing its searches to another thread costs 1.5 ms.
        max_search_threads=1,
    )


def _named(schema: CollectionSchema) -> str:
    return ", ".join(leg.name if leg.dim is None else f"{leg.name} ({leg.dim})" for leg in schema.legs)


def _params(kind: str, dim: int) -> qdrant.EdgeVectorParams:
    if kind == "dense":
        # Only what has a graph gets quantized copies: the graph is walked on them, and what it finds is scored by whole
        # vectors. 1024-d, 100,000 points: built in 44 s instead of 111, searched in 1.2 ms instead of 2.9.
        return qdrant.EdgeVectorParams(
            size=dim,
            distance=qdrant.Distance.Cosine,
            quantization_config=qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8),
        )
    return qdrant.EdgeVectorParams(
        size=dim,
        distance=qdrant.Distance.Cosine,
        multivector_config=qdrant.MultiVectorConfig(qdrant.MultiVectorComparator.MaxSim),
        # Half precision and no graph: a passage has a row for each token (256 x 1024 in fp16: 0.5 MB), and is only
        # scored where another leg found it. Cold: the few that are read need not wait in memory.
        datatype=qdrant.VectorStorageDatatype.Float16,
        hnsw_config=qdrant.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
        memory=qdrant.Memory.Cold,
    )


def _write(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
