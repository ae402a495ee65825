"""A judged set and the parts of a pipeline -> one row of measures per mode, and TREC runs.

The passages go into a real engine of their own, in a temporary folder, one point each: what is measured is the
retriever and reranker that users get. A passage over the encoder's limit is truncated, which is what the published
figures do too; ingestion never does that. Dense search is exact.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import ir_measures
from ir_measures import RR, R, nDCG
from llama_index.core.schema import QueryBundle

from rag_pipeline.config import Settings
from rag_pipeline.encoders.languages import trained_languages
from rag_pipeline.errors import ConfigError
from rag_pipeline.evaluation.beir import JudgedSet
from rag_pipeline.language import detect_language
from rag_pipeline.protocols import Reranker, TextEncoder
from rag_pipeline.retrieval.rerank import BgeReranker
from rag_pipeline.retrieval.retriever import HybridRetriever
from rag_pipeline.store.edge import EdgeStore
from rag_pipeline.store.payload import payload_of
from rag_pipeline.store.schema import CollectionSchema, Fingerprint
from rag_pipeline.types import Chunk, Mode, Point, document_id

__all__ = ["MEASURES", "EvalMode", "Row", "evaluate", "parse_modes"]

EvalMode = Literal["dense", "sparse", "hybrid", "hybrid+rerank"]
Run = dict[str, list[str]]
Progress = Callable[[str, int, int], None]

MEASURES = {"nDCG@10": nDCG @ 10, "R@10": R @ 10, "R@100": R @ 100, "MRR@10": RR @ 10}
_DEPTH = 100
_BATCH = 64
_SAMPLE = 50
"""Passages from which the language of a set is told, as ingestion tells a document's from all its text."""


@dataclass(frozen=True, slots=True)
class Row:
    """The measures of one mode, means over all judged queries; a query without hits counts as zero."""

    mode: EvalMode
    queries: int
    measures: Mapping[str, float]
    seconds: float


def parse_modes(names: str, *, can_rerank: bool) -> list[EvalMode]:
    """Read comma-separated modes; an empty string means every mode that the profile has.

    >>> parse_modes("", can_rerank=False)
    ['dense', 'sparse', 'hybrid']

    Raises:
        ConfigError: a mode is unknown, or needs a reranker that the profile does not have.
    """
    known = [mode for mode in get_args(EvalMode) if can_rerank or mode != "hybrid+rerank"]
    chosen = [name.strip() for name in names.split(",") if name.strip()] or known
    for name in chosen:
        if name == "hybrid+rerank" and not can_rerank:
            raise ConfigError("mode 'hybrid+rerank' needs a reranker, this profile has none; use configs/compact.yaml")
        if name not in known:
            raise ConfigError(f"unknown mode {name!r}; choose from {', '.join(known)}")
    return cast("list[EvalMode]", chosen)


def evaluate(
    judged: JudgedSet,
    settings: Settings,
    encoder: TextEncoder,
    reranker: Reranker | None,
    modes: Sequence[EvalMode],
    *,
    run_dir: Path | None = None,
    on_progress: Progress = lambda stage, done, total: None,
) -> list[Row]:
    """Index the passages, run every query in every mode, and measure.

    ``on_progress`` is called with (stage, done, total). With ``run_dir``, one TREC run per mode is written there.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="rag-eval-") as folder:
        schema = CollectionSchema.of(
            dense_dim=encoder.dim, sparse_idf=encoder.sparse_needs_idf, image_dim=None, late=encoder.late
        )
        fingerprint = Fingerprint(text=encoder.fingerprint, sparse="", image="", chunking="whole passages")
        with EdgeStore.open(Path(folder), schema, fingerprint, create=True) as store:
            names = {}
            language = detect_language(" ".join(list(judged.passages.values())[:_SAMPLE]))
            for points in _points(judged, encoder, language, on_progress):
                store.upsert(list(points.values()))
                names.update({point.id: name for name, point in points.items()})
            store.flush()
            retriever = HybridRetriever(
                store,
                encoder,
                top_k=_DEPTH,
                leg_depth=_DEPTH,
                fusion=settings.search.fusion,
                weights=settings.search.weights,
                rrf_k=settings.search.rrf_k,
                exact_below=len(names),
                languages=[language] if language else None,
                model_languages=trained_languages(settings.text.model, settings.text.path),
            )
            postprocessor = _postprocessor(reranker, settings, language)
            for mode in modes:
                started = time.perf_counter()
                run = _run(judged, retriever, postprocessor, mode, names, on_progress)
                seconds = time.perf_counter() - started
                rows.append(Row(mode, len(judged.queries), _measure(judged, run), seconds))
                if run_dir is not None:
                    _write_trec(run_dir / f"{judged.name}.{mode}.trec", run, f"{settings.profile}.{mode}")
    return rows


def _points(
    judged: JudgedSet, encoder: TextEncoder, language: str, on_progress: Progress
) -> Iterator[dict[str, Point]]:
    """Encode the passages that have text, in batches, into the points that ingestion would make, by judged id."""
    named = [(name, text) for name, text in judged.passages.items() if text]
    for start in range(0, len(named), _BATCH):
        batch = named[start : start + _BATCH]
        texts = [text for _, text in batch]
        vectors = encoder.encode_passages(texts, [language] * len(texts), truncate=True)
        chunks = [Chunk(document_id(name), 0, text, 0, len(text), language=language) for name, text in batch]
        yield {
            name: Point(
                chunk.id,
                vectors.legs(i),
                payload_of(chunk, paths=[Path(name)], media_type="text/plain", title=""),
            )
            for i, (chunk, (name, _)) in enumerate(zip(chunks, batch, strict=True))
        }
        on_progress("passages", start + len(batch), len(named))


def _run(
    judged: JudgedSet,
    retriever: HybridRetriever,
    postprocessor: BgeReranker | None,
    mode: EvalMode,
    names: Mapping[str, str],
    on_progress: Progress,
) -> Run:
    leg: Mode = "hybrid" if mode == "hybrid+rerank" else mode
    run: Run = {}
    for done, (query, text) in enumerate(judged.queries.items(), start=1):
        nodes = retriever.search(text, mode=leg)
        if mode == "hybrid+rerank":
            assert postprocessor is not None
            nodes = postprocessor.postprocess_nodes(nodes, QueryBundle(text))
        run[query] = [names[node.node.node_id] for node in nodes]
        on_progress(mode, done, len(judged.queries))
    return run


def _postprocessor(reranker: Reranker | None, settings: Settings, language: str) -> BgeReranker | None:
    chosen = settings.reranker
    if reranker is None or chosen is None:
        return None
    return BgeReranker(
        reranker=reranker,
        depth=chosen.depth,
        blend=chosen.blend,
        documents=(language,) if language else (),
        languages=trained_languages(chosen.model, chosen.path),
    )


def _measure(judged: JudgedSet, run: Run) -> dict[str, float]:
    scored = {
        query: {passage: float(-rank) for rank, passage in enumerate(ranked)} or {"": 0.0}
        for query, ranked in run.items()
    }
    values = ir_measures.calc_aggregate(list(MEASURES.values()), judged.qrels, scored)
    return {name: float(values[measure]) for name, measure in MEASURES.items()}


def _write_trec(path: Path, run: Run, tag: str) -> None:
    """Write ``query Q0 passage rank score tag`` lines; the score is 1/rank, as a run is an order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lines:
        for query, ranked in run.items():
            for rank, passage in enumerate(ranked, start=1):
                lines.write(f"{query} Q0 {passage} {rank} {1 / rank:.6f} {tag}\n")
