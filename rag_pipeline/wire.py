"""Values -> the JSON that other programs read: the contract of ``--json``, and of HTTP later.

Enters: Evidence, Answer. Leaves: dicts of JSON values. Keys are only ever added here, never renamed or removed.
"""

from __future__ import annotations

from typing import Any

from rag_pipeline.evidence import Answer, Evidence
from rag_pipeline.types import Box

__all__ = ["answer_json", "box_json", "hit_json"]


def hit_json(hit: Evidence) -> dict[str, Any]:
    """Return one hit; ``heading`` is the heading path as one line, ``boxes`` are fractions of the page."""
    return {
        "rank": hit.rank,
        "score": hit.score,
        "path": hit.path,
        "page": hit.page,
        "heading": " > ".join(hit.heading),
        "text": hit.text,
        "boxes": [box_json(box) for box in hit.boxes],
        "legs": {leg: {"rank": place.rank, "score": place.score} for leg, place in hit.legs.items()},
        "id": hit.id,
        "logit": hit.logit,
        "figure": hit.figure,
        "start": hit.start,
        "paths": list(hit.paths),
        "merged": list(hit.merged),
    }


def answer_json(answer: Answer) -> dict[str, Any]:
    """Return an answer and its citations; ``start`` and ``end`` are offsets in the document's text."""
    return {
        "answer": answer.text,
        "abstained": answer.abstained,
        "reason": answer.reason,
        "citations": [
            {
                "n": citation.n,
                "path": citation.path,
                "page": citation.page,
                "heading": " > ".join(citation.heading),
                "quote": citation.quote,
                "start": citation.start,
                "end": citation.end,
                "boxes": [box_json(box) for box in citation.boxes],
            }
            for citation in answer.citations
        ],
        "timings_ms": dict(answer.timings_ms),
        "confidence": answer.confidence,
        "dropped": list(answer.dropped),
    }


def box_json(box: Box) -> dict[str, float]:
    """Return a box: its page, from 1, and its edges as fractions of that page, from the top left."""
    return {"page": box.page, "left": box.left, "top": box.top, "right": box.right, "bottom": box.bottom}
