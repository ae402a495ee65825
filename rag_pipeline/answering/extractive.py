"""A question and evidence -> the best sentences, quoted and cited. No language model writes anything.

Enters: ranked evidence. Leaves: an Answer made of verbatim sentences, or an abstention. This module knows nothing of
where the evidence came from; a reranker, or an encoder where there is none, says which sentences answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from llama_index.core.llms import MockLLM

from rag_pipeline.answering.citations import Citations
from rag_pipeline.answering.sentences import Span, sentences, words
from rag_pipeline.answering.synthesizer import CitingSynthesizer, abstain
from rag_pipeline.protocols import Reranker, TextEncoder
from rag_pipeline.types import Answer, Evidence, contextual_text

__all__ = ["ExtractiveSynthesizer"]

# The highest whole logit of ms-marco-MiniLM-L-12-v2 that refuses at most 5 % of the questions whose passage is there,
# on each of XQuAD en, XQuAD de and SciFact (ADR); of questions about something else it refuses 97, 35 and 62 %.
_ABSTAIN_BELOW_LOGIT = -8.0
# Where "unrelated" lies is different for every encoder: no cosine is a default.
_ABSTAIN_BELOW_COSINE = -1.0
_MARGIN_LOGIT = 2.0
_MARGIN_COSINE = 0.02
_SHORT = 4


@dataclass(frozen=True, slots=True)
class _Sentence:
    """What can be quoted: ``evidence.text[start:end]``, a sentence, or a heading with the sentence after it.

    ``columns`` is the first row of the table that a row belongs to, "" elsewhere.
    """

    evidence: Evidence
    start: int
    end: int
    columns: str

    @property
    def text(self) -> str:
        return self.evidence.text[self.start : self.end]

    @property
    def passage(self) -> str:
        """What is scored: under headings and column names, for alone it seldom names what it is about."""
        return contextual_text(self.evidence.heading, f"{self.columns}\n{self.text}" if self.columns else self.text)

    def overlaps(self, other: _Sentence) -> bool:
        return self.evidence.id == other.evidence.id and self.start < other.end and other.start < self.end


class ExtractiveSynthesizer(CitingSynthesizer):
    """LlamaIndex synthesizer that answers with the best sentences of the best evidence.

    Args:
        encoder: Scores sentences by cosine where there is no reranker.
        reranker: Scores sentences by its raw logit; None: the encoder does.
        max_sentences: Most sentences of an answer; all but the first must score within a margin of the best.
        evidence: How many nodes are read.
        abstain_below: Least score of the best sentence, a logit with a reranker and a cosine without; None: the
            default, -8 for a logit; with cosines nothing is refused.
    """

    def __init__(
        self,
        *,
        encoder: TextEncoder,
        reranker: Reranker | None = None,
        max_sentences: int = 3,
        evidence: int = 5,
        abstain_below: float | None = None,
    ) -> None:
        # LlamaIndex resolves a missing llm to OpenAI's; this one is never called.
        super().__init__(MockLLM(), evidence=evidence)
        self._encoder = encoder
        self._reranker = reranker
        self._max_sentences = max_sentences
        self._margin = _MARGIN_COSINE if reranker is None else _MARGIN_LOGIT
        default = _ABSTAIN_BELOW_COSINE if reranker is None else _ABSTAIN_BELOW_LOGIT
        self._abstain_below = default if abstain_below is None else abstain_below

    def answer(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        """Return the best sentences, each followed by its citation, or abstain.

        Raises:
            InputError: the question is longer than the models take.
        """
        found = [sentence for one in evidence for sentence in _sentences_of(one)]
        if not found:
            return abstain("nothing was found that could answer")
        scores = self._scores(question, [sentence.passage for sentence in found])
        best = float(scores.max())
        if best < self._abstain_below:
            return abstain(f"the best sentence scores {best:.2f}, below {self._abstain_below:.2f}")
        citations = Citations()
        parts = []
        for sentence in self._chosen(found, scores):
            number = citations.number(sentence.evidence, sentence.start, sentence.end)
            parts.append(f"{' '.join(sentence.text.split())} [{number}]")
        return Answer(" ".join(parts), citations.all(), abstained=False)

    async def aanswer(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        """Answer in a thread."""
        return await asyncio.to_thread(self.answer, question, evidence)

    def _scores(self, question: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (n,) float32: raw logits with a reranker, cosines without."""
        if self._reranker is not None:
            return self._reranker.score(question, passages)
        asked = self._encoder.encode_queries([question]).dense[0]
        cosines: npt.NDArray[np.float32] = self._encoder.encode_passages(passages, truncate=True).dense @ asked
        return cosines

    def _chosen(self, found: Sequence[_Sentence], scores: npt.NDArray[np.float32]) -> list[_Sentence]:
        """Return the best sentences within the margin, no text twice, those of one evidence in its order."""
        order = sorted(range(len(found)), key=lambda i: (-float(scores[i]), i))
        least = max(self._abstain_below, float(scores[order[0]]) - self._margin)
        kept: list[_Sentence] = []
        for i in order:
            if len(kept) == self._max_sentences or float(scores[i]) < least:
                break
            said = words(found[i].text)
            if not any(found[i].overlaps(other) or words(other.text) == said for other in kept):
                kept.append(found[i])
        first = {sentence.evidence.id: place for place, sentence in reversed(list(enumerate(kept)))}
        return sorted(kept, key=lambda sentence: (first[sentence.evidence.id], sentence.start))


def _sentences_of(evidence: Evidence) -> list[_Sentence]:
    text, spans = evidence.text, sentences(evidence.text)
    found = []
    columns: Span | None = None
    for i, (start, end) in enumerate(spans):
        row = "\t" in text[start:end]
        if not row:
            columns = None
        elif columns is None or "\n\n" in text[spans[i - 1][1] : start]:
            columns = (start, end)
        names = text[slice(*columns)] if columns is not None and columns != (start, end) else ""
        until = spans[min(i + 1, len(spans) - 1)][1] if _is_heading(evidence, text[start:end]) else end
        found.append(_Sentence(evidence, start, until, names))
    return found


def _is_heading(evidence: Evidence, text: str) -> bool:
    """Whether a sentence says nothing alone: a heading of the evidence, or a few words without an end or a number."""
    said = words(text)
    if any(words(heading) == said for heading in evidence.heading):
        return True
    return len(said) < _SHORT and not re.search(r"[\t.!?。！？\d]", text)
