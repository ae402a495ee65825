"""A painted PDF page in, which of its letters a person sees out.

A document must not speak to a reader, or to a language model, in words that nobody sees. What is not seen is told by
looking: the page is painted, and a string in whose place there is one colour only is not there for a person, whether
it is white on white, black on black, under a picture, cut away or on a layer that is off. Painting costs 2 to 6 ms a
page. This module knows pdfium's bitmaps and boxes of letters, and nothing of what the letters say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Letters", "Rect", "Run"]

_MOST_PIXELS = 2_000_000
_STEP = 6
"""Levels of 255 between neighbours that no eye tells apart."""
_LIGHT = 235
_SMALLEST = 1.0
"""Points: smaller letters are not read by anyone."""
_SCANNED = 0.5
"""Share of a page that pictures cover where text without colour is what a scanner's software has read in them."""

_LAST_LATIN = "\u024f"
"""pdfium brings shapes for letters up to here, whatever fonts the machine has."""

Rect = tuple[float, float, float, float]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Run:
    """How letters that follow each other on a line are set.

    ``invisible``: without paint; ``white``: in white; ``drawable``: pdfium has the shapes of the letters, so that an
    empty place means that they cannot be seen.
    """

    invisible: bool
    white: bool
    drawable: bool


@dataclass(slots=True)
class Letters:
    """The letters of a page in the order in which they are painted.

    ``rects`` are places in points from the lower left of what is shown; ``sizes`` are heights, 0 where unknown;
    ``members`` the run of each letter.
    """

    texts: list[str] = field(default_factory=list)
    rects: list[Rect] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    members: list[int] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def hidden_runs(self, page: Any, pictures: Iterable[Rect]) -> list[bool]:
        """Tell for each run whether it is hidden. ``page`` is pdfium's, ``pictures`` are the places of pictures.

        Text without paint stays where pictures cover most of the page: it is the text layer of a scan.
        """
        if not self.texts:
            return [False] * len(self.runs)
        count = len(self.runs)
        rects = np.array(self.rects, dtype=np.float64)
        members = np.array(self.members)
        sizes = np.array(self.sizes)
        width, height = page.get_size()
        word = np.array([not text.isspace() for text in self.texts])
        asked = word & (rects[:, 2] > rects[:, 0])
        letter = asked & np.array([text.isalnum() for text in self.texts])
        asked &= letter | ~_any(letter, members, count)[members]
        outside = (rects[:, 2] <= 0) | (rects[:, 0] >= width) | (rects[:, 3] <= 0) | (rects[:, 1] >= height)
        invisible, white, drawable = np.array([(run.invisible, run.white, run.drawable) for run in self.runs]).T
        latin = ~_any(word & np.array([text > _LAST_LATIN for text in self.texts]), members, count)
        scanned = _covered(pictures, width, height) >= _SCANNED
        has_word = _any(word, members, count)
        hidden = invisible & (not scanned)
        hidden |= has_word & ~_any(word & ~outside, members, count)
        hidden |= has_word & ~_any(word & ((sizes >= _SMALLEST) | (sizes == 0)), members, count)
        places = _Places(rects[asked], members[asked], count)
        painted = _Painted(page, "gray")
        plain = painted.plain_runs(places)
        if plain.any():  # two colours may be one gray
            plain &= _Painted(page, "colour").plain_runs(places)
        layer = invisible & ~hidden
        if (plain & layer).sum() * 2 <= layer.sum():
            plain &= ~layer  # it lies over the words of the scan: a blank place here and there is a slip of the scanner
        hidden |= plain & (drawable | white | latin)
        if (white & ~invisible).any():
            hidden |= white & ~invisible & painted.light_runs(places)
        # Blanks between two words go the way of the first.
        told: list[bool] = hidden.tolist()
        for run in range(1, count):
            if not has_word[run]:
                told[run] = told[run - 1]
        return told

    def passages(self, hidden: list[bool]) -> int:
        """Count the hidden passages: hidden runs with words, of which those that follow each other are one."""
        words = {member for member, text in zip(self.members, self.texts, strict=True) if not text.isspace()}
        gone = [hidden[run] for run in sorted(words)]
        return sum(now and not before for now, before in zip(gone, [False, *gone], strict=False))


