"""Small passages are found, larger ones are read: what is added stays a verbatim slice of the document's text."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, TextNode

from rag_pipeline.answering.citations import cite
from rag_pipeline.documents.chunk import chunk_document, document_text
from rag_pipeline.errors import ConfigError
from rag_pipeline.retrieval.context import ContextExpander
from rag_pipeline.retrieval.evidence import evidence_of
from rag_pipeline.retrieval.retriever import HybridRetriever
from rag_pipeline.retrieval.trace import Trace, tracing
from rag_pipeline.store.payload import node_of, payload_of
from rag_pipeline.types import Chunk, Context, Element, Place, Point, document_id
from tests.documents.sources import document_of, words
from tests.fakes import HashEncoder, MemoryStore

CARE, RINSE, STORE = ("Manual", "Care"), ("Manual", "Care", "Rinsing"), ("Manual", "Storage")
MANUAL = (
    (CARE, "Wear gloves."),
    (RINSE, "Use clean water."),
    (RINSE, "Dry it."),
    (STORE, "Keep it cool."),
    (STORE, "Leave the cap on."),
)
TEXT = "Wear gloves.\n\nUse clean water.\n\nDry it.\n\nKeep it cool.\n\nLeave the cap on."
"""Offsets: 0-12, 14-30, 32-39, 41-54, 56-73."""


def put(store: MemoryStore, name: str, parts: Sequence[tuple[tuple[str, ...], str]]) -> list[Chunk]:
    """Store a document of these headings and texts, a chunk and a page for each; a word is a token."""
    chunks: list[Chunk] = []
    encoder = HashEncoder()
    for position, (heading, text) in enumerate(parts):
        gap = "\n\n" if chunks else ""
        start = chunks[-1].end + len(gap) if chunks else 0
        end = start + len(text)
        place = Place(start, end, position + 1)
        chunk = Chunk(
            document_id(name), position, text, start, end, heading, (place,), tokens=len(text.split()), gap=gap
        )
        vectors = encoder.encode_passages([chunk.embed_text])
        payload = payload_of(chunk, paths=[Path("/docs") / name], media_type="", title="")
        store.upsert([Point(chunk.id, {"dense": vectors.dense[0], "sparse": vectors.sparse[0]}, payload)])
        chunks.append(chunk)
    return chunks


def found(store: MemoryStore, chunks: Sequence[Chunk]) -> list[NodeWithScore]:
    """Chunks as hits, in this order, with scores 1, 1/2, 1/3, ..."""
    records = store.retrieve([chunk.id for chunk in chunks])
    return [NodeWithScore(node=node_of(one.id, one.payload), score=1 / n) for n, one in enumerate(records, start=1)]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def manual(store: MemoryStore) -> list[Chunk]:
    return put(store, "manual.pdf", MANUAL)


def texts(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [node.node.get_content() for node in nodes]


def test_without_context_nodes_stay_what_they_are(store: MemoryStore, manual: list[Chunk]) -> None:
    nodes = found(store, manual[:2])
    assert ContextExpander(store=store).postprocess_nodes(nodes) == nodes


def test_neighbours_are_the_passage_before_and_the_one_behind(store: MemoryStore, manual: list[Chunk]) -> None:
    (node,) = ContextExpander(store=store, context="neighbours").postprocess_nodes(found(store, [manual[2]]))
    evidence = evidence_of(node, 1)
    assert evidence.text == TEXT[14:54]
    assert (evidence.id, evidence.score, evidence.start) == (manual[2].id, 1.0, 14)
    assert evidence.heading == ("Manual",), "what all of it stands under"
    assert evidence.page == 3, "where the hit is"
    quote = cite(1, evidence, evidence.text.index("clean"), evidence.text.index("clean") + 11)
    assert (quote.quote, quote.page, TEXT[quote.start : quote.end]) == ("clean water", 2, "clean water")
    first, last = (
        ContextExpander(store=store, context="neighbours").postprocess_nodes(found(store, [manual[place]]))[0]
        for place in (0, 4)
    )
    assert texts([first, last]) == [TEXT[:30], TEXT[41:]]


@pytest.mark.parametrize(
    ("hit", "section"),
    [
        (1, TEXT[14:39]),  # shares "Rinsing" with the next one
        (0, TEXT[:39]),  # nothing else stands directly under "Care": its subsections do
        (3, TEXT[41:]),
    ],
)
def test_a_section_is_what_stands_under_the_deepest_heading_that_is_shared(
    store: MemoryStore, manual: list[Chunk], hit: int, section: str
) -> None:
    expander = ContextExpander(store=store, context="section")
    assert texts(expander.postprocess_nodes(found(store, [manual[hit]]))) == [section]


def test_a_section_ends_where_the_passage_is_long_enough(store: MemoryStore, manual: list[Chunk]) -> None:
    whole = put(store, "notes.txt", [((), f"Line {number} of it.") for number in range(9)])  # four tokens each
    (node,) = ContextExpander(store=store, context="section", passage_tokens=15).postprocess_nodes(
        found(store, [whole[4]])
    )
    assert node.node.get_content() == "Line 3 of it.\n\nLine 4 of it.\n\nLine 5 of it."


def test_hits_whose_context_meets_are_one_at_the_better_rank(store: MemoryStore, manual: list[Chunk]) -> None:
    other = put(store, "other.pdf", [((), "Something else.")])
    nodes = found(store, [manual[3], *other, manual[1]])
    with tracing(Trace()) as trace:
        kept = ContextExpander(store=store, context="neighbours", top_n=3).postprocess_nodes(nodes)
    assert texts(kept) == [TEXT, "Something else."]
    assert [node.score for node in kept] == [1.0, 0.5]
    assert evidence_of(kept[0], 1).merged == (manual[1].id,)
    assert trace.candidates[manual[1].id].cut == f"shown with {manual[3].id}"
    assert [candidate.id for candidate in trace.ranked() if candidate.final] == [manual[3].id, other[0].id]


def test_three_hits_become_one_through_the_one_in_the_middle(store: MemoryStore, manual: list[Chunk]) -> None:
    nodes = found(store, [manual[4], manual[0], manual[2]])
    (node,) = ContextExpander(store=store, context="neighbours").postprocess_nodes(nodes)
    assert node.node.get_content() == TEXT
    assert evidence_of(node, 1).merged == (manual[2].id, manual[0].id)


def test_copies_in_other_documents_are_one_hit_with_all_paths(store: MemoryStore) -> None:
    old, new = (put(store, name, [((name,), "The fee is 5 euros."), ((), name)]) for name in ("old.md", "new.md"))
    with tracing(Trace()) as trace:
        nodes = ContextExpander(store=store, top_n=2).postprocess_nodes(found(store, [old[0], new[1], new[0]]))
    best = evidence_of(nodes[0], 1)
    assert (best.id, best.path, best.paths) == (old[0].id, "/docs/old.md", ("/docs/new.md", "/docs/old.md"))
    assert best.merged == (new[0].id,)
    assert texts(nodes) == ["The fee is 5 euros.", "new.md"]
    assert trace.candidates[new[0].id].cut == f"shown with {old[0].id}"


def test_a_copy_makes_room_for_the_next(store: MemoryStore, manual: list[Chunk]) -> None:
    nodes = found(store, manual[:3])
    again = ContextExpander(store=store, top_n=2).postprocess_nodes([nodes[0], nodes[0], nodes[1], nodes[2]])
    assert texts(again) == ["Wear gloves.", "Use clean water."]


def test_the_budget_is_for_hits_first_and_then_for_their_context(store: MemoryStore, manual: list[Chunk]) -> None:
    # Tokens: 2, 3, 2, 3, 4. The hits take 2 + 4; of the 3 that are left, only the passage before the last fits.
    nodes = found(store, [manual[4], manual[0]])
    expander = ContextExpander(store=store, context="neighbours", max_tokens=9)
    assert texts(expander.postprocess_nodes(nodes)) == [TEXT[41:], "Wear gloves."]
    # The first hit leaves 1 token, which is too few for the second and for the third.
    with tracing(Trace()) as trace:
        kept = ContextExpander(store=store, max_tokens=5).postprocess_nodes(
            found(store, [manual[4], manual[1], manual[0]])
        )
    assert texts(kept) == ["Leave the cap on."]
    assert trace.context == "none, 4 of 5 tokens"
    assert trace.candidates[manual[1].id].cut == trace.candidates[manual[0].id].cut == "no room in 5 tokens"
    # A shorter hit may still fit where a better one did not.
    kept = ContextExpander(store=store, max_tokens=6).postprocess_nodes(found(store, [manual[4], manual[1], manual[0]]))
    assert texts(kept) == ["Leave the cap on.", "Wear gloves."]


def test_nodes_of_another_store_pass_unchanged(store: MemoryStore, manual: list[Chunk]) -> None:
    foreign = NodeWithScore(node=TextNode(id_="f", text="From elsewhere."), score=0.4)
    blank = [NodeWithScore(node=TextNode(id_=name, text=" "), score=0.1) for name in "ab"]
    expander = ContextExpander(store=store, context="section", max_tokens=50)
    assert expander.postprocess_nodes([foreign, *blank]) == [foreign, *blank]


def test_the_nodes_that_came_in_are_not_changed(store: MemoryStore, manual: list[Chunk]) -> None:
    nodes = found(store, [manual[2], manual[1]])
    before = [node.model_dump_json() for node in nodes]
    ContextExpander(store=store, context="section").postprocess_nodes(nodes)
    assert [node.model_dump_json() for node in nodes] == before


def test_it_works_in_a_stock_query_engine_over_our_store(store: MemoryStore, manual: list[Chunk]) -> None:
    engine = RetrieverQueryEngine.from_args(
        HybridRetriever(store, HashEncoder(), top_k=1),
        llm=MockLLM(),
        node_postprocessors=[ContextExpander(store=store, context="neighbours")],
    )
    for answer in (engine.query("dry it"), asyncio.run(engine.aquery("dry it"))):
        assert texts(answer.source_nodes) == [TEXT[14:54]]
        assert TEXT[14:54] in str(answer), "what the language model was shown"


def test_it_is_serialised_without_the_store(store: MemoryStore) -> None:
    expander = ContextExpander(store=store, context="section", top_n=4, max_tokens=99)
    data = expander.to_dict()
    assert data["class_name"] == "ContextExpander"
    assert "store" not in data
    assert ContextExpander.from_dict(data, store=store).to_dict() == data
    with pytest.raises(ConfigError, match="pass store="):
        ContextExpander.from_dict(data)


def test_an_index_without_gaps_is_not_joined(store: MemoryStore, manual: list[Chunk]) -> None:
    """What is between two passages of an older index is not known, and nothing is made up."""
    for chunk in manual:
        old = store.points[chunk.id]
        payload = {key: value for key, value in old.payload.items() if key != "gap"}
        store.upsert([Point(chunk.id, old.vectors, payload)])
    assert texts(ContextExpander(store=store, context="section").postprocess_nodes(found(store, [manual[2]]))) == [
        "Dry it."
    ]


def elements() -> st.SearchStrategy[Element]:
    text = st.text(st.sampled_from("ab .\n"), min_size=1, max_size=60).filter(str.strip)
    heading = st.builds(Element, st.sampled_from(["One", "Two"]), st.just("Title"), depth=st.integers(0, 2))
    return st.builds(Element, text, st.just("Text"), st.integers(1, 3)) | heading


@settings(max_examples=60, deadline=None)
@given(
    st.lists(elements(), min_size=1, max_size=12),
    st.data(),
    st.sampled_from(["neighbours", "section"]),
    st.none() | st.integers(5, 60),
)
def test_every_passage_is_a_slice_of_the_document_within_budget_and_nothing_is_shown_twice(
    some: list[Element], data: st.DataObject, context: Context, max_tokens: int | None
) -> None:
    document = document_of(*some)
    text, store = document_text(document), MemoryStore()
    chunks = chunk_document(document, words, max_tokens=16, heading_tokens=4)
    for chunk in chunks:
        store.upsert([Point(chunk.id, {}, payload_of(chunk, paths=[Path("/a.txt")], media_type="", title=""))])
    hits = data.draw(st.lists(st.sampled_from(chunks), unique_by=lambda chunk: chunk.id))
    expander = ContextExpander(store=store, context=context, max_tokens=max_tokens, passage_tokens=40)
    nodes = expander.postprocess_nodes(found(store, hits))
    shown = [evidence_of(node, rank) for rank, node in enumerate(nodes, start=1)]
    seen: set[int] = set()
    for one in shown:
        span = range(one.start, one.start + len(one.text))
        assert text[span.start : span.stop] == one.text
        assert seen.isdisjoint(span)
        seen |= set(span)
    scores = [one.score for one in shown]
    assert scores == sorted(scores, reverse=True)
    used = sum(node.node.metadata["tokens"] for node in nodes)
    assert max_tokens is None or used <= max_tokens
    if max_tokens is None:
        unique = {chunk.text: chunk for chunk in reversed(hits)}
        assert {one.id for one in shown} | {id_ for one in shown for id_ in one.merged} == {chunk.id for chunk in hits}
        assert all(set(range(chunk.start, chunk.end)) <= seen for chunk in unique.values())
