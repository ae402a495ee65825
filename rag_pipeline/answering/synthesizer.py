"""Nodes with scores -> a LlamaIndex response that carries an :class:`Answer`: what both ways of answering share.

Enters: a question and ranked nodes. Leaves: a ``Response`` whose ``metadata["answer"]`` is the Answer. Before anything
is written the gate decides whether the nodes can answer at all. This module knows nothing of how it does, nor of how
an answer is found.
"""

from __future__ import annotations

import asyncio
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

from rag_pipeline.answering.gate import EvidenceGate
from rag_pipeline.evidence import Answer, Evidence
from rag_pipeline.retrieval.evidence import evidence_of
from rag_pipeline.retrieval.trace import Trace, current_trace, step, tracing

__all__ = ["ABSTENTION", "CitingSynthesizer", "abstain"]

ABSTENTION = "The documents do not answer this."

dispatcher = get_dispatcher(__name__)


def abstain(reason: str, confidence: float | None = None) -> Answer:
    """Return the answer that says nothing, for ``reason``."""
    return Answer(ABSTENTION, (), abstained=True, reason=reason, confidence=confidence)


class CitingSynthesizer(BaseSynthesizer):
    """LlamaIndex synthesizer whose answers cite their evidence.

    LlamaIndex's own ``synthesize`` passes bare strings to ``get_response``, so that no place survives; this one
    passes :class:`Evidence` to :meth:`answer`, and dispatches the same events.

    Args:
        llm: What writes; never called where an answer is made of quotes.
        gate: Decides whether the nodes can answer, and sees all of them; None: the default one.
        evidence: How many nodes an answer is written from, the best.
        streaming: Whether the response is a stream, where an answer can be one.
    """

    def __init__(self, llm: LLM, *, gate: EvidenceGate | None, evidence: int, streaming: bool = False) -> None:
        # Given helpers keep LlamaIndex from loading a tokenizer that nothing here calls.
        super().__init__(
            llm=llm,
            prompt_helper=PromptHelper(tokenizer=str.split),
            chat_prompt_helper=ChatPromptHelper(tokenizer=str.split),
            streaming=streaming,
        )
        self._gate = gate or EvidenceGate()
        self._evidence = evidence

    def answer(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        """Answer from the evidence, best first; abstain where the gate refuses, or what was written does not hold.

        Raises:
            InputError: the question is longer than the models take.
            UnavailableError: what writes the answer does not reply.
        """
        verdict = self._gate.judge(question, evidence)
        if verdict.refusal:
            return abstain(verdict.refusal, verdict.confidence)
        return replace(self._write(question, evidence[: self._evidence]), confidence=verdict.confidence)

    async def aanswer(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        """Answer as :meth:`answer` does, without blocking the event loop."""
        verdict = await asyncio.to_thread(self._gate.judge, question, evidence)
        if verdict.refusal:
            return abstain(verdict.refusal, verdict.confidence)
        return replace(await self._awrite(question, evidence[: self._evidence]), confidence=verdict.confidence)

    @abstractmethod
    def _write(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        """Answer from the best of the evidence, which passed the gate."""

    @abstractmethod
    async def _awrite(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        """Answer as :meth:`_write` does, without blocking the event loop."""

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
            response = self._respond(bundle.query_str, [*nodes, *(additional_source_nodes or [])], _evidence(nodes))
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
            response = await self._arespond(bundle.query_str, sources, _evidence(nodes))
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
            self._record(trace, evidence, answer)
            return self._response(replace(answer, timings_ms=dict(trace.timings_ms)), sources)

    async def _arespond(
        self, question: str, sources: list[NodeWithScore], evidence: Sequence[Evidence]
    ) -> RESPONSE_TYPE:
        with tracing(current_trace() or Trace()) as trace:
            with step("answer"):
                answer = await self.aanswer(question, evidence)
            self._record(trace, evidence, answer)
            return self._response(replace(answer, timings_ms=dict(trace.timings_ms)), sources)

    def _record(self, trace: Trace, evidence: Sequence[Evidence], answer: Answer) -> None:
        """Tell a trace what the answer rests on: the passages cited, in the order of their numbers."""
        trace.record_cut((one.id for one in evidence[self._evidence :]), f"beyond the {self._evidence} that are read")
        cited = dict.fromkeys(citation.chunk_id for citation in answer.citations)
        trace.record_result(list(cited), "abstained" if answer.abstained else "not cited")

    def _response(self, answer: Answer, sources: list[NodeWithScore]) -> Response:
        return Response(answer.text, source_nodes=sources, metadata=self._metadata(sources) | {"answer": answer})

    def _metadata(self, sources: list[NodeWithScore]) -> dict[str, Any]:
        return self._get_metadata_for_response([source.node for source in sources]) or {}

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        return None


def _evidence(nodes: Sequence[NodeWithScore]) -> list[Evidence]:
    return [evidence_of(node, rank) for rank, node in enumerate(nodes, start=1)]


def _bare(texts: Sequence[str]) -> list[Evidence]:
    return [
        Evidence(f"text-{n}", n, 0.0, path="", text=text, page=None, heading=(), boxes=(), legs={})
        for n, text in enumerate(texts, start=1)
    ]
