"""Gold places and found places of text -> recall, precision and intersection over union of characters.

Enters: places, as offsets into the texts of named documents. Leaves: :class:`SpanMeasures`. This module knows nothing
of chunks, nor of how a place was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["SpanMeasures", "TextSpan", "first_characters", "measure_spans"]


@dataclass(frozen=True, slots=True)
class TextSpan:
    """The characters ``start`` to ``end`` (exclusive) of a document's text."""

    document: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"TextSpan must be ordered offsets from 0, got {self.start}-{self.end} in {self.document}")

    def __len__(self) -> int:
        """Characters."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class SpanMeasures:
    """Shares in [0, 1]: of the gold characters that were found, of the found ones that are gold, of both in either."""

    recall: float
    precision: float
    iou: float


def measure_spans(gold: Sequence[TextSpan], found: Sequence[TextSpan]) -> SpanMeasures:
    """Compare what was found with what should have been, character by character.

    With ``t_e`` the gold characters and ``t_r`` the found ones: recall ``|t_e n t_r| / |t_e|``, precision
    ``|t_e n t_r| / |t_r|``, IoU ``|t_e n t_r| / (|t_r| + |t_e - t_r|)`` (Smith and Troynikov, "Evaluating Chunking
    Strategies for Retrieval", Chroma technical report, 2024, which writes them for tokens). As in their code, a
    character that was found twice counts twice in ``|t_r|``: overlapping chunks pay for what they repeat.

    Raises:
        ValueError: there is no gold character to find.
    """
    wanted = _characters(gold)
    if not wanted:
        raise ValueError("no gold character to find: measure questions that have an answer")
    met = len(wanted & _characters(found))
    spent = sum(map(len, found))
    return SpanMeasures(met / len(wanted), met / spent if spent else 0.0, met / (spent + len(wanted) - met))


def first_characters(found: Iterable[TextSpan], limit: int) -> list[TextSpan]:
    """Return the best places up to ``limit`` characters, the last one cut there.

    Chunkings whose chunks differ in size compare by what the same room holds, not by the same number of chunks.
    """
    kept = []
    for place in found:
        kept.append(TextSpan(place.document, place.start, min(place.end, place.start + limit)))
        limit -= len(kept[-1])
        if limit <= 0:
            break
    return kept


def _characters(places: Iterable[TextSpan]) -> set[tuple[str, int]]:
    return {(place.document, at) for place in places for at in range(place.start, place.end)}
