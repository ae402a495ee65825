"""A language model whose replies are written down. Apart from ``fakes.py``, since it imports LlamaIndex (a second)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from pydantic import Field

__all__ = ["ScriptedLLM"]


class ScriptedLLM(CustomLLM):
    """Of ``replies``, the first whose key stands in the prompt is the answer; streamed, it comes word by word.

    A prompt that no reply is written for is an error: a test says what its model is asked.
    """

    replies: dict[str, str]
    prompts: list[str] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=8192, num_output=256, model_name="scripted")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self.prompts.append(prompt)
        for words, reply in self.replies.items():
            if words in prompt:
                return CompletionResponse(text=reply)
        raise AssertionError(f"no reply is written for: {prompt}")

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Iterator[CompletionResponse]:
        said = ""
        for word in self.complete(prompt).text.split(" "):
            delta = word if not said else f" {word}"
            said += delta
            yield CompletionResponse(text=said, delta=delta)
