from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from rag_pipeline.errors import ConfigError, InputError
from rag_pipeline.filters import Condition, Filter
from rag_pipeline.retrieval.evidence import evidence_of
from rag_pipeline.retrieval.fusion import Method
from rag_pipeline.retrieval.retriever import HybridRetriever
from rag_pipeline.retrieval.trace import Trace
from rag_pipeline.store.metadata_filters import FilterLike
from rag_pipeline.store.payload import payload_of
from rag_pipeline.types import Box, Chunk, Place, Point, document_id
from tests.fakes import HashEncoder, MemoryStore, WordImageEncoder

TEXTS = {
    "warranty.md": "The warranty lasts two years.",
    "buoy.md": "The buoy floats on the lake. The buoy is yellow, and two metres high.",
    "harbour.md": "Konstanz has a harbour.",
}


def chunk_of(name: str, text: str) -> Chunk:
    return Chunk(
        document_id=document_id(name), position=0, text=text, start=5, end=5 + len(text), heading=("Guide", "Facts"),
        places=(Place(5, 9, 3, Box(3, 0.1, 0.2, 0.3, 0.4)),), tables=("<table></table>",), language="en",
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


def test_hybrid_fuses_both_legs(retriever: HybridRetriever) -> None:
    first, second = retriever.search("the warranty lasts")
    assert first.node.metadata["file_name"] == "warranty.md"
    assert first.node.metadata["legs"]["dense"]["rank"] == 1
    assert first.node.metadata["legs"]["sparse"]["rank"] == 1
    assert first.score == pytest.approx(sum(leg["adds"] for leg in first.node.metadata["legs"].values()))
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
    assert nodes[0].node.metadata["legs"] == {leg: {"rank": 1, "score": hits[0].score, "adds": 0.0}}


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
    assert set(evidence.legs) == {"dense", "sparse"}
    assert evidence.score == pytest.approx(sum(leg.adds for leg in evidence.legs.values()))
    assert evidence.logit is None


def test_neither_an_embedding_nor_an_llm_sees_the_legs(retriever: HybridRetriever) -> None:
    node = retriever.search("warranty")[0].node
    assert "rank" not in node.get_content(MetadataMode.EMBED)
    assert "rank" not in node.get_content(MetadataMode.LLM)


@pytest.mark.parametrize(
    "filters",
    [
        {"file_name": "harbour.md"},
        "path=harb*.md",
        Filter(none=(Condition("file_name", "in", ("warranty.md", "buoy.md")),)),
        MetadataFilters(filters=[MetadataFilter(key="file_name", value="harbour.md")]),
    ],
)
def test_filters_reach_the_engine_in_every_form(retriever: HybridRetriever, filters: FilterLike) -> None:
    def names(nodes: list[NodeWithScore]) -> list[str]:
        return [node.node.metadata["file_name"] for node in nodes]

    assert names(retriever.search("warranty", filters=filters)) == ["harbour.md"]
    assert [names(nodes) for nodes in retriever.search_many(["warranty", "lake"], filters=filters)] == [
        ["harbour.md"],
        ["harbour.md"],
    ]
    limited = retriever.with_filters(filters)
    assert names(limited.retrieve("warranty")) == ["harbour.md"]
    assert names(limited.search("warranty", filters="path=buoy.md")) == [], "its own filters hold, too"
    assert len(retriever.search("warranty")) == 2, "the first one is as it was"
    with pytest.raises(ConfigError, match="cannot be saved"):
        limited.to_dict()


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


@pytest.fixture
def gallery(store: MemoryStore) -> HybridRetriever:
    """Three texts, and pictures of a buoy and of a harbour, without a word about them."""
    images = WordImageEncoder()
    for word in ("buoy", "harbour"):
        chunk = chunk_of(f"{word}.png", f"Untitled {len(word)}")
        payload = payload_of(chunk, paths=[Path(f"/docs/{word}.png")], media_type="image/png", title="")
        store.upsert([Point(chunk.id, {"image": images.encode_images([word.encode()])[0]}, payload)])
    return HybridRetriever(store, HashEncoder(), image_encoder=images, top_k=5)


def test_words_and_a_picture_ask_together(gallery: HybridRetriever) -> None:
    nodes = {node.node.metadata["file_name"]: node for node in gallery.search("two years", image=b"harbour")}
    assert nodes["harbour.png"].node.metadata["legs"]["image"]["score"] == pytest.approx(1.0)
    assert nodes["buoy.png"].node.metadata["legs"]["image"]["rank"] == 2
    assert nodes["warranty.md"].node.metadata["legs"]["dense"]["rank"] == 1


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_a_leg_of_text_has_no_place_for_a_picture(gallery: HybridRetriever, mode: str) -> None:
    with pytest.raises(ConfigError, match=f"mode '{mode}' has no place for a picture"):
        gallery.search("buoy", image=b"buoy", mode=mode)  # type: ignore[arg-type]


def test_the_image_leg_looks_for_words_or_for_a_picture(gallery: HybridRetriever) -> None:
    with pytest.raises(ConfigError, match="words or for a picture, not both"):
        gallery.search("buoy", image=b"buoy", mode="image")


def test_llama_indexs_query_bundle_may_hold_a_picture(gallery: HybridRetriever, tmp_path: Path) -> None:
    (tmp_path / "buoy.png").write_bytes(b"buoy")
    found = gallery.retrieve(QueryBundle("", image_path=str(tmp_path / "buoy.png")))
    assert found[0].node.metadata["file_name"] == "buoy.png"
    with pytest.raises(InputError, match=r"cannot read picture .*gone\.png"):
        gallery.retrieve(QueryBundle("", image_path=str(tmp_path / "gone.png")))


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
    assert (trace.query, trace.mode, trace.picture) == ("two years", "hybrid", False)
    assert (trace.legs, trace.leg_depth, trace.exact) == ({"dense": 3, "sparse": 2}, 100, True)
    assert trace.formula
    assert [one.id for one in trace.ranked() if one.final] == [node.node.node_id for node in nodes]
    first, second, third = trace.ranked()
    assert (first.place, first.cut) == ("/docs/warranty.md, page 3", "")
    assert (third.final, third.cut) == (None, "beyond rank 2 of the search")
    for one in (first, second, third):
        assert one.score == pytest.approx(sum(leg.adds for leg in one.legs.values()))


def test_a_trace_says_what_was_deleted_meanwhile() -> None:
    class Forgetful(MemoryStore):
        def retrieve(self, ids: object, *, with_vectors: bool = False) -> list[object]:  # type: ignore[override]
            return []

    forgetful, encoder, trace = Forgetful(), HashEncoder(), Trace()
    vectors = encoder.encode_passages(["gone"])
    forgetful.upsert([Point("00000000-0000-0000-0000-000000000000", {"dense": vectors.dense[0]}, {})])
    HybridRetriever(forgetful, encoder).search("gone", mode="dense", trace=trace)
    assert [(one.final, one.cut) for one in trace.ranked()] == [(None, "deleted since the search")]


def test_above_the_threshold_search_is_approximate(store: MemoryStore) -> None:
    trace = Trace()
    HybridRetriever(store, HashEncoder(), exact_below=2).search("two years", mode="dense", trace=trace)
    assert (trace.exact, trace.formula) == (False, None)


def test_many_queries_give_what_each_gives_alone_in_one_request(store: MemoryStore, retriever: HybridRetriever) -> None:
    def shown(nodes: list[NodeWithScore]) -> list[object]:
        return [(node.node.node_id, node.score, node.node.metadata["legs"]) for node in nodes]

    queries = ["two years", "???", "yellow buoy", "two years"]
    alone = [shown(retriever.search(query)) for query in queries]
    store.searches = 0
    store.retrieved.clear()
    assert [shown(nodes) for nodes in retriever.search_many(queries)] == alone
    assert store.searches == 1
    assert len(store.retrieved) == len(set(store.retrieved)), "a payload that several queries found is fetched once"
    assert retriever.search_many([]) == []
    assert [len(nodes) for nodes in retriever.search_many(["buoy", "lake"], top_k=1, mode="sparse")] == [1, 1]
    with pytest.raises(InputError, match="query is blank"):
        retriever.search_many(["buoy", " "])


def test_late_interaction_is_a_leg_of_the_hybrid_alone(store: MemoryStore) -> None:
    encoder = HashEncoder(late=True)
    for point in list(store.points.values()):
        store.upsert([Point(point.id, encoder.encode_passages([str(point.payload["text"])]).legs(0), point.payload)])
    retriever = HybridRetriever(store, encoder)
    best = retriever.search("the warranty lasts")[0].node.metadata
    assert best["file_name"] == "warranty.md"
    # MaxSim: each of the three words has its equal there.
    assert (best["legs"]["late"]["rank"], best["legs"]["late"]["score"]) == (1, 3.0)
    assert set(retriever.search("the warranty lasts", mode="dense")[0].node.metadata["legs"]) == {"dense"}


def test_few_are_the_first_of_many(store: MemoryStore) -> None:
    """With a depth of 1 each leg finds one passage, however many are asked for."""
    few = HybridRetriever(store, HashEncoder(), leg_depth=1, top_k=1).search("yellow lake warranty")
    many = HybridRetriever(store, HashEncoder(), leg_depth=1, top_k=3).search("yellow lake warranty")
    assert len(many) == 3
    assert [(node.node.node_id, node.score) for node in many[:1]] == [(node.node.node_id, node.score) for node in few]


def test_the_weights_are_those_of_the_language_and_the_trace_says_so(store: MemoryStore) -> None:
    def traced(**given: object) -> Trace:
        trace = Trace()
        HybridRetriever(store, HashEncoder(), languages=["de"], **given).search("lake", trace=trace)  # type: ignore[arg-type]
        return trace

    unknown = traced(model_languages=["en"])
    assert unknown.weights == pytest.approx({"dense": 0.3, "sparse": 0.7})
    assert unknown.formula == (
        "score = sum over legs of weight * (score - mean) / sd; the dense model was not trained on de"
    )
    assert traced(model_languages=["de"]).weights == {"dense": 0.5, "sparse": 0.5}
    assert traced(model_languages=["en"], tuned={"de": 0.2}).weights == pytest.approx({"dense": 0.2, "sparse": 0.8})
    assert traced(weights={"dense": 1.0}).weights == {"dense": 1.0}


@pytest.mark.parametrize(
    ("fusion", "formula"),
    [
        ("rrf", "weight / (60 + rank)"),
        ("convex", "(score - mean) / sd"),
        ("relative", "(score - min) / (max - min)"),
        ("dbsf", "(score - mean + 3 sd) / 6 sd"),
    ],
)
def test_another_fusion_can_be_chosen(store: MemoryStore, fusion: Method, formula: str) -> None:
    trace = Trace()
    first = HybridRetriever(store, HashEncoder(), fusion=fusion).search("the warranty lasts", trace=trace)[0]
    assert first.node.metadata["file_name"] == "warranty.md"
    assert formula in (trace.formula or "")
    assert first.score == pytest.approx(sum(leg["adds"] for leg in first.node.metadata["legs"].values()))
