"""A question and evidence -> an answer that a language model writes, kept only where its evidence supports it.

Enters: ranked evidence that passed the gate. Leaves: an Answer of statements whose citations hold, or an abstention; or
a stream of such statements. Any LlamaIndex ``LLM`` will do; of vendors this module knows only OpenAI: the errors of its
client, and how its servers say why a reply ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from llama_index.core.base.response.schema import RESPONSE_TYPE, AsyncStreamingResponse, StreamingResponse
from llama_index.core.llms import LLM, ChatMessage, ChatResponse
from llama_index.core.schema import NodeWithScore

from rag_pipeline.answering.citations import StatementChecker
from rag_pipeline.answering.gate import EvidenceGate, Verdict
from rag_pipeline.answering.prompt import NOT_ANSWERED, fitting, messages
from rag_pipeline.answering.synthesizer import ABSTENTION, CitingSynthesizer, abstain
from rag_pipeline.errors import UnavailableError
from rag_pipeline.evidence import Answer, Evidence
from rag_pipeline.retrieval.trace import Trace, current_trace

__all__ = ["GenerativeSynthesizer"]

_REPLY = 512
"""Tokens left for the reply where the model names no limit of its own."""


class GenerativeSynthesizer(CitingSynthesizer):
    """LlamaIndex synthesizer that lets a language model write the answer, and checks it against what it cites.

    Evidence that the model's context window has no room for is left out, the last first, and named in
    ``Answer.dropped``; so are statements that do not hold.

    Args:
        llm: Any LlamaIndex LLM, such as ``OpenAILike`` over a local server.
        gate: Decides whether the model is asked at all; None: the default one.
        evidence: How many nodes the model is shown, at most.
        streaming: Return a stream of checked statements; the Answer is in the response's metadata when it has ended.
    """

    def __init__(
        self, *, llm: LLM, gate: EvidenceGate | None = None, evidence: int = 5, streaming: bool = False
    ) -> None:
        super().__init__(llm, gate=gate, evidence=evidence, streaming=streaming)

    def _write(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        draft = self._draft(question, evidence)
        if draft.asked:
            with _translated():
                reply = self._llm.chat(draft.asked)
            draft.feed(reply.message.content or "", reply)
            draft.finish()
        return draft.answer()

    async def _awrite(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        draft = self._draft(question, evidence)
        if draft.asked:
            with _translated():
                reply = await self._llm.achat(draft.asked)
            draft.feed(reply.message.content or "", reply)
            draft.finish()
        return draft.answer()

    def _draft(self, question: str, evidence: Sequence[Evidence]) -> _Draft:
        limits = self._llm.metadata
        reply = limits.num_output if limits.num_output > 0 else _REPLY
        shown = fitting(question, evidence, limits.context_window - reply)
        return _Draft(question, evidence[:shown], evidence[shown:], limits.context_window)

    def _respond(self, question: str, sources: list[NodeWithScore], evidence: Sequence[Evidence]) -> RESPONSE_TYPE:
        if not self._streaming:
            return super()._respond(question, sources, evidence)
        clock = _Clock()
        verdict = self._gate.judge(question, evidence)
        if verdict.refusal:
            return self._refused(verdict, clock, sources)
        metadata = self._metadata(sources)
        draft = self._draft(question, evidence[: self._evidence])
        return StreamingResponse(self._stream(draft, verdict, clock, metadata), sources, metadata)

    async def _arespond(
        self, question: str, sources: list[NodeWithScore], evidence: Sequence[Evidence]
    ) -> RESPONSE_TYPE:
        if not self._streaming:
            return await super()._arespond(question, sources, evidence)
        clock = _Clock()
        verdict = await asyncio.to_thread(self._gate.judge, question, evidence)
        if verdict.refusal:
            return self._refused(verdict, clock, sources)
        metadata = self._metadata(sources)
        draft = self._draft(question, evidence[: self._evidence])
        return AsyncStreamingResponse(self._astream(draft, verdict, clock, metadata), sources, metadata)

    def _refused(self, verdict: Verdict, clock: _Clock, sources: list[NodeWithScore]) -> RESPONSE_TYPE:
        """Return a plain response: there is nothing to stream, and the model was not asked."""
        answer = abstain(verdict.refusal, verdict.confidence)
        return self._response(replace(answer, timings_ms=clock.timings_ms()), sources)

    def _stream(self, draft: _Draft, verdict: Verdict, clock: _Clock, metadata: dict[str, Any]) -> Generator[str]:
        if draft.asked:
            with _translated():
                for part in self._llm.stream_chat(draft.asked):
                    yield draft.feed(part.delta or "", part)
                    if draft.refused:
                        break
        yield draft.finish()
        metadata["answer"] = replace(draft.answer(), confidence=verdict.confidence, timings_ms=clock.timings_ms())

    async def _astream(
        self, draft: _Draft, verdict: Verdict, clock: _Clock, metadata: dict[str, Any]
    ) -> AsyncGenerator[str]:
        if draft.asked:
            with _translated():
                async for part in await self._llm.astream_chat(draft.asked):
                    yield draft.feed(part.delta or "", part)
                    if draft.refused:
                        break
        yield draft.finish()
        metadata["answer"] = replace(draft.answer(), confidence=verdict.confidence, timings_ms=clock.timings_ms())


class _Draft:
    """What the model is asked and has written so far, checked as it comes: every piece given out is in the answer.

    Args:
        question: What was asked.
        shown: The evidence in the prompt.
        left_out: The evidence that had no room in it.
        window: Tokens of the model's context window.
    """

    def __init__(self, question: str, shown: Sequence[Evidence], left_out: Sequence[Evidence], window: int) -> None:
        self.asked: list[ChatMessage] = messages(question, shown) if shown else []
        self.refused = False
        self._checker = StatementChecker(shown, question)
        self._left_out = [f"no room in the language model's {window} tokens: {one.path}" for one in left_out]
        self._said = ""
        self._kept = ""
        self._end: str | None = "stop"
        """Why the reply ended, as OpenAI's servers say it; other models' do not."""

    def feed(self, piece: str, reply: ChatResponse) -> str:
        """Take in text, as ``reply`` has it; return what can be shown now. What follows NOT_ANSWERED is ignored."""
        if choices := getattr(reply.raw, "choices", None):
            self._end = choices[0].finish_reason
        if self.refused:
            return ""
        self._said += piece
        if NOT_ANSWERED in self._said:
            self.refused = True
            return ""
        return self._keep(self._checker.feed(piece))

    def finish(self) -> str:
        """Return what was held back; the abstention where nothing was kept."""
        if not self.refused:
            # Cut at llm.max_tokens, or broken off: llama-cpp-python ends a stream so where another request comes in.
            rest = self._keep(self._checker.finish(cut_off=self._end in ("length", None)))
            if rest:
                return rest
        return "" if self._kept else ABSTENTION

    def answer(self) -> Answer:
        dropped = (*self._left_out, *(f"{reason}: {sentence}" for reason, sentence in self._checker.dropped))
        if self._kept:
            return Answer(self._kept, self._checker.citations.all(), abstained=False, dropped=dropped)
        return replace(abstain(self._why_nothing()), dropped=dropped)

    def _why_nothing(self) -> str:
        if not self.asked:
            return "no evidence has room in the language model's context window; raise llm.context_window"
        if self.refused:
            return "the language model found no answer in the evidence"
        if not self._said.strip():
            return f"the language model's {'reply is empty' if self._end else 'server broke off its reply'}"
        reasons = dict.fromkeys(reason for reason, _ in self._checker.dropped)
        return f"the language model answered, and nothing of its reply holds: {'; '.join(reasons) or 'it says nothing'}"

    def _keep(self, statements: str) -> str:
        shown = statements if self._kept else statements.lstrip()
        self._kept += shown
        return shown


class _Clock:
    """Times a stream, which outlives the block that :func:`~rag_pipeline.retrieval.trace.step` could time."""

    def __init__(self) -> None:
        self._trace = current_trace() or Trace()
        self._started = time.perf_counter()

    def timings_ms(self) -> dict[str, float]:
        self._trace.add_time("answer", (time.perf_counter() - self._started) * 1000)
        return dict(self._trace.timings_ms)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the errors of an OpenAI-compatible server's client into this project's."""
    import httpx
    import openai

    try:
        yield
    except (openai.OpenAIError, httpx.HTTPError) as exc:
        raise UnavailableError(
            f"the language model's server failed: {' '.join(str(exc).split())[:200]}; "
            "check that it runs at llm.base_url and serves llm.model, or leave llm out for extractive answers"
        ) from exc
