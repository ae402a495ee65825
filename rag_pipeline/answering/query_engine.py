"""Retriever, postprocessors and synthesizer -> LlamaIndex's query engine, and its response -> an Answer.

Enters: the wired parts. Leaves: a ``RetrieverQueryEngine``, and Answers. This module knows nothing of how each part
does its work.
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import RESPONSE_TYPE, StreamingResponse
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import QueryBundle

from rag_pipeline.evidence import Answer
from rag_pipeline.retrieval.trace import Trace, current_trace, tracing

__all__ = ["TracedQueryEngine", "answer_of", "build_query_engine"]


class TracedQueryEngine(RetrieverQueryEngine):
    """LlamaIndex's engine with a trace around each query, so that the answer tells the time of every step."""

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        with tracing(current_trace() or Trace()):
            return super()._query(query_bundle)

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        with tracing(current_trace() or Trace()):
            return await super()._aquery(query_bundle)


def build_query_engine(
    retriever: BaseRetriever,
    synthesizer: BaseSynthesizer,
    postprocessors: Sequence[BaseNodePostprocessor] = (),
) -> TracedQueryEngine:
    """Return the engine that retrieves, postprocesses in this order, and synthesizes."""
    return TracedQueryEngine(
        retriever=retriever, response_synthesizer=synthesizer, node_postprocessors=list(postprocessors)
    )


def answer_of(response: RESPONSE_TYPE) -> Answer:
    """Return the Answer that a response carries; a stream is read to its end first.

    Raises:
        ValueError: the response is an asynchronous stream that has not been read, or of another synthesizer.
    """
    if isinstance(response, StreamingResponse):
        response.get_response()
    answer = (response.metadata or {}).get("answer")
    if not isinstance(answer, Answer):
        raise ValueError(
            f"this {type(response).__name__} carries no Answer; use a CitingSynthesizer, and read an asynchronous "
            "stream to its end first"
        )
    return answer
