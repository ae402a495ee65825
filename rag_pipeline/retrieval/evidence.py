"""A LlamaIndex node with a score -> :class:`Evidence`, the value that answers and hits are made of.

Enters: a node whose metadata holds the payload of its point. Leaves: Evidence. This module knows the names of the
payload's keys and nothing else of the engine; a key that a payload lacks is taken as empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rag_pipeline.evidence import Evidence
from rag_pipeline.types import Box, LegRank, Place

if TYPE_CHECKING:
    from llama_index.core.schema import NodeWithScore

__all__ = ["boxes_of", "evidence_of", "legs_metadata"]


def legs_metadata(legs: Mapping[str, LegRank]) -> dict[str, dict[str, float]]:
    """Return where each leg put a point, as the JSON that travels in a node's metadata under ``legs``."""
    return {leg: place._asdict() for leg, place in legs.items()}


def evidence_of(node: NodeWithScore, rank: int) -> Evidence:
    """Return the evidence of a node at ``rank``, which counts from 1.

    ``logit`` is the reranker's, where one has read the node.
    """
    data: Mapping[str, Any] = node.node.metadata
    text = node.node.get_content()
    path = str(data.get("path") or "")
    places = tuple(_place(values) for values in data.get("places") or ())
    return Evidence(
        id=node.node.node_id,
        rank=rank,
        score=float(node.score or 0.0),
        path=path,
        text=text,
        page=data.get("page"),
        heading=tuple(data.get("heading") or ()),
        boxes=boxes_of(places),
        legs={leg: _leg_rank(at) for leg, at in (data.get("legs") or {}).items()},
        logit=data.get("logit"),
        start=int(data.get("start") or 0),
        paths=tuple(data.get("paths") or ([path] if path else [])),
        tables=tuple(data.get("tables") or ()),
        figure=data.get("figure"),
        language=str(data.get("language") or ""),
        document_id=node.node.ref_doc_id or "",
        places=places,
        merged=tuple(data.get("merged") or ()),
    )


def _leg_rank(at: Mapping[str, float]) -> LegRank:
    return LegRank(int(at["rank"]), float(at["score"]), float(at.get("adds", 0.0)))


def boxes_of(places: Sequence[Place]) -> tuple[Box, ...]:
    """Return the boxes of places, each once, in their order."""
    return tuple(dict.fromkeys(place.box for place in places if place.box is not None))


def _place(values: Sequence[float]) -> Place:
    start, end, page, *edges = values
    return Place(int(start), int(end), int(page), Box(int(page), *edges) if edges else None)
