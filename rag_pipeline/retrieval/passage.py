"""Chunks that follow each other in a document -> one passage, and from it the LlamaIndex node of the hit within it.

Enters: nodes and payloads of the store. Leaves: nodes whose text is a verbatim slice of their document's text. This
module knows the names of the payload's keys; it knows nothing of which chunks should become one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.schema import MetadataMode, NodeWithScore

__all__ = ["Part", "Passage", "common_heading"]


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk of text, by the names of its payload's keys. ``gap`` is the white space before it."""

    document: str
    position: int
    start: int
    end: int
    text: str
    gap: str
    tokens: int
    heading: tuple[str, ...]
    places: tuple[Sequence[float], ...]
    tables: tuple[str, ...]

    @classmethod
    def of(cls, document: str | None, text: str, payload: Mapping[str, Any]) -> Part | None:
        """Return what a payload describes; None for figures, and for what another program has written."""
        if document is None or payload.get("kind") != "text" or "gap" not in payload:
            return None
        return cls(
            document=document,
            position=payload["position"],
            start=payload["start"],
            end=payload["end"],
            text=text,
            gap=payload["gap"],
            tokens=payload["tokens"],
            heading=tuple(payload["heading"]),
            places=tuple(payload["places"]),
            tables=tuple(payload["tables"]),
        )

    @property
    def key(self) -> tuple[str, int]:
        """What no other chunk of an index has: its document, and its position in there."""
        return self.document, self.position


@dataclass(slots=True, eq=False)
class Passage:
    """A hit, and the chunks that it is shown with, in their order; none for a hit that nothing can be added to.

    ``rank`` is the hit's, from 1. ``merged`` are the ids of other hits within, and ``paths`` the files that have those.
    """

    rank: int
    hit: NodeWithScore
    parts: list[Part]
    merged: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, rank: int, hit: NodeWithScore) -> Passage:
        """Return the passage of a hit alone."""
        part = Part.of(hit.node.ref_doc_id, hit.node.get_content(MetadataMode.NONE), hit.node.metadata)
        return cls(rank, hit, [] if part is None else [part])

    @property
    def id(self) -> str:
        """The hit's."""
        return self.hit.node.node_id

    @property
    def tokens(self) -> int:
        """Tokens of all parts; a third of the characters where another program has not said how many there are."""
        alone = int(self.hit.node.metadata.get("tokens") or len(self.hit.node.get_content(MetadataMode.NONE)) // 3 + 1)
        return sum(part.tokens for part in self.parts) if self.parts else alone

    def extend(self, part: Part) -> bool:
        """Add the chunk before the first part, or behind the last; False where it does not join up with them."""
        first, last = self.parts[0], self.parts[-1]
        if part.position < first.position:
            before, behind, place = part, first, 0
        else:
            before, behind, place = last, part, len(self.parts)
        if before.end + len(behind.gap) != behind.start:
            return False
        self.parts.insert(place, part)
        return True

    def overlaps(self, other: Passage) -> bool:
        """Whether both show the same chunk."""
        return not {part.key for part in self.parts}.isdisjoint(part.key for part in other.parts)

    def take_in(self, other: Passage) -> None:
        """Show the other hit within this one: a copy of its text, or a hit with a chunk that is in this one, too."""
        if self.overlaps(other):
            parts = {part.key: part for part in [*self.parts, *other.parts]}
            self.parts = [parts[key] for key in sorted(parts)]
        self.merged += [other.id, *other.merged]
        self.paths += [*other.hit.node.metadata.get("paths", ()), *other.paths]

    def as_node(self) -> NodeWithScore:
        """Return a copy of the hit with the text and the places of all parts, and with its own page, score and id."""
        if len(self.parts) < 2 and not self.merged:
            return self.hit
        node = self.hit.node
        paths = {*node.metadata.get("paths", ()), *self.paths}
        changed: dict[str, Any] = {"merged": self.merged, "paths": sorted(paths)}
        update: dict[str, Any] = {
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, "merged"],
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, "merged"],
        }
        if len(self.parts) > 1:
            first, last = self.parts[0], self.parts[-1]
            places = [place for part in self.parts for place in part.places]
            changed |= {
                "start": first.start,
                "end": last.end,
                "gap": first.gap,
                "tokens": self.tokens,
                "heading": list(common_heading(part.heading for part in self.parts)),
                "places": places,
                "pages": sorted({place[2] for place in places}),
                "tables": [table for part in self.parts for table in part.tables],
            }
            text = first.text + "".join(part.gap + part.text for part in self.parts[1:])
            update |= {"text": text, "start_char_idx": first.start, "end_char_idx": last.end}
        update["metadata"] = {**node.metadata, **changed}
        return NodeWithScore(node=node.model_copy(update=update), score=self.hit.score)


def common_heading(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the headings with which all paths begin.

    >>> common_heading([("Manual", "Care"), ("Manual", "Care", "Rinsing"), ("Manual", "Storage")])
    ('Manual',)
    """
    same = itertools.takewhile(lambda headings: len(set(headings)) == 1, zip(*paths, strict=False))
    return tuple(headings[0] for headings in same)
