"""What ``benchmarks/ingest.py memory`` looks at: one long ingestion, in a process of its own.

    python benchmarks/ingest_memory.py FOLDER WORDS

The vectors are made by no model: words are counted and hashed. All the rest is real.
"""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag_pipeline import RagPipeline
from rag_pipeline.config import ChunkingSettings, load_settings
from rag_pipeline.types import SparseVector, TextVectors

COMPACT = Path(__file__).parent.parent / "configs" / "compact.yaml"


class HashVectors:
    """A TextEncoder without a model: tokens are words, a vector is the sum of two of 4,096 that are stored."""

    fingerprint, dim, max_tokens, sparse_needs_idf, late = "hashed-words", 384, 512, True, False

    def __init__(self) -> None:
        self._stored = np.random.default_rng(0).normal(size=(4096, self.dim)).astype(np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words, and two for special tokens."""
        return [len(text.split()) + 2 for text in texts]

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[str] | None = None, *, truncate: bool = False
    ) -> TextVectors:
        """Look vectors up by the text's hash; the sparse ones are true counts of words."""
        codes = np.array([zlib.crc32(text.encode("utf-8", "replace")) for text in texts])
        dense = self._stored[codes % 4096] + self._stored[codes // 4096 % 4096]
        words = [Counter(zlib.crc32(word.encode("utf-8", "replace")) for word in text.split()) for text in texts]
        sparse = tuple(SparseVector.from_weights({code: float(n) for code, n in one.items()}) for one in words)
        return TextVectors(dense / np.linalg.norm(dense, axis=1, keepdims=True), sparse)

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> TextVectors:
        """As passages."""
        return self.encode_passages(texts)


def write_library(docs: Path, chunks: int, words: int) -> None:
    """Write files of 200 paragraphs, each of which becomes one chunk."""
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"w{word:x}" for word in rng.integers(0, 2**24, 20_000)])
    docs.mkdir()
    for start in range(0, chunks, 200):
        rows = rng.zipf(1.3, size=(min(200, chunks - start), words)) % len(vocabulary)
        text = "\n\n".join("The " + " ".join(vocabulary[row]) + "." for row in rows)
        (docs / f"{start // 200:05d}.txt").write_text(text)


def fill(place: Path, words: int) -> None:
    """Ingest ``docs`` in a folder; ``written`` there always holds the number of points written so far."""
    written = np.memmap(place / "written", dtype=np.int64, mode="r+", shape=1)
    chunking = ChunkingSettings(max_tokens=words + 8, heading_tokens=0)
    with RagPipeline(load_settings(COMPACT, index=place / "index", chunking=chunking)) as rag:
        rag.__dict__["encoder"] = HashVectors()  # in the place of the one that is built on first use
        store: Any = rag.open_store(create=True)
        upsert = store.upsert

        def counted(points: Sequence[Any]) -> None:
            upsert(points)
            written[0] += len(points)

        store.upsert = counted
        rag.ingest(place / "docs")


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
