"""Chunks of an index -> questions whose answer is known: each is made of words of one chunk, and that chunk is it.

Enters: records. Leaves: :class:`KnownItem` values, the same for the same records and seed, in whatever order they come.
This module knows nothing of engines and models.

Known-item questions share their words with the answer more than people's do (Azzopardi, de Rijke and Balog, "Building
Simulated Queries for Known-Item Topics", SIGIR 2007). Half of a sentence's words are left out, so that a match of all
words is nowhere, and whoever tunes by them should distrust what they say in favour of word matching; see ``tune.py``.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rag_pipeline.types import Record

__all__ = ["KnownItem", "known_items"]

_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_LEAST_WORDS, _MOST_WORDS = 8, 40
_KEPT = 0.5
_LEAST_CHARACTERS = 12
"""Of a sentence in a script without spaces, of which one run is kept."""


@dataclass(frozen=True, slots=True)
class KnownItem:
    """A question, the id of the point that it was made of, and the point's language (ISO 639-1, or ``""``)."""

    question: str
    id: str
    language: str


def known_items(records: Iterable[Record], count: int, seed: int = 0) -> list[KnownItem]:
    """Return at most ``count`` questions, one for a chunk, from chunks drawn at random from those of text."""

    def lot(item: KnownItem) -> str:
        return hashlib.sha256(f"{seed} {item.id}".encode()).hexdigest()

    return heapq.nsmallest(count, _questions(records, seed), key=lot)


def _questions(records: Iterable[Record], seed: int) -> Iterator[KnownItem]:
    for record in records:
        if record.payload.get("figure") is not None:
            continue
        draw = random.Random(f"{seed} {record.id}")  # noqa: S311 - a sample, no secret
        sentences = [one for one in _SENTENCE.split(str(record.payload.get("text", ""))) if _speaks(one)]
        if sentences:
            yield KnownItem(
                _shortened(draw.choice(sentences), draw), record.id, str(record.payload.get("language") or "")
            )


def _speaks(sentence: str) -> bool:
    words = sentence.split()
    if _LEAST_WORDS <= len(words) <= _MOST_WORDS:
        return True
    return _is_unspaced(sentence) and len(sentence.strip()) >= _LEAST_CHARACTERS


def _is_unspaced(sentence: str) -> bool:
    """Whether words are not told apart by spaces, as in Chinese, Japanese and Thai."""
    return max(map(len, sentence.split()), default=0) >= 2 * _LEAST_CHARACTERS and not sentence.isascii()


def _shortened(sentence: str, draw: random.Random) -> str:
    """Return half of a sentence: words drawn at random, in their order, or one run of characters."""
    words = sentence.split()
    if len(words) >= _LEAST_WORDS:
        kept = sorted(draw.sample(range(len(words)), round(len(words) * _KEPT)))
        return " ".join(words[place] for place in kept)
    text = sentence.strip()
    length = round(len(text) * _KEPT)
    start = draw.randrange(len(text) - length + 1)
    return text[start : start + length]
