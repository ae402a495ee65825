"""Documents on their way into the engine: their chunks, encoded in batches of one size.

Enters: jobs, each a document with its chunks and pictures. Leaves: lists of :class:`Share`, points ready to be written;
a batch takes chunks of as many jobs as it needs to be full. This module writes nothing; it knows nothing of files,
parsing, the manifest and the engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.indexing.records import Version
from rag_pipeline.protocols import ImageEncoder, TextEncoder
from rag_pipeline.store.payload import payload_of
from rag_pipeline.types import Attachment, Chunk, Facts, FloatMatrix, Point, SourceFile

__all__ = ["BatchEncoder", "Failed", "Job", "Share"]


@dataclass(eq=False, slots=True)
class Job:
    """A document to be written. ``pictures`` are encoded images by content hash; ``left`` counts unwritten chunks.

    ``facts`` is what the points show of what is said of the document; ``error`` is why it cannot be written after all.
    """

    source: SourceFile
    version: Version
    chunks: Sequence[Chunk]
    pictures: Mapping[str, bytes]
    attachments: Sequence[Attachment] = ()
    notes: list[str] = field(default_factory=list)
    facts: Facts = field(default_factory=Facts)
    left: int = field(init=False)
    error: InputError | None = None

    def __post_init__(self) -> None:
        self.left = len(self.chunks)

    def release(self) -> None:
        """Let go of what was written: a job waits for its commit with its version only."""
        self.chunks, self.pictures = (), {}


@dataclass(frozen=True, slots=True)
class Failed:
    """A file that gave no job, and why."""

    source: SourceFile
    error: InputError | UnavailableError


@dataclass(frozen=True, slots=True)
class Share:
    """What one job has in a batch: so many chunks, and their points or the reason why there are none."""

    job: Job
    chunks: int
    points: Sequence[Point] = ()
    error: InputError | None = None


class BatchEncoder:
    """Encodes ``batch`` chunks at a time; holds at most one batch and the jobs that it has chunks of."""

    def __init__(self, encoder: TextEncoder, image_encoder: ImageEncoder | None, batch: int) -> None:
        self._encoder = encoder
        self._image_encoder = image_encoder
        self._batch = batch

    def batches(self, items: Iterable[Job | Failed]) -> Iterator[list[Share] | Failed]:
        """Yield full batches, and the last one; what has failed goes through."""
        queue: deque[tuple[Job, Chunk]] = deque()
        for item in items:
            if isinstance(item, Failed):
                yield item
                continue
            queue.extend((item, chunk) for chunk in item.chunks)
            del item
            while len(queue) >= self._batch:
                yield self._shares([queue.popleft() for _ in range(self._batch)])
        if queue:
            yield self._shares(list(queue))

    def _shares(self, rows: Sequence[tuple[Job, Chunk]]) -> list[Share]:
        jobs = list(dict.fromkeys(job for job, _ in rows))
        try:
            points = self._points(rows)
        except InputError as exc:
            if len(jobs) == 1:
                return [Share(jobs[0], len(rows), error=exc)]
            # One of them spoils the batch for the others: find out which.
            return [share for job in jobs for share in self._shares([row for row in rows if row[0] is job])]
        shares = []
        for job in jobs:
            own = [point for point, (owner, _) in zip(points, rows, strict=True) if owner is job]
            shares.append(Share(job, len(own), own))
        return shares

    def _points(self, rows: Sequence[tuple[Job, Chunk]]) -> list[Point]:
        chunks = [chunk for _, chunk in rows]
        text = self._encoder.encode_passages(
            [chunk.embed_text for chunk in chunks], [chunk.language for chunk in chunks]
        )
        images = self._image_vectors(rows)
        points = []
        for row, (job, chunk) in enumerate(rows):
            vectors = text.legs(row)
            if row in images:
                vectors["image"] = images[row]
            version = job.version
            payload = payload_of(
                chunk, paths=version.paths, media_type=version.media_type, title=version.title, facts=job.facts
            )
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
