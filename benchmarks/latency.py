"""Latency of a search, encoding excluded, and what the graph misses; beside LlamaIndex's ``QdrantVectorStore``.

    python benchmarks/latency.py [--points 100000] [--other 10000] [--queries 300] [--keep FOLDER]

Both sides get the same points, the same queries and the same vectors for them. Ours is the product's retriever: search
of the legs, fusion, payloads of the best ten. Theirs is ``QdrantVectorStore(enable_hybrid=True)`` over
``QdrantClient(path=...)``, hybrid mode, ten results of a hundred a leg, at the size that it can bear.

The points are made, not measured. Dense, 1024-d: a point is one of 2,000 topics (Zipf-sized, each the sum of a random
one of 50 fields and its own direction, in 96 latent dimensions) plus its own deviation, taken to 1,024 dimensions by a
random projection, plus noise; a query is a point's latent position moved a little. So neighbours are near without being
copies, and spread over topics unevenly, as embeddings of passages do. Sparse: 80 different terms of 100,000, drawn by
Zipf-Mandelbrot (1 / (rank + 5)), with BM25-like weights; a query has 12 terms of a point, the same as in the dense leg.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rag_pipeline.filters import Filter, equalities
from rag_pipeline.retrieval.retriever import HybridRetriever
from rag_pipeline.retrieval.trace import Trace
from rag_pipeline.store.edge import EdgeStore
from rag_pipeline.store.payload import payload_of
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Chunk, FloatMatrix, Point, SparseVector, TextVectors, document_id

DIM, LATENT, TOPICS, FIELDS = 1024, 96, 2000, 50
TERMS, QUERY_TERMS, VOCABULARY = 80, 12, 100_000
TOP_K, DEPTH = 10, 100
FILTERS = {"all": None, "a tenth": equalities({"tenth": 3}), "a hundredth": equalities({"hundredth": 3})}
MADE_BY = Fingerprint(text="made", sparse="made", image="", chunking="")


class Generator:
    """Makes points and queries; the same seed makes the same."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        fields = self.rng.normal(size=(FIELDS, LATENT))
        own = self.rng.normal(size=(TOPICS, LATENT))
        self.topics = fields[self.rng.integers(0, FIELDS, TOPICS)] + own
        self.sizes = _normalized(1 / np.arange(1, TOPICS + 1))
        self.projection = (self.rng.normal(size=(LATENT, DIM)) / np.sqrt(LATENT)).astype(np.float32)
        self.terms = np.cumsum(_normalized(1 / (np.arange(VOCABULARY) + 5)))

    def latent(self, n: int) -> FloatMatrix:
        """Return (n, LATENT) positions of points."""
        topics = self.topics[self.rng.choice(TOPICS, n, p=self.sizes)]
        return (topics + 0.8 * self.rng.normal(size=(n, LATENT))).astype(np.float32)

    def dense(self, latent: FloatMatrix) -> FloatMatrix:
        """Return (n, DIM) float32 unit rows."""
        noise = self.rng.normal(size=(len(latent), DIM)).astype(np.float32)
        rows: FloatMatrix = latent @ self.projection + np.float32(0.3) * noise
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def sparse(self) -> SparseVector:
        """Return the terms of a point."""
        drawn = np.searchsorted(self.terms, self.rng.random(4 * TERMS))
        _, first = np.unique(drawn, return_index=True)
        chosen = np.sort(drawn[np.sort(first)[:TERMS]]).astype(np.uint32)
        return SparseVector(chosen, self.rng.uniform(0.5, 2.2, len(chosen)).astype(np.float32))

    def query_terms(self, point: SparseVector) -> SparseVector:
        """Return some of a point's terms, each of weight 1, as BM25's queries have."""
        chosen = self.rng.choice(point.indices, QUERY_TERMS, replace=False)
        return SparseVector.from_weights({int(term): 1.0 for term in chosen})


