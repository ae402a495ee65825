"""Our parts inside stock LlamaIndex: query engines, routers, chats, events. The compact profile's true weights find.

The language model is scripted: it proves what is asked of it, and what is made of its replies, not what one would say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.response.schema import Response, StreamingResponse
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.span import SimpleSpan
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import RetrieverQueryEngine, RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import MetadataMode
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool

from rag_pipeline import RagPipeline
from rag_pipeline.answering.generative import GenerativeSynthesizer
from rag_pipeline.answering.query_engine import answer_of, build_query_engine
from rag_pipeline.retrieval.trace import Trace, tracing
from tests.otter import OFFICE, WARRANTY
from tests.scripted_llm import ScriptedLLM


@pytest.fixture
def rag(otter_index: RagPipeline) -> RagPipeline:
    return otter_index


def names(nodes: list[Any]) -> list[str]:
    return [Path(str(node.metadata["path"])).name for node in nodes]


# ------------------------------------------------------------------------------------- query engines


def test_three_lines_make_a_query_engine(rag: RagPipeline) -> None:
    llm = ScriptedLLM(replies={"Context information is below": "Thirty months."})
    engine = RetrieverQueryEngine.from_args(rag.retriever, llm=llm)
    response = engine.query(WARRANTY)
    assert str(response) == "Thirty months."
    assert names(response.source_nodes)[0] == "warranty.md"
    (prompt,) = llm.prompts
    assert "warranty.md\nWarranty\nWarranty" in prompt, "a model is told where a passage stands"
    assert "rank" not in prompt, "and not how it was found"


def test_a_router_sends_a_question_to_our_engine(rag: RagPipeline) -> None:
    llm = ScriptedLLM(replies={"Some choices are given below": '[{"choice": 2, "reason": "it is about the office"}]'})
    other = ScriptedLLM(replies={})
    router = RouterQueryEngine(
        selector=LLMSingleSelector.from_defaults(llm=llm),
        query_engine_tools=[
            QueryEngineTool.from_defaults(
                RetrieverQueryEngine.from_args(rag.retriever, llm=other), description="Writes poems."
            ),
            QueryEngineTool.from_defaults(rag.query_engine, description="Quotes the house's documents."),
        ],
        llm=llm,
    )
    response = router.query(OFFICE)
    assert response.metadata is not None
    assert response.metadata["selector_result"].ind == 1
    (citation,) = answer_of(response).citations
    assert "opens at nine" in citation.quote
    assert other.prompts == []


def test_sub_questions_are_answered_at_once_and_joined(rag: RagPipeline) -> None:
    items = [{"sub_question": question, "tool_name": "house"} for question in (WARRANTY, OFFICE)]
    llm = ScriptedLLM(
        replies={
            "Given a user question, and a list of tools": f"```json\n{json.dumps({'items': items})}\n```",
            "Context information is below": "Thirty months, and at nine.",
        }
    )
    tool = QueryEngineTool.from_defaults(rag.query_engine, name="house", description="Quotes the house's documents.")
    engine = SubQuestionQueryEngine(
        question_gen=LLMQuestionGenerator.from_defaults(llm=llm),
        response_synthesizer=get_response_synthesizer(llm=llm),
        query_engine_tools=[tool],
        use_async=True,
        verbose=False,
    )
    response = asyncio.run(engine.aquery(f"{WARRANTY} {OFFICE}"))
    assert str(response) == "Thirty months, and at nine."
    joined = llm.prompts[-1]
    assert joined.count("Sub question:") == 2
    assert "lasts thirty months. [1]" in joined
    assert "opens at nine in the morning. [1]" in joined
    assert {"warranty.md", "office.md"} <= {
        Path(node.metadata["path"]).name for node in response.source_nodes if "path" in node.metadata
    }


# --------------------------------------------------------------------------------------------- chats


def memory() -> ChatMemoryBuffer:
    """A memory of its own: LlamaIndex's default one leaves SQLite connections open."""
    return ChatMemoryBuffer.from_defaults(token_limit=2000, tokenizer_fn=str.split)


def test_a_chat_asks_our_retriever_the_condensed_question(rag: RagPipeline) -> None:
    llm = ScriptedLLM(
        replies={
            "Standalone question:": "Does the warranty of the Otter 2 cover the wiper blades?",
            "lasts thirty months": "It covers all but the wiper blades.",
        }
    )
    assert rag.reranker is not None
    chat = CondensePlusContextChatEngine.from_defaults(
        retriever=rag.retriever, llm=llm, node_postprocessors=[rag.reranker], memory=memory()
    )
    assert str(chat.chat(WARRANTY)) == "It covers all but the wiper blades."
    second = chat.chat("And the wiper blades?")
    assert [source.raw_input["message"] for source in second.sources] == [
        "Does the warranty of the Otter 2 cover the wiper blades?"
    ]
    assert names(second.source_nodes)[0] == "warranty.md"
    assert len(chat.chat_history) == 4


def test_a_chat_streams(rag: RagPipeline) -> None:
    llm = ScriptedLLM(replies={"opens at nine": "It opens at nine."})
    chat = ContextChatEngine.from_defaults(retriever=rag.retriever, llm=llm, memory=memory())
    pieces = list(chat.stream_chat(OFFICE).response_gen)
    assert pieces == ["It", " opens", " at", " nine."]


# ----------------------------------------------------------------------------------------- streaming


