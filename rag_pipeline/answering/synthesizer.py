"""Nodes with scores -> a LlamaIndex response that carries an :class:`Answer`: what both ways of answering share.

Enters: a question and ranked nodes. Leaves: a ``Response`` whose ``metadata["answer"]`` is the Answer. This module
knows nothing of how an answer is found.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.base.response.schema import RESPONSE_TYPE, Response
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.indices.prompt_helper import ChatPromptHelper, PromptHelper
from llama_index.core.instrumentation.events.synthesis import SynthesizeEndEvent, SynthesizeStartEvent
from llama_index.core.llms import LLM
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType
from llama_index_instrumentation import get_dispatcher

from rag_pipeline.retrieval.evidence import evidence_of
from rag_pipeline.retrieval.trace import Trace, current_trace, step, tracing
from rag_pipeline.types import Answer, Evidence

__all__ = ["ABSTENTION", "CitingSynthesizer", "abstain"]

ABSTENTION = "The documents do not answer this."

dispatcher = get_dispatcher(__name__)


def abstain(reason: str) -> Answer:
    """Return the answer that says nothing, for ``reason``."""
    return Answer(ABSTENTION, (), abstained=True, reason=reason)


class CitingSynthesizer(BaseSynthesizer):
    """LlamaIndex synthesizer whose answers cite their evidence.

    LlamaIndex's own ``synthesize`` passes bare strings to ``get_response``, so that no place survives; this one
    passes :class:`Evidence` to :meth:`answer`, and dispatches the same events.
    """

    def __init__(self, llm: LLM, *, evidence: int, streaming: bool = False) -> None:
        # Given helpers keep LlamaIndex from loading a tokenizer that nothing here calls.
        super().__init__(
            llm=llm,
            prompt_helper=PromptHelper(tokenizer=str.split),
            chat_prompt_helper=ChatPromptHelper(tokenizer=str.split),
            streaming=streaming,
        )
        self._evidence = evidence

    @abstractmethod
    def answer(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        """Answer from the evidence, best first; abstain where it does not answer."""

    @abstractmethod
    async def aanswer(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        """Answer as :meth:`answer` does, without blocking the event loop."""

    def synthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer from the best nodes; the Answer is in the response's ``metadata["answer"]``."""
        bundle = QueryBundle(query) if isinstance(query, str) else query
        dispatcher.event(SynthesizeStartEvent(query=bundle))
        with self._callback_manager.event(
            CBEventType.SYNTHESIZE, payload={EventPayload.QUERY_STR: bundle.query_str}
        ) as event:
            response = self._respond(bundle.query_str, [*nodes, *(additional_source_nodes or [])], self._best(nodes))
            event.on_end(payload={EventPayload.RESPONSE: response})
        dispatcher.event(SynthesizeEndEvent(query=bundle, response=response))
        return response

    async def asynthesize(
        self,
        query: QueryType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer as :meth:`synthesize` does, without blocking the event loop."""
        bundle = QueryBundle(query) if isinstance(query, str) else query
        dispatcher.event(SynthesizeStartEvent(query=bundle))
        with self._callback_manager.event(
            CBEventType.SYNTHESIZE, payload={EventPayload.QUERY_STR: bundle.query_str}
        ) as event:
            sources = [*nodes, *(additional_source_nodes or [])]
            response = await self._arespond(bundle.query_str, sources, self._best(nodes))
            event.on_end(payload={EventPayload.RESPONSE: response})
        dispatcher.event(SynthesizeEndEvent(query=bundle, response=response))
        return response

    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> str:
        """Answer from bare texts, for code that has no nodes; citations are then only numbers in the text."""
        return self.answer(query_str, _bare(text_chunks)).text

    async def aget_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> str:
        """Answer from bare texts, without blocking the event loop."""
        return (await self.aanswer(query_str, _bare(text_chunks))).text

    def _respond(self, question: str, sources: list[NodeWithScore], evidence: Sequence[Evidence]) -> RESPONSE_TYPE:
        with tracing(current_trace() or Trace()) as trace:
            with step("answer"):
                answer = self.answer(question, evidence)
            return self._response(replace(answer, timings_ms=dict(trace.timings_ms)), sources)

    async def _arespond(
        self, question: str, sources: list[NodeWithScore], evidence: Sequence[Evidence]
    ) -> RESPONSE_TYPE:
        with tracing(current_trace() or Trace()) as trace:
            with step("answer"):
                answer = await self.aanswer(question, evidence)
            return self._response(replace(answer, timings_ms=dict(trace.timings_ms)), sources)

    def _response(self, answer: Answer, sources: list[NodeWithScore]) -> Response:
        return Response(answer.text, source_nodes=sources, metadata=self._metadata(sources) | {"answer": answer})

    def _metadata(self, sources: list[NodeWithScore]) -> dict[str, Any]:
        return self._get_metadata_for_response([source.node for source in sources]) or {}

    def _best(self, nodes: Sequence[NodeWithScore]) -> list[Evidence]:
        return [evidence_of(node, rank) for rank, node in enumerate(nodes[: self._evidence], start=1)]

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        return None


def _bare(texts: Sequence[str]) -> list[Evidence]:
    return [
        Evidence(f"text-{n}", n, 0.0, path="", text=text, page=None, heading=(), boxes=(), legs={})
        for n, text in enumerate(texts, start=1)
    ]
