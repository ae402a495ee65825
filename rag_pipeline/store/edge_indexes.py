"""The payload indexes of a shard: which there are, and new ones. This module knows no key by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import qdrant_edge as qdrant

from rag_pipeline.filters import IndexKind

__all__ = ["add_indexes", "indexes_of"]

log = logging.getLogger(__name__)

_TYPES: Mapping[IndexKind, qdrant.PayloadSchemaType] = {
    "keyword": qdrant.PayloadSchemaType.Keyword,
    "integer": qdrant.PayloadSchemaType.Integer,
    "float": qdrant.PayloadSchemaType.Float,
    "datetime": qdrant.PayloadSchemaType.Datetime,
}
_MOST = 64
"""Indexes: each is some files in every segment. What comes later is filtered by reading payloads."""


def indexes_of(shard: qdrant.EdgeShard) -> dict[str, IndexKind]:
    """Return the keys that are indexed, and what their values are indexed as."""
    kinds = {type_: kind for kind, type_ in _TYPES.items()}
    return {key: kinds[info.data_type] for key, info in sorted(shard.info().payload_schema.items())}


def add_indexes(shard: qdrant.EdgeShard, wanted: Mapping[str, IndexKind], known: dict[str, IndexKind]) -> None:
    """Index the keys that are not among the ``known``, which grow by them, as long as there are not too many."""
    for key, kind in wanted.items():
        if key in known:
            continue
        if len(known) >= _MOST:
            log.info("payload key %s is not indexed: %s are", key, len(known))
            return
        shard.update(qdrant.UpdateOperation.create_field_index(key, _TYPES[kind]))
        known[key] = kind
