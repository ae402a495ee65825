from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent
from llama_index.core.schema import MetadataMode

from rag_pipeline.errors import ConfigError, InputError
from rag_pipeline.retrieval.evidence import evidence_of
from rag_pipeline.retrieval.retriever import HybridRetriever
from rag_pipeline.retrieval.trace import Trace
from rag_pipeline.store.payload import payload_of
from rag_pipeline.types import Box, Chunk, LegRank, Point, document_id
from tests.fakes import HashEncoder, MemoryStore, WordImageEncoder

TEXTS = {
    "warranty.md": "The warranty lasts two years.",
    "buoy.md": "The buoy floats on the lake. The buoy is yellow, and two metres high.",
    "harbour.md": "Konstanz has a harbour.",
}


def chunk_of(name: str, text: str) -> Chunk:
    return Chunk(
        document_id=document_id(name), position=0, text=text, start=5, end=5 + len(text), heading=("Guide", "Facts"),
        pages=(3,), boxes=(Box(3, 0.1, 0.2, 0.3, 0.4),), tables=("<table></table>",), language="en",
    )  # fmt: skip


@pytest.fixture
def store() -> MemoryStore:
    store, encoder = MemoryStore(), HashEncoder()
    for name, text in TEXTS.items():
        chunk = chunk_of(name, text)
        vectors = encoder.encode_passages([text])
        payload = payload_of(chunk, paths=[Path("/docs") / name], media_type="text/markdown", title="Guide")
        store.upsert([Point(chunk.id, {"dense": vectors.dense[0], "sparse": vectors.sparse[0]}, payload)])
    return store


@pytest.fixture
def retriever(store: MemoryStore) -> HybridRetriever:
    return HybridRetriever(store, HashEncoder(), top_k=2)


def test_hybrid_fuses_both_legs_by_ranks(retriever: HybridRetriever) -> None:
    first, second = retriever.search("the warranty lasts")
    assert first.node.metadata["file_name"] == "warranty.md"
    assert first.node.metadata["legs"]["dense"]["rank"] == 1
    assert first.node.metadata["legs"]["sparse"]["rank"] == 1
    assert first.score == pytest.approx(2 / 61)
    assert second.node.metadata["file_name"] == "buoy.md"


def test_one_search_and_only_the_finalists_payloads(store: MemoryStore, retriever: HybridRetriever) -> None:
    nodes = retriever.search("how long is the warranty?", top_k=1)
    assert store.searches == 1
    assert store.retrieved == [nodes[0].node.node_id]


@pytest.mark.parametrize("leg", ["dense", "sparse"])
def test_a_single_leg_keeps_its_order_and_scores(store: MemoryStore, retriever: HybridRetriever, leg: str) -> None:
    encoded = HashEncoder().encode_queries(["two years"])
    query = encoded.dense[0] if leg == "dense" else encoded.sparse[0]
    hits = store.search({leg: query}, 2)[leg]
    nodes = retriever.search("two years", mode=leg)  # type: ignore[arg-type]
    assert [(node.node.node_id, node.score) for node in nodes] == [(hit.id, hit.score) for hit in hits]
    assert nodes[0].node.metadata["legs"] == {leg: {"rank": 1, "score": hits[0].score}}


def test_llama_index_retrieve_and_aretrieve_agree(retriever: HybridRetriever) -> None:
    nodes = retriever.retrieve("two years")
    found = asyncio.run(retriever.aretrieve("two years"))
    assert [node.node.node_id for node in found] == [node.node.node_id for node in nodes]
    assert len(nodes) == 2


def test_retrieval_events_are_dispatched(retriever: HybridRetriever) -> None:
    seen: list[BaseEvent] = []

    class Keep(BaseEventHandler):
        def handle(self, event: BaseEvent, **kwargs: object) -> None:
            seen.append(event)

    root, keep = get_dispatcher("root"), Keep()
    root.add_event_handler(keep)
    try:
        retriever.retrieve("two years")
    finally:
        root.event_handlers.remove(keep)
    ended = [event for event in seen if isinstance(event, RetrievalEndEvent)]
    assert len(ended[0].nodes) == 2


def test_evidence_carries_text_place_and_legs(retriever: HybridRetriever) -> None:
    evidence = evidence_of(retriever.search("warranty years")[0], rank=1)
    assert evidence.text == TEXTS["warranty.md"]
    assert (evidence.path, evidence.paths) == ("/docs/warranty.md", ("/docs/warranty.md",))
    assert (evidence.page, evidence.start, evidence.heading) == (3, 5, ("Guide", "Facts"))
    assert evidence.boxes == (Box(3, 0.1, 0.2, 0.3, 0.4),)
    assert evidence.legs["dense"] == LegRank(1, evidence.legs["dense"].score)
    assert set(evidence.legs) == {"dense", "sparse"}
    assert evidence.logit is None


