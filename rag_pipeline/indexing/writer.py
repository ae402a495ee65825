"""Chunks of many documents, in batches of one size, to vectors and into the engine.

Enters: jobs, each a document with its chunks and pictures. Leaves: points, and the jobs whose last point the engine has
acknowledged. A batch takes chunks of as many documents as it needs to be full. This module knows nothing of files,
parsing and the manifest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rag_pipeline.errors import InputError
from rag_pipeline.indexing.records import Version
from rag_pipeline.protocols import ImageEncoder, Store, TextEncoder
from rag_pipeline.store.payload import payload_of
from rag_pipeline.types import Chunk, FloatMatrix, Point, SourceFile, VectorValue

__all__ = ["Job", "PointWriter"]


@dataclass(eq=False, slots=True)
class Job:
    """A document on its way into the engine. ``pictures`` are encoded images by content hash.

    ``left`` counts the chunks that are not written yet; ``error`` is why the document cannot be written.
    """

    source: SourceFile
    version: Version
    chunks: Sequence[Chunk]
    pictures: Mapping[str, bytes]
    notes: list[str] = field(default_factory=list)
    left: int = field(init=False)
    error: InputError | None = None

    def __post_init__(self) -> None:
        self.left = len(self.chunks)


class PointWriter:
    """Fills batches of ``batch`` chunks; holds at most one batch and the documents that it has chunks of."""

    def __init__(self, store: Store, encoder: TextEncoder, image_encoder: ImageEncoder | None, batch: int) -> None:
        self._store = store
        self._encoder = encoder
        self._image_encoder = image_encoder
        self._batch = batch
        self._queue: deque[tuple[Job, Chunk]] = deque()

    def add(self, job: Job) -> list[Job]:
        """Take a job, write what fills batches, and return the jobs that are done: acknowledged, or with an error."""
        self._queue.extend((job, chunk) for chunk in job.chunks)
        return self._write(least=self._batch)

    def finish(self) -> list[Job]:
        """Write what is left, and return the jobs that are done."""
        return self._write(least=1)

    def _write(self, least: int) -> list[Job]:
        done = []
        while len(self._queue) >= least:
            rows = [self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))]
            self._upsert([row for row in rows if row[0].error is None])
            for job, _ in rows:
                job.left -= 1
                if job.left == 0:
                    done.append(job)
        if done:
            self._store.flush()
        return done

    def _upsert(self, rows: Sequence[tuple[Job, Chunk]]) -> None:
        if not rows:
            return
        try:
            self._store.upsert(self._points(rows))
        except InputError as exc:
            jobs = list(dict.fromkeys(job for job, _ in rows))
            if len(jobs) == 1:
                jobs[0].error = exc
                return
            for job in jobs:  # one of them spoils the batch for the others: find out which
                self._upsert([row for row in rows if row[0] is job])

    def _points(self, rows: Sequence[tuple[Job, Chunk]]) -> list[Point]:
        chunks = [chunk for _, chunk in rows]
        text = self._encoder.encode_passages(
            [chunk.embed_text for chunk in chunks], [chunk.language for chunk in chunks]
        )
        images = self._image_vectors(rows)
        points = []
        for row, (job, chunk) in enumerate(rows):
            vectors: dict[str, VectorValue] = {"dense": text.dense[row], "sparse": text.sparse[row]}
            if row in images:
                vectors["image"] = images[row]
            version = job.version
            payload = payload_of(chunk, paths=version.paths, media_type=version.media_type, title=version.title)
            points.append(Point(chunk.id, vectors, payload))
        return points

    def _image_vectors(self, rows: Sequence[tuple[Job, Chunk]]) -> dict[int, FloatMatrix]:
        """Encode the pictures of figure chunks; one that cannot be decoded is still found by its caption."""
        vectors: dict[int, FloatMatrix] = {}
        if self._image_encoder is None:
            return vectors
        for row, (job, chunk) in enumerate(rows):
            if chunk.figure is None:
                continue
            try:
                vectors[row] = self._image_encoder.encode_images([job.pictures[chunk.figure]])[0]
            except InputError as exc:
                job.notes.append(f"a picture is found by caption and context only: {exc}")
        return vectors
