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
from typing import Any

import qdrant_edge as qdrant

from rag_pipeline.errors import ConfigError, UnavailableError
from rag_pipeline.filters import Filter, IndexKind
from rag_pipeline.store.edge_errors import translated
from rag_pipeline.store.edge_filter import FilterTranslator
from rag_pipeline.store.edge_folder import open_shard, read_description, require_space
from rag_pipeline.store.edge_indexes import add_indexes, indexes_of
from rag_pipeline.store.edge_search import search_legs
from rag_pipeline.store.edge_values import engine_vector, record_of
from rag_pipeline.store.lock import IndexLock
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Hit, Point, Record, VectorValue

__all__ = ["EdgeStore"]

log = logging.getLogger(__name__)

_PAGE = 256
"""Records read at once by :meth:`EdgeStore.scroll`."""


class EdgeStore:
    """An open index. Made by :meth:`open`; a context manager; usable from several threads."""

    def __init__(self, folder: Path, schema: CollectionSchema, shard: qdrant.EdgeShard, lock: IndexLock) -> None:
        self.folder = folder
        self.schema = schema
        self._shard = shard
        self._indexes = indexes_of(shard)
        self._translator = FilterTranslator(shard, schema.indexes, self._indexes)
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
            store = cls(folder, schema, open_shard(folder, schema, fingerprint), lock)
            store.index_payload(schema.indexes)  # an index made by an earlier version may lack some
            return store
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
                    point.id, {name: engine_vector(value) for name, value in point.vectors.items()}, dict(point.payload)
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

    def delete_where(self, filters: Filter) -> None:
        """Remove the points that pass the filters; see :meth:`delete`.

        Raises:
            ConfigError: the filters are empty and would remove everything, or as :meth:`scroll`.
        """
        condition = self._filter(filters)
        if condition is None:
            raise ConfigError(f"index {self.folder}: an empty filter names nothing to delete; give conditions")
        with translated(self.folder):
            self._shard.update(qdrant.UpdateOperation.delete_points_by_filter(condition))

    def index_payload(self, keys: Mapping[str, IndexKind]) -> None:
        """Index these payload keys, unless they are or there are too many: filters on them then cost no scan."""
        with translated(self.folder):
            add_indexes(self._shard, keys, self._indexes)

    def set_payload(self, ids: Sequence[str], payload: Mapping[str, object]) -> None:
        """Set these payload keys on these points, or remove those that are None; leave all else of them alone.

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
        filters: Filter | None = None,
        exact: bool = False,
    ) -> dict[str, tuple[Hit, ...]]:
        """Search all legs in one request: :meth:`search_batch` of one query."""
        return self.search_batch([legs], limit, filters=filters, exact=exact)[0]

    def search_batch(
        self,
        queries: Sequence[Mapping[str, VectorValue]],
        limit: int,
        *,
        filters: Filter | None = None,
        exact: bool = False,
    ) -> list[dict[str, tuple[Hit, ...]]]:
        """Search all legs of all queries in one request.

        Each leg lists its best ``limit`` hits, then, ranks going on, what only other legs have among theirs, with
        this leg's true score: by score descending, then id. A point is not listed where it has no vector of the leg,
        or shares no term with a sparse one. A leg of multi-vectors only scores what others found, unless it is alone.

        Only points that pass the filters are searched; what they mean is said in ``filters.py``. The
        ranking is a total order (of what the graph visits, unless ``exact``).

        Raises:
            ConfigError: the index has no such leg, no point has a key of the filters, or a value is not of its kind.
            InputError: a vector holds NaN or infinity.
        """
        for name in {name for legs in queries for name in legs}:
            if self.schema.leg(name) is None:
                known = ", ".join(leg.name for leg in self.schema.legs)
                raise ConfigError(f"index {self.folder} has no leg {name!r}, only {known}; search one of those")
        condition = self._filter(filters)
        with translated(self.folder):
            return search_legs(self._shard, self.schema, queries, limit, condition=condition, exact=exact)

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        """Return the records of these ids in this order; unknown ids are left out."""
        with translated(self.folder):
            found = {str(row.id): row for row in self._shard.retrieve(list(ids), True, with_vectors)}
        return [record_of(found[key]) for key in ids if key in found]

    def scroll(self, *, filters: Filter | None = None, with_vectors: bool = False) -> Iterator[Record]:
        """Yield every record that passes the filters, ordered by id, in bounded memory.

        Raises:
            ConfigError: no point has a key of the filters, or a value is not of the key's kind.
        """
        condition = self._filter(filters)
        offset: Any = None
        while True:
            request = qdrant.ScrollRequest(
                offset=offset, limit=_PAGE, filter=condition, with_payload=True, with_vector=with_vectors
            )
            with translated(self.folder):
                rows, offset = self._shard.scroll(request)
            yield from map(record_of, rows)
            if offset is None:
                return

    def count(self, filters: Filter | None = None, *, exact: bool = True) -> int:
        """Return the number of points that pass the filters.

        Exactly, that takes half a millisecond for 10,000 points, which are all looked at; an estimate takes none.

        Raises:
            ConfigError: as :meth:`scroll`.
        """
        condition = self._filter(filters)
        with translated(self.folder):
            return self._shard.count(qdrant.CountRequest(exact=exact, filter=condition))

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

    def _filter(self, filters: Filter | None) -> qdrant.Filter | None:
        if not filters:
            return None
        with translated(self.folder):
            return self._translator.translate(filters)
