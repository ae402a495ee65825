"""A question and evidence -> the best sentences, quoted and cited. No language model writes anything.

Enters: ranked evidence that passed the gate. Leaves: an Answer made of verbatim sentences, and of table rows with the
names of their columns. This module knows nothing of where the evidence came from; a reranker, or an encoder where there
is none, says which sentences answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from llama_index.core.llms import MockLLM

from rag_pipeline.answering.citations import Citations
from rag_pipeline.answering.gate import EvidenceGate
from rag_pipeline.answering.quotable import Quotable, quotables
from rag_pipeline.answering.sentences import words
from rag_pipeline.answering.synthesizer import CitingSynthesizer, abstain
from rag_pipeline.evidence import Answer, Evidence
from rag_pipeline.protocols import Reranker, TextEncoder

__all__ = ["ExtractiveSynthesizer"]

_MARGIN_LOGIT = 2.0
_MARGIN_COSINE = 0.02


class ExtractiveSynthesizer(CitingSynthesizer):
    """LlamaIndex synthesizer that answers with the best sentences of the best evidence.

    Args:
        gate: Decides whether there is an answer at all; None: the default one.
        encoder: Scores sentences by cosine where there is no reranker.
        reranker: Scores sentences by its raw logit; None: the encoder does.
        max_sentences: Most sentences of an answer; all but the first must score within a margin of the best.
        evidence: How many nodes are read.
    """

    def __init__(
        self,
        *,
        encoder: TextEncoder,
        reranker: Reranker | None = None,
        gate: EvidenceGate | None = None,
        max_sentences: int = 3,
        evidence: int = 5,
    ) -> None:
        # LlamaIndex resolves a missing llm to OpenAI's; this one is never called.
        super().__init__(MockLLM(), gate=gate, evidence=evidence)
        self._encoder = encoder
        self._reranker = reranker
        self._max_sentences = max_sentences
        self._margin = _MARGIN_COSINE if reranker is None else _MARGIN_LOGIT

    def _write(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        found = [quotable for one in evidence for quotable in quotables(one)]
        if not found:
            return abstain("nothing was found that could be quoted")
        scores = self._scores(question, [quotable.passage for quotable in found])
        citations = Citations()
        parts = []
        for quotable in self._chosen(found, scores):
            number = citations.number(quotable.evidence, quotable.start, quotable.end)
            parts.append(f"{quotable.readable} [{number}]")
        return Answer(" ".join(parts), citations.all(), abstained=False)

    async def _awrite(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        return await asyncio.to_thread(self._write, question, evidence)

    def _scores(self, question: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (n,) float32: raw logits with a reranker, cosines without."""
        if self._reranker is not None:
            return self._reranker.score(question, passages)
        asked = self._encoder.encode_queries([question]).dense[0]
        cosines: npt.NDArray[np.float32] = self._encoder.encode_passages(passages, truncate=True).dense @ asked
        return cosines

    def _chosen(self, found: Sequence[Quotable], scores: npt.NDArray[np.float32]) -> list[Quotable]:
        """Return the best sentences within the margin, no text twice, those of one evidence in its order."""
        order = sorted(range(len(found)), key=lambda i: (-float(scores[i]), i))
        least = float(scores[order[0]]) - self._margin
        kept: list[Quotable] = []
        for i in order:
            if len(kept) == self._max_sentences or float(scores[i]) < least:
                break
            said = words(found[i].text)
            if not any(found[i].overlaps(other) or words(other.text) == said for other in kept):
                kept.append(found[i])
        first = {quotable.evidence.id: place for place, quotable in reversed(list(enumerate(kept)))}
        return sorted(kept, key=lambda quotable: (first[quotable.evidence.id], quotable.start))