def _normalized(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares


@dataclass(frozen=True, slots=True)
class Work:
    """Points in batches, and the queries: text -> vectors."""

    points: list[Point]
    queries: dict[str, TextVectors]


def make_work(points: int, queries: int) -> Work:
    """Make everything in memory; 100,000 points take 2 GB."""
    generator = Generator()
    latent = generator.latent(points)
    dense = np.vstack([generator.dense(latent[start : start + 10_000]) for start in range(0, points, 10_000)])
    sparse = [generator.sparse() for _ in range(points)]
    asked = generator.rng.choice(points, queries, replace=False)
    moved = latent[asked] + np.float32(0.4) * generator.rng.normal(size=(queries, LATENT)).astype(np.float32)
    rows = generator.dense(moved)
    return Work(
        [_point(number, {"dense": dense[number], "sparse": sparse[number]}) for number in range(points)],
        {
            f"query {number}": TextVectors(rows[number : number + 1], (generator.query_terms(sparse[at]),))
            for number, at in enumerate(asked.tolist())
        },
    )


def _point(number: int, vectors: dict[str, Any]) -> Point:
    payload = json.loads(_payload().replace("Passage 0.", f"Passage {number}."))
    groups = {"tenth": number % 10, "hundredth": number % 100}
    return Point(str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))), vectors, payload | groups)


@cache
def _payload() -> str:
    """Return the payload that ingestion would write for a passage of about a thousand characters, as JSON."""
    text = "Passage 0. " + "The probe measures the turbidity of the water every hour. " * 17
    chunk = Chunk(document_id("made"), 0, text, 0, len(text), heading=("Manual", "Measuring"))
    return json.dumps(payload_of(chunk, paths=[Path("/docs/manual.pdf")], media_type="application/pdf", title=""))


class Looked:
    """A TextEncoder whose vectors are looked up: encoding is not what is measured."""

    fingerprint, dim, max_tokens, sparse_needs_idf, late = "made", DIM, 512, True, False

    def __init__(self, queries: dict[str, TextVectors]) -> None:
        self._queries = queries

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words."""
        return [len(text.split()) for text in texts]

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[str] | None = None, *, truncate: bool = False
    ) -> TextVectors:
        """Passages come with their vectors."""
        raise NotImplementedError

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> TextVectors:
        """Return what was made for these."""
        found = [self._queries[text] for text in texts]
        return TextVectors(np.vstack([one.dense for one in found]), tuple(one.sparse[0] for one in found))


def open_index(folder: Path, points: Sequence[Point]) -> EdgeStore:
    """Return an index of these points, made where it is not there yet."""
    schema = CollectionSchema.of(dense_dim=DIM, sparse_idf=True)
    schema = CollectionSchema(schema.legs, {"tenth": "integer", "hundredth": "integer"})
    store = EdgeStore.open(folder, schema, MADE_BY, create=True)
    if store.count() < len(points):
        started = time.perf_counter()
        for start in range(0, len(points), 256):
            store.upsert(points[start : start + 256])
            if start % 25_600 == 0:
                _say(f"{start} of {len(points)} points, {time.perf_counter() - started:.0f} s")
        store.flush()
        _say(f"points written in {time.perf_counter() - started:.0f} s; building the graph")
        started = time.perf_counter()
        store.optimize()
        _say(f"graph built in {time.perf_counter() - started:.0f} s")
    return store


def times_of(run: Callable[[str], object], queries: Sequence[str]) -> list[float]:
    """Return milliseconds of each query of the second half; the first half warms up: its pages are read from disk."""
    warm, counted = queries[: len(queries) // 2], queries[len(queries) // 2 :]
    for query in warm:
        run(query)
    took = []
    for query in counted:
        started = time.perf_counter()
        run(query)
        took.append((time.perf_counter() - started) * 1000)
    return took


def recall(store: EdgeStore, work: Work, filters: Filter | None = None) -> float:
    """Return the mean share of the dense leg's ten nearest, found exactly, that the graph finds among its ten."""
    shares = []
    for vectors in work.queries.values():
        legs = {"dense": vectors.dense[0]}
        near, found = (
            {hit.id for hit in store.search(legs, DEPTH, filters=filters, exact=exact)["dense"][:TOP_K]}
            for exact in (True, False)
        )
        shares.append(len(near & found) / len(near))
    return statistics.fmean(shares)


