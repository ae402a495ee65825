"""A question and evidence -> the best sentences, quoted and cited. No language model writes anything.

Enters: ranked evidence that passed the gate. Leaves: an Answer made of verbatim sentences. This module knows nothing of
where the evidence came from; a reranker and an encoder together say which sentences answer, or the encoder alone.
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
from rag_pipeline.retrieval.rerank import blended

__all__ = ["ExtractiveSynthesizer"]

_MARGIN_LOGIT = 2.0
_MARGIN_COSINE = 0.02
_COMPARED = 12
"""Sentences of the highest logits that are compared by meaning, too: the two models err on different ones (ADR 28)."""


class ExtractiveSynthesizer(CitingSynthesizer):
    """LlamaIndex synthesizer that answers with the best sentences of the best evidence.

    Args:
        gate: Decides whether there is an answer at all; None: the default one.
        encoder: Scores sentences by cosine.
        reranker: Scores sentences by its raw logit, which counts as much for the best of them; None: the encoder alone.
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
        citations = Citations()
        parts = []
        for quotable in self._chosen(self._scored(question, found)):
            number = citations.number(quotable.evidence, quotable.start, quotable.end)
            parts.append(f"{' '.join(quotable.text.split())} [{number}]")
        return Answer(" ".join(parts), citations.all(), abstained=False)

    async def _awrite(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        return await asyncio.to_thread(self._write, question, evidence)

    def _scored(self, question: str, found: Sequence[Quotable]) -> list[tuple[float, Quotable]]:
        """Return the sentences that may be chosen, best first: in logits with a reranker, in cosines without."""
        if self._reranker is None:
            return _best(self._cosines(question, found), found)
        logits = self._reranker.score(question, [quotable.passage for quotable in found])
        read = _best(logits, found)[:_COMPARED]
        likely = [quotable for _, quotable in read]
        scores = blended(np.array([logit for logit, _ in read]), self._cosines(question, likely), 0.5)
        return _best(scores, likely)

    def _cosines(self, question: str, found: Sequence[Quotable]) -> npt.NDArray[np.float64]:
        """Return (n,) float64."""
        asked = self._encoder.encode_queries([question]).dense[0]
        passages = [quotable.passage for quotable in found]
        cosines: npt.NDArray[np.float32] = self._encoder.encode_passages(passages, truncate=True).dense @ asked
        return cosines.astype(np.float64)

    def _chosen(self, scored: Sequence[tuple[float, Quotable]]) -> list[Quotable]:
        """Return the best sentences within the margin, no text twice, those of one evidence in its order."""
        least = scored[0][0] - self._margin
        kept: list[Quotable] = []
        for score, quotable in scored:
            if len(kept) == self._max_sentences or score < least:
                break
            said = words(quotable.text)
            if not any(quotable.overlaps(other) or words(other.text) == said for other in kept):
                kept.append(quotable)
        first = {quotable.evidence.id: place for place, quotable in reversed(list(enumerate(kept)))}
        return sorted(kept, key=lambda quotable: (first[quotable.evidence.id], quotable.start))


def _best(scores: npt.NDArray[np.floating], found: Sequence[Quotable]) -> list[tuple[float, Quotable]]:
    """Return the sentences with their scores, best first; of equal ones the earlier."""
    order = sorted(range(len(found)), key=lambda i: (-float(scores[i]), i))
    return [(float(scores[i]), found[i]) for i in order]
