from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from llama_index.core.base.response.schema import Response
from llama_index.core.query_engine import RetrieverQueryEngine

from rag_pipeline.answering.extractive import ExtractiveSynthesizer
from rag_pipeline.answering.query_engine import answer_of, build_query_engine
from rag_pipeline.retrieval.rerank import BgeReranker
from rag_pipeline.retrieval.retriever import HybridRetriever
from rag_pipeline.store.payload import payload_of
from rag_pipeline.types import Chunk, Place, Point, document_id
from tests.fakes import HashEncoder, MemoryStore, OverlapReranker

TEXTS = {
    "warranty.md": "Keep the receipt. The warranty lasts two years.",
    "buoy.md": "The buoy is yellow. It floats.",
}


@pytest.fixture
def engine() -> RetrieverQueryEngine:
    store, encoder = MemoryStore(), HashEncoder()
    for name, text in TEXTS.items():
        end = 7 + len(text)
        chunk = Chunk(document_id(name), 0, text, start=7, end=end, places=(Place(7, end, 4),))
        vectors = encoder.encode_passages([text])
        payload = payload_of(chunk, paths=[Path("/docs") / name], media_type="text/markdown", title="")
        store.upsert([Point(chunk.id, {"dense": vectors.dense[0], "sparse": vectors.sparse[0]}, payload)])
    reranker = OverlapReranker()
    return build_query_engine(
        HybridRetriever(store, encoder, top_k=2),
        ExtractiveSynthesizer(encoder=encoder, reranker=reranker, max_sentences=1),
        [BgeReranker(reranker=reranker, depth=2, top_n=2)],
    )


def test_from_a_question_to_a_cited_answer(engine: RetrieverQueryEngine) -> None:
    response = engine.query("how long does the warranty last, two years?")
    answer = answer_of(response)
    assert str(response) == answer.text == "The warranty lasts two years. [1]"
    (citation,) = answer.citations
    assert (citation.path, citation.page, citation.quote) == ("/docs/warranty.md", 4, "The warranty lasts two years.")
    assert (citation.start, citation.end) == (7 + 18, 7 + 47)
    assert list(answer.timings_ms) == ["encode", "search", "fuse", "fetch", "rerank", "answer"]
    assert all(ms >= 0 for ms in answer.timings_ms.values())


def test_async_gives_the_same(engine: RetrieverQueryEngine) -> None:
    answer = answer_of(asyncio.run(engine.aquery("how long does the warranty last, two years?")))
    assert answer.text == "The warranty lasts two years. [1]"
    assert "rerank" in answer.timings_ms


def test_each_query_is_timed_alone(engine: RetrieverQueryEngine) -> None:
    first, second = (answer_of(engine.query("the warranty")).timings_ms for _ in range(2))
    assert second is not first
    assert second["answer"] < 2 * first["answer"] + 1000


def test_the_response_of_another_synthesizer_carries_no_answer() -> None:
    with pytest.raises(ValueError, match="carries no Answer"):
        answer_of(Response("made up"))
