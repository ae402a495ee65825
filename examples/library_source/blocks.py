"""The parts a document of the example library is made of.

Enters: nothing. Leaves: frozen blocks, each one kind of thing on a page. A block does not know
which format it is written to.
"""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["BarChart", "Block", "Bullets", "Heading", "PageBreak", "Picture", "Slide", "Table", "Text"]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 0 is the document's title, 1 and 2 are sections."""

    text: str
    level: int = 1

    def __post_init__(self) -> None:
        if self.level not in (0, 1, 2):
            raise ValueError(f"heading level {self.level}: use 0, 1 or 2")


@dataclass(frozen=True, slots=True)
class Text:
    """One paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of short items, numbered where the order matters."""

    items: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A captioned table; `widths` are column widths in centimetres, 16 to 17 together."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.header) for row in (self.widths, *self.rows)):
            raise ValueError(f"table {self.caption!r}: give every row {len(self.header)} cells")


@dataclass(frozen=True, slots=True)
class Picture:
    """A captioned bitmap; `draw` returns PNG bytes."""

    draw: Callable[[], bytes]
    caption: str
    width_cm: float


@dataclass(frozen=True, slots=True)
class BarChart:
    """A captioned vector chart: one bar a label, from zero."""

    caption: str
    labels: tuple[str, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.values):
            raise ValueError(f"chart {self.caption!r}: give one value a label")


@dataclass(frozen=True, slots=True)
class PageBreak:
    """The end of a page."""


Block = Heading | Text | Bullets | Table | Picture | BarChart | PageBreak


@dataclass(frozen=True, slots=True)
class Slide:
    """One slide: a title, lines or a table or a picture below it, and what the speaker says."""

    title: str
    body: Bullets | Table | Picture
    notes: str
