"""Speed of the compact profile's models and of the engine on this machine; medians of several runs.

python benchmarks/speed.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rag_pipeline.config import Settings, load_settings
from rag_pipeline.parts import make_cross_encoder, make_text_encoder
from rag_pipeline.store.edge import EdgeStore
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Point, SparseVector

RUNS = 5
POINTS, DIM, TERMS, VOCABULARY = 10_000, 384, 80, 30_000


def median_seconds(work: Callable[[], object]) -> float:
    """Time ``work`` RUNS times, after one run that is not counted."""
    seconds = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def measure_models(settings: Settings) -> None:
    """Print texts and pairs per second on passages of about 250 tokens."""
    encoder, reranker = make_text_encoder(settings), make_cross_encoder(settings)
    assert reranker is not None
    passages = [f"Passage {i}. " + "The probe measures the turbidity of the water every hour. " * 22 for i in range(64)]
    tokens = statistics.median(encoder.count_tokens(passages))
    seconds = median_seconds(lambda: encoder.encode_passages(passages, ["en"] * len(passages)))
    print(f"{settings.text.model} + BM25: {len(passages) / seconds:.0f} texts/s of {tokens:.0f} tokens")
    query = median_seconds(lambda: encoder.encode_queries(["how often does the probe measure?"], ["en"]))
    print(f"{settings.text.model} + BM25: {query * 1000:.1f} ms for a query")
    seconds = median_seconds(lambda: reranker.score("how often does the probe measure?", passages))
    print(f"{reranker.fingerprint}: {len(passages) / seconds:.0f} pairs/s")


def random_sparse(rng: np.random.Generator) -> SparseVector:
    """Return TERMS random terms."""
    return SparseVector.from_weights({int(i): 1.0 for i in rng.integers(0, VOCABULARY, TERMS)})


def measure_engine(folder: Path) -> None:
    """Print points written per second, and the time of an exact search of two legs."""
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(POINTS, DIM)).astype(np.float32)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    points = [
        Point(str(uuid.UUID(int=i + 1)), {"dense": dense[i], "sparse": random_sparse(rng)}, {"text": f"point {i}"})
        for i in range(POINTS)
    ]
    schema = CollectionSchema.of(dense_dim=DIM, sparse_idf=True)
    with EdgeStore.open(folder, schema, Fingerprint("bench", "bench", "", ""), create=True) as store:
        started = time.perf_counter()
        for start in range(0, POINTS, 64):
            store.upsert(points[start : start + 64])
        store.flush()
        store.optimize()
        print(f"engine: {POINTS / (time.perf_counter() - started):,.0f} points/s written")
        seconds = []
        for row in rng.integers(0, POINTS, 200):
            legs = {"dense": dense[row], "sparse": random_sparse(rng)}
            started = time.perf_counter()
            store.search(legs, 100, exact=True)
            seconds.append(time.perf_counter() - started)
        p50, p95 = np.percentile(seconds, [50, 95]) * 1000
        print(f"engine: two legs over {POINTS:,} points, exact, top 100: p50 {p50:.1f} ms, p95 {p95:.1f} ms")


def main() -> None:
    """Measure models, then engine."""
    measure_models(load_settings())
    with tempfile.TemporaryDirectory() as folder:
        measure_engine(Path(folder))


if __name__ == "__main__":
    main()