def test_neither_an_embedding_nor_an_llm_sees_the_legs(retriever: HybridRetriever) -> None:
    node = retriever.search("warranty")[0].node
    assert "rank" not in node.get_content(MetadataMode.EMBED)
    assert "rank" not in node.get_content(MetadataMode.LLM)


def test_filters_reach_the_engine(retriever: HybridRetriever) -> None:
    nodes = retriever.search("warranty", filters={"file_name": "harbour.md"})
    assert [node.node.metadata["file_name"] for node in nodes] == ["harbour.md"]


@pytest.mark.parametrize("query", ["", "  \n"])
@pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
def test_a_blank_query_is_refused(retriever: HybridRetriever, query: str, mode: str) -> None:
    with pytest.raises(InputError, match="query is blank"):
        retriever.search(query, mode=mode)  # type: ignore[arg-type]


def test_pictures_without_an_image_encoder_are_a_configuration_error(retriever: HybridRetriever) -> None:
    with pytest.raises(ConfigError, match="by caption and context only"):
        retriever.search("a yellow buoy", mode="image")
    with pytest.raises(ConfigError, match="by caption and context only"):
        retriever.search("", image=b"buoy")


def test_with_an_image_encoder_text_and_pictures_find_pictures(store: MemoryStore) -> None:
    images = WordImageEncoder()
    for word in ("buoy", "harbour"):
        chunk = chunk_of(f"{word}.png", f"Figure of a {word}")
        payload = payload_of(chunk, paths=[Path(f"/docs/{word}.png")], media_type="image/png", title="")
        store.upsert([Point(chunk.id, {"image": images.encode_images([word.encode()])[0]}, payload)])
    retriever = HybridRetriever(store, HashEncoder(), image_encoder=images, top_k=1)
    for nodes in (retriever.search("buoy", mode="image"), retriever.search("", image=b"buoy")):
        assert nodes[0].node.metadata["file_name"] == "buoy.png"
        assert nodes[0].score == pytest.approx(1.0)
    assert set(retriever.search("harbour", top_k=9)[-1].node.metadata["legs"]) <= {"dense", "sparse", "image"}
    with pytest.raises(InputError, match="query is blank"):
        retriever.search(" ", mode="image")


def test_a_question_without_terms_is_searched_by_the_other_legs(store: MemoryStore) -> None:
    retriever = HybridRetriever(store, HashEncoder())
    nodes = retriever.search("???")
    assert {leg for node in nodes for leg in node.node.metadata["legs"]} == {"dense"}
    assert retriever.search("???", mode="sparse") == []


def test_a_point_deleted_since_the_search_is_left_out() -> None:
    class Forgetful(MemoryStore):
        def retrieve(self, ids: object, *, with_vectors: bool = False) -> list[object]:  # type: ignore[override]
            return []

    forgetful, encoder = Forgetful(), HashEncoder()
    vectors = encoder.encode_passages(["gone"])
    forgetful.upsert([Point("00000000-0000-0000-0000-000000000000", {"dense": vectors.dense[0]}, {})])
    assert HybridRetriever(forgetful, encoder).search("gone", mode="dense") == []


@pytest.mark.parametrize("languages", [None, [], ["de"], ["de", "en"]])
def test_a_questions_language_is_looked_for_among_the_documents(
    store: MemoryStore, languages: list[str] | None
) -> None:
    encoder = HashEncoder()
    HybridRetriever(store, encoder, languages=languages).search("Wie lange gilt die Garantie für die Boje im See?")
    assert encoder.candidates == set(languages or ())


def test_with_top_k_gives_more_and_leaves_the_first_alone(retriever: HybridRetriever) -> None:
    assert len(retriever.with_top_k(3).retrieve("the")) == 3
    assert len(retriever.retrieve("the")) == 2


def test_a_trace_is_filled(retriever: HybridRetriever) -> None:
    trace = Trace()
    nodes = retriever.search("two years", trace=trace)
    assert list(trace.timings_ms) == ["encode", "search", "fuse", "fetch"]
    assert trace.legs == {"dense": 3, "sparse": 2}
    assert [hit.id for hit in trace.fused] == [node.node.node_id for node in nodes]
    assert (trace.exact, trace.rrf_k) == (True, 60.0)


def test_above_the_threshold_search_is_approximate(store: MemoryStore) -> None:
    trace = Trace()
    HybridRetriever(store, HashEncoder(), exact_below=2).search("two years", mode="dense", trace=trace)
    assert (trace.exact, trace.rrf_k) == (False, None)