def _any(flags: _Flags, members: npt.NDArray[Any], count: int) -> _Flags:
    """Tell for each run whether any of its letters is flagged."""
    return np.bincount(members[flags], minlength=count) > 0


def _covered(pictures: Iterable[Rect], width: float, height: float) -> float:
    """Return the share of a page under pictures; strips of one scan add up."""
    area = 0.0
    for left, bottom, right, top in pictures:
        across = min(right, width) - max(left, 0.0)
        area += max(across, 0.0) * max(min(top, height) - max(bottom, 0.0), 0.0)
    return area / max(width * height, 1.0)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where to look: rectangles (n, 4) and the run of each, of ``count`` runs."""

    rects: npt.NDArray[np.float64]
    members: npt.NDArray[Any]
    count: int

    def most(self, flags: _Flags) -> _Flags:
        """Tell of which runs most places are flagged: the letters of a hidden line may touch those of a visible one."""
        flagged = np.bincount(self.members[flags], minlength=self.count)
        return (flagged > 0) & (flagged * 2 > np.bincount(self.members, minlength=self.count))


class _Painted:
    """A page as pixels, with the number of visible steps between neighbours left of and above each of them."""

    def __init__(self, page: Any, how: str) -> None:
        width, height = page.get_size()
        self._scale = min(1.0, math.sqrt(_MOST_PIXELS / max(width * height, 1.0)))
        bitmap = page.render(scale=self._scale, grayscale=how == "gray", may_draw_forms=True)
        pixels: npt.NDArray[np.uint8] = bitmap.to_numpy()
        pixels = pixels.reshape(pixels.shape[0], pixels.shape[1], -1)
        self._light = pixels.min(axis=2) >= _LIGHT
        self._across = _summed(_steps(pixels[:, :-1], pixels[:, 1:]))
        self._down = _summed(_steps(pixels[:-1], pixels[1:]))

    def plain_runs(self, places: _Places) -> _Flags:
        """Tell of which runs most letters have one colour only in their place."""
        x0, y0, x1, y1 = self._pixels(places.rects)
        steps = _within(self._across, x0, y0, x1 - 1, y1) + _within(self._down, x0, y0, x1, y1 - 1)
        return places.most((steps == 0) & (x1 > x0) & (y1 > y0))

    def light_runs(self, places: _Places) -> _Flags:
        """Tell of which runs most letters stand on white or nearly so."""
        x0, y0, x1, y1 = self._pixels(places.rects)
        light = _within(_summed(self._light), x0, y0, x1, y1)
        return places.most(light * 2 > (x1 - x0) * (y1 - y0))

    def _pixels(self, rects: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], ...]:
        high, wide = self._light.shape
        left, bottom, right, top = (rects * self._scale).T
        edges = (np.floor(left) - 1, np.floor(high - top) - 1, np.ceil(right) + 1, np.ceil(high - bottom) + 1)
        most = (wide, high, wide, high)
        return tuple(np.clip(edge, 0, limit).astype(np.int64) for edge, limit in zip(edges, most, strict=True))


def _steps(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> _Flags:
    steps: _Flags = (np.maximum(one, other) - np.minimum(one, other)).max(axis=2) > _STEP
    return steps


def _summed(flags: _Flags) -> npt.NDArray[np.int32]:
    """Return sums over all rectangles from the upper left corner, so that any rectangle's sum is four look-ups."""
    summed = np.zeros((flags.shape[0] + 1, flags.shape[1] + 1), dtype=np.int32)
    np.cumsum(flags, axis=0, out=summed[1:, 1:])
    np.cumsum(summed[1:, 1:], axis=1, out=summed[1:, 1:])
    return summed


def _within(
    summed: npt.NDArray[np.int32],
    x0: npt.NDArray[np.int64],
    y0: npt.NDArray[np.int64],
    x1: npt.NDArray[np.int64],
    y1: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    high, wide = summed.shape
    x0, y0 = np.minimum(x0, wide - 1), np.minimum(y0, high - 1)
    x1, y1 = np.maximum(x0, np.minimum(x1, wide - 1)), np.maximum(y0, np.minimum(y1, high - 1))
    return (summed[y1, x1] - summed[y0, x1] - summed[y1, x0] + summed[y0, x0]).astype(np.int64)