def test_a_stock_engine_streams_over_our_retriever(rag: RagPipeline) -> None:
    llm = ScriptedLLM(replies={"Context information is below": "Thirty months."})
    response = RetrieverQueryEngine.from_args(rag.retriever, llm=llm, streaming=True).query(WARRANTY)
    assert isinstance(response, StreamingResponse)
    assert list(response.response_gen) == ["Thirty", " months."]
    assert names(response.source_nodes)[0] == "warranty.md"


def test_our_engine_streams_checked_statements(rag: RagPipeline) -> None:
    llm = ScriptedLLM(replies={"lasts thirty months": "It lasts thirty months [1]. It is made of gold [9]."})
    engine = build_query_engine(rag.retriever, GenerativeSynthesizer(llm=llm, streaming=True))
    response = engine.query(WARRANTY)
    assert isinstance(response, StreamingResponse)
    assert "".join(response.response_gen).strip() == "It lasts thirty months [1]."
    assert "thirty months" in answer_of(response).citations[0].quote


# ------------------------------------------------------------------------------- async and its traces


def test_the_asynchronous_ways_give_the_same(rag: RagPipeline) -> None:
    async def both() -> tuple[list[str], str]:
        nodes = await rag.retriever.aretrieve(OFFICE)
        return names(nodes), str(await rag.query_engine.aquery(OFFICE))

    assert asyncio.run(both()) == (names(rag.retriever.retrieve(OFFICE)), str(rag.query_engine.query(OFFICE)))


def test_queries_at_once_have_a_trace_each(rag: RagPipeline) -> None:
    async def ask(question: str) -> Trace:
        with tracing(Trace()) as trace:
            await rag.query_engine.aquery(question)
        return trace

    async def all_of_them() -> list[Trace]:
        return list(await asyncio.gather(*(ask(question) for question in (WARRANTY, OFFICE, "The yellow buoy?") * 3)))

    traces = asyncio.run(all_of_them())
    assert [trace.query for trace in traces] == [WARRANTY, OFFICE, "The yellow buoy?"] * 3
    firsts = [trace.ranked()[0].place.rpartition("/")[2] for trace in traces]
    assert firsts == ["warranty.md", "office.md", "buoy.md"] * 3
    assert all({"encode", "search", "fuse", "fetch", "answer"} <= set(trace.timings_ms) for trace in traces)


# ------------------------------------------------------------------------------------------- events


class Keeper(BaseEventHandler):
    kept: list[BaseEvent] = []  # noqa: RUF012 - a pydantic field, copied for each instance

    @classmethod
    def class_name(cls) -> str:
        return "Keeper"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.kept.append(event)


@contextlib.contextmanager
def listening() -> Iterator[tuple[list[BaseEvent], SimpleSpanHandler]]:
    root, keeper, spans = get_dispatcher(), Keeper(), SimpleSpanHandler()
    root.add_event_handler(keeper)
    root.add_span_handler(spans)
    try:
        yield keeper.kept, spans
    finally:
        root.event_handlers.remove(keeper)
        root.span_handlers.remove(spans)


def test_every_stage_tells_llama_index_of_itself(rag: RagPipeline) -> None:
    with listening() as (events, spans):
        rag.query_engine.query(WARRANTY)
    told = [type(event).__name__ for event in events]
    order = [
        "QueryStartEvent", "RetrievalStartEvent", "EmbeddingStartEvent", "EmbeddingEndEvent", "RetrievalEndEvent",
        "ReRankStartEvent", "ReRankEndEvent", "SynthesizeStartEvent", "SynthesizeEndEvent", "QueryEndEvent",
    ]  # fmt: skip
    assert [name for name in told if name in order] == order
    by_name = {type(event).__name__: event for event in events}
    assert by_name["EmbeddingEndEvent"].chunks == [WARRANTY]  # type: ignore[attr-defined]
    assert len(by_name["EmbeddingEndEvent"].embeddings[0]) == 384  # type: ignore[attr-defined]
    assert "bge-small" in by_name["EmbeddingStartEvent"].model_dict["model_name"]  # type: ignore[attr-defined]
    assert isinstance(by_name["SynthesizeEndEvent"].response, Response)  # type: ignore[attr-defined]
    ended = {span.id_.partition("-")[0]: span for span in spans.completed_spans}
    assert {"TracedQueryEngine.query", "HybridRetriever.retrieve", "BgeReranker._postprocess_nodes"} <= set(ended)
    retrieval = ended["HybridRetriever.retrieve"]
    assert isinstance(retrieval, SimpleSpan)
    assert (retrieval.parent_id or "").startswith("TracedQueryEngine._query"), "spans are nested as the calls are"
    assert all(event.span_id for event in events), "every event belongs to a span"


def test_a_failed_query_ends_its_spans(rag: RagPipeline) -> None:
    with listening() as (_, spans), pytest.raises(Exception, match="the query is blank"):
        rag.retriever.retrieve("  ")
    assert [span.id_.partition("-")[0] for span in spans.dropped_spans] == [
        "HybridRetriever._retrieve", "HybridRetriever.retrieve",
    ]  # fmt: skip


def test_an_embedding_and_an_llm_see_a_passage_and_not_its_bookkeeping(rag: RagPipeline) -> None:
    node = rag.retriever.retrieve(WARRANTY)[0].node
    assert node.get_content(MetadataMode.EMBED).startswith("Warranty\nWarranty")
    seen = node.get_content(MetadataMode.LLM)
    assert all(word not in seen for word in ("legs", "tokens", "document_id", "media_type"))
