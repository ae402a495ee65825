"""Qdrant's own engine inside this process, behind the Store contract: points in, hits and records out.

An index folder holds ``index.json`` (how it was made), ``shard/`` (the engine's), ``lock`` and ``holder.json``. What
the engine acknowledges survives ``kill -9`` (its write-ahead log); what :meth:`EdgeStore.flush` acknowledges survives a
power cut. This module knows nothing of models, documents and payload keys.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import qdrant_edge as qdrant

from rag_pipeline.errors import ConfigError, UnavailableError
from rag_pipeline.store.edge_errors import translated
from rag_pipeline.store.edge_folder import open_shard, read_description, require_space
from rag_pipeline.store.lock import IndexLock
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Hit, Point, Record, SparseVector, VectorValue

__all__ = ["EdgeStore"]

log = logging.getLogger(__name__)

_PAGE = 256
"""Records read at once by :meth:`EdgeStore.scroll`."""
_TIE_MARGIN = 32
"""Hits asked for beyond the limit, so that most ties at the cut-off are settled in one request."""


class EdgeStore:
    """An open index. Made by :meth:`open`; a context manager; usable from several threads."""

    def __init__(self, folder: Path, schema: CollectionSchema, shard: qdrant.EdgeShard, lock: IndexLock) -> None:
        self.folder = folder
        self.schema = schema
        self._shard = shard
        self._lock = lock

    @classmethod
    def open(cls, folder: Path, schema: CollectionSchema, fingerprint: Fingerprint, *, create: bool) -> EdgeStore:
        """Open the index in ``folder``; with ``create``, make it where there is none.

        Raises:
            UnavailableError: there is no index, another process holds it, or its files cannot be read.
            MismatchError: it was made with other models, chunking or vectors.
        """
        if not create:
            read_description(folder)  # raises where there is none, before anything is made
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = IndexLock(folder)
        except OSError as exc:
            raise UnavailableError(f"cannot open index {folder}: {exc.strerror}; use another --index") from exc
        try:
            return cls(folder, schema, open_shard(folder, schema, fingerprint), lock)
        except BaseException:
            lock.release()
            raise

    @staticmethod
    def read_fingerprint(folder: Path) -> Fingerprint:
        """Return what the index was made with, without opening it.

        Raises:
            UnavailableError: there is no index, or its description cannot be read.
        """
        return read_description(folder)[1]

    @staticmethod
    def read_schema(folder: Path) -> CollectionSchema:
        """Return the vectors and payload indexes of the index, without opening it.

        Raises:
            UnavailableError: there is no index, or its description cannot be read.
        """
        return read_description(folder)[0]

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, replacing those of the same id; acknowledged means durable after :meth:`flush`.

        Raises:
            InputError: an id is no UUID, a payload is not JSON in valid Unicode, or a vector holds NaN or infinity.
            MismatchError: a vector's name or width is not the schema's.
            UnavailableError: the disk is nearly full, or the engine failed.
        """
        require_space(self.folder)
        with translated(self.folder):
            rows = [
                qdrant.Point(
                    point.id, {name: _vector(value) for name, value in point.vectors.items()}, dict(point.payload)
                )
                for point in points
            ]
            self._shard.update(qdrant.UpdateOperation.upsert_points(rows))

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points; unknown ids are no error.

        The engine goes on counting them in the document frequencies of an ``idf`` leg until the index is next opened.
        """
        with translated(self.folder):
            self._shard.update(qdrant.UpdateOperation.delete_points(list(ids)))

    def set_payload(self, ids: Sequence[str], payload: Mapping[str, object]) -> None:
        """Set these payload keys on these points and leave their other keys and vectors alone.

        Raises:
            UnavailableError: an id is not in the index; the known ones may have been written.
        """
        with translated(self.folder):
            self._shard.update(qdrant.UpdateOperation.set_payload(list(ids), dict(payload)))

    def search(
        self,
        legs: Mapping[str, VectorValue],
        limit: int,
        *,
        filters: Mapping[str, str | int] | None = None,
        exact: bool = False,
    ) -> dict[str, tuple[Hit, ...]]:
        """Search all legs in one request; return the best ``limit`` hits of each, by score descending, then id.

        ``filters`` are equalities that must all hold; a list in the payload matches by any of its elements. The engine
        cuts equal scores in no order, so more is asked for until the equals of the last hit are all seen: the
        ranking is a total order (of what the graph visits, unless ``exact``).

        Raises:
            ConfigError: the index has no such leg, or a filter's value is not of the key's kind.
        """
        for name in legs:
            if self.schema.leg(name) is None:
                known = ", ".join(leg.name for leg in self.schema.legs)
                raise ConfigError(f"index {self.folder} has no leg {name!r}, only {known}; search one of those")
        condition = self._filter(filters or {})
        ranked: dict[str, tuple[Hit, ...]] = {}
        open_legs = list(legs)
        fetch = limit + _TIE_MARGIN
        while open_legs:
            requests = [
                qdrant.QueryRequest(
                    limit=fetch,
                    query=qdrant.Query.Nearest(_vector(legs[name]), using=name),
                    filter=condition,
                    params=qdrant.SearchParams(exact=exact),
                )
                for name in open_legs
            ]
            with translated(self.folder):
                answers = self._shard.query_batch(qdrant.QueryBatchRequest(requests))
            cut = []
            for name, found in zip(open_legs, answers, strict=True):
                if len(found) == fetch and found[-1].score == found[limit - 1].score:
                    cut.append(name)
                best = sorted((-point.score, str(point.id)) for point in found)[:limit]
                ranked[name] = tuple(Hit(key, rank, -score) for rank, (score, key) in enumerate(best, start=1))
            open_legs, fetch = cut, fetch * 4
        return ranked

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        """Return the records of these ids in this order; unknown ids are left out."""
        with translated(self.folder):
            found = {str(row.id): row for row in self._shard.retrieve(list(ids), True, with_vectors)}
        return [_record(found[key]) for key in ids if key in found]

    def scroll(self, *, with_vectors: bool = False) -> Iterator[Record]:
        """Yield every record, ordered by id, in bounded memory."""
        offset: Any = None
        while True:
            with translated(self.folder):
                rows, offset = self._shard.scroll(
                    qdrant.ScrollRequest(offset=offset, limit=_PAGE, with_payload=True, with_vector=with_vectors)
                )
            yield from map(_record, rows)
            if offset is None:
                return

    def count(self) -> int:
        """Return the number of points."""
        with translated(self.folder):
            return self._shard.count(qdrant.CountRequest(exact=True))

    def flush(self) -> None:
        """Return once everything written so far is on disk: a third of a second, whatever there is to write."""
        with translated(self.folder):
            self._shard.flush()

    def optimize(self) -> None:
        """Put the segments in good order.

        That takes no time where there is nothing to do; past 50,000 points in a segment the engine builds a graph of
        them, minutes for 100,000, and lets no other thread of this process run meanwhile.
        """
        with translated(self.folder):
            if self._shard.optimize():
                log.info("segments of index %s were rebuilt", self.folder)

    def close(self) -> None:
        """Flush and let go of the index; a second call does nothing."""
        try:
            with translated(self.folder):
                self._shard.close()
        finally:
            self._lock.release()

    def __enter__(self) -> EdgeStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _filter(self, filters: Mapping[str, str | int]) -> qdrant.Filter | None:
        if not filters:
            return None
        return qdrant.Filter(
            must=[
                qdrant.FieldCondition(key, match=qdrant.MatchValue(self._matched(key, value)))
                for key, value in filters.items()
            ]
        )

    def _matched(self, key: str, value: str | int) -> str | int:
        # The engine finds nothing, without a word, when "3" is asked of an integer key; the command line has only text.
        kind = self.schema.indexes.get(key)
        if kind == "integer" and not isinstance(value, int):
            try:
                return int(value)
            except ValueError as exc:
                raise ConfigError(f"filter {key}={value} needs a whole number; correct the value") from exc
        return str(value) if kind == "keyword" else value


def _vector(value: VectorValue) -> Any:
    numbers = value.values if isinstance(value, SparseVector) else value
    if not np.isfinite(numbers).all():  # the engine would take it, and rank it anywhere
        raise ValueError("a vector holds NaN or infinity")
    if isinstance(value, SparseVector):
        return qdrant.SparseVector(value.indices.tolist(), value.values.tolist())
    return value.tolist()


def _record(row: qdrant.Record) -> Record:
    vectors: dict[str, VectorValue] = {}
    for name, value in cast(dict[str, Any], row.vector or {}).items():
        if isinstance(value, qdrant.SparseVector):
            vectors[name] = SparseVector.from_weights(dict(zip(value.indices, value.values, strict=True)))
        else:
            vectors[name] = np.asarray(value, dtype=np.float32)
    return Record(str(row.id), row.payload or {}, vectors)
