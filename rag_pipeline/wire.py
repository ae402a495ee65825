"""Values -> the JSON that other programs read: the contract of ``--json``, and of HTTP later.

Enters: Evidence, Answer. Leaves: dicts of JSON values. Keys are only ever added here, never renamed or removed.
"""

from __future__ import annotations

from typing import Any

from rag_pipeline.types import Answer, Box, Evidence

__all__ = ["answer_json", "hit_json"]


def hit_json(hit: Evidence) -> dict[str, Any]:
    """Return one hit; ``heading`` is the heading path as one line, ``boxes`` are fractions of the page."""
    return {
        "rank": hit.rank,
        "score": hit.score,
        "path": hit.path,
        "page": hit.page,
        "heading": " > ".join(hit.heading),
        "text": hit.text,
        "boxes": [_box_json(box) for box in hit.boxes],
        "legs": {leg: {"rank": place.rank, "score": place.score} for leg, place in hit.legs.items()},
        "id": hit.id,
        "logit": hit.logit,
        "figure": hit.figure,
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
                "quote": citation.quote,
                "start": citation.start,
                "end": citation.end,
                "boxes": [_box_json(box) for box in citation.boxes],
            }
            for citation in answer.citations
        ],
        "timings_ms": dict(answer.timings_ms),
    }


def _box_json(box: Box) -> dict[str, float]:
    return {"page": box.page, "left": box.left, "top": box.top, "right": box.right, "bottom": box.bottom}