def measure_ours(store: EdgeStore, work: Work, *, exact_below: int) -> tuple[list[float], dict[str, float]]:
    """Return milliseconds of each query, and the median of each step."""
    retriever = HybridRetriever(
        store, Looked(work.queries), top_k=TOP_K, leg_depth=DEPTH, exact_below=exact_below, languages=["en"]
    )
    took = times_of(retriever.search, list(work.queries))
    traces = [Trace() for _ in took]
    for query, trace in zip(work.queries, traces, strict=False):
        retriever.search(query, trace=trace)
    steps = {step: statistics.median(trace.timings_ms[step] for trace in traces) for step in traces[0].timings_ms}
    return took, steps


def measure_theirs(folder: Path, work: Work, points: Sequence[Point]) -> list[float]:
    """Fill LlamaIndex's store with the same points and return milliseconds of each query."""
    import warnings

    from llama_index.core.schema import BaseNode, TextNode
    from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
    from llama_index.vector_stores.qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient

    warnings.simplefilter("ignore")  # it warns of more than 20,000 points, and of payload indexes that do nothing
    vectors: dict[str, Any] = {str(point.payload["text"]): point.vectors for point in points}
    vectors |= {query: made.legs(0) for query, made in work.queries.items()}

    def sparse_of(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
        found = [vectors[text]["sparse"] for text in texts]
        return [one.indices.tolist() for one in found], [one.values.tolist() for one in found]

    client = QdrantClient(path=str(folder))
    store = QdrantVectorStore(
        "bench", client=client, enable_hybrid=True, sparse_doc_fn=sparse_of, sparse_query_fn=sparse_of
    )
    for start in range(0, len(points), 1000):
        _say(f"theirs: {start} of {len(points)} points")
        nodes: list[BaseNode] = []
        for point in points[start : start + 1000]:
            text = str(point.payload["text"])
            nodes.append(TextNode(id_=point.id, text=text, embedding=vectors[text]["dense"].tolist()))
        store.add(nodes)

    def run(query: str) -> object:
        return store.query(
            VectorStoreQuery(
                query_embedding=work.queries[query].dense[0].tolist(),
                query_str=query,
                mode=VectorStoreQueryMode.HYBRID,
                similarity_top_k=DEPTH,
                sparse_top_k=DEPTH,
                hybrid_top_k=TOP_K,
            )
        )

    took = times_of(run, list(work.queries)[:60])
    client.close()
    return took


def _say(text: str) -> None:
    print(text, flush=True)


def _row(name: str, points: int, took: Sequence[float], more: str = "") -> str:
    p50, p95 = np.percentile(took, [50, 95])
    return f"| {name} | {points:,} | {len(took)} | {p50:.1f} | {p95:.1f} | {more} |"


def main() -> None:
    """Measure and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--other", type=int, default=10_000, help="points that LlamaIndex's store is given; 0: none")
    parser.add_argument("--queries", type=int, default=600, help="of which half is counted")
    parser.add_argument("--keep", type=Path, help="a folder for the index, used again where it is there")
    chosen = parser.parse_args()
    work = make_work(chosen.points, chosen.queries)
    gc.freeze()  # or every search would look through these points for garbage
    _say("points made")
    rows = []
    with tempfile.TemporaryDirectory() as aside:
        with open_index((chosen.keep or Path(aside)) / f"{chosen.points}", work.points) as store:
            took, steps = measure_ours(store, work, exact_below=50_000)
            rows.append(_row("rag_pipeline, hybrid", chosen.points, took, _listed(steps)))
            for name, filters in FILTERS.items():
                _say(f"recall@10 of the graph, {name} of the points: {recall(store, work, filters):.4f}")
        if chosen.other:
            few = work.points[: chosen.other]
            with open_index(Path(aside) / "few", few) as store:
                ours, steps = measure_ours(store, work, exact_below=50_000)
            theirs = measure_theirs(Path(aside) / "theirs", work, few)
            ratio = statistics.median(theirs) / statistics.median(ours)
            rows.append(_row("rag_pipeline, hybrid, exact", len(few), ours, _listed(steps)))
            rows.append(_row("LlamaIndex QdrantVectorStore(path)", len(few), theirs, f"{ratio:.0f} times ours"))
    print("\n| side | points | queries | p50 ms | p95 ms | |\n|---|---|---|---|---|---|")
    print("\n".join(rows))


def _listed(steps: dict[str, float]) -> str:
    return ", ".join(f"{name} {ms:.1f}" for name, ms in steps.items())


if __name__ == "__main__":
    main()
