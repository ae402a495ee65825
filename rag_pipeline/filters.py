"""Which points a search may find: conditions on payload keys, as values.

Enters: words such as ``page>=3`` or ``path=reports/**/*.pdf``, or equalities. Leaves: a :class:`Filter`. This module
knows no engine and no vendor, and not which keys an index has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from rag_pipeline.errors import ConfigError
from rag_pipeline.media_types import MEDIA_TYPES, PICTURE_TYPES

__all__ = [
    "Condition", "Filter", "IndexKind", "Op", "Value", "all_of", "equalities", "kind_of", "parse_filter", "period",
]  # fmt: skip

Value = str | int | float
Op = Literal["eq", "in", "lt", "lte", "gt", "gte", "between", "glob", "contains", "exists"]
IndexKind = Literal["keyword", "integer", "float", "datetime"]
"""What an engine indexes the values of a key as, and so what a filter compares them as."""

_KINDS: Mapping[type, IndexKind] = {int: "integer", float: "float"}
_LONGEST_KEYWORD = 500
_WRITTEN = re.compile(r"([^=!<>]+?)\s*(!=|>=|<=|=|>|<)\s*(.*)", re.DOTALL)
_COMPARISONS: Mapping[str, Op] = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}
_WORDS = {"path": "paths", "page": "pages", "tag": "tags", "type": "media_type"}
"""What people say, and the payload key that holds it."""
_POINT = r"[+-]?\d+(?:\.\d+)?|\d{4}-\d\d(?:-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?)?"
_RANGE = re.compile(rf"({_POINT})\.\.({_POINT})")
_YEAR_OR_MONTH = re.compile(r"(\d{4})(?:-(\d\d))?")


@dataclass(frozen=True, slots=True)
class Condition:
    """One key compared with a value. Of a list, one element must satisfy it; a key that is missing satisfies none.

    ``between`` takes two values and includes both; ``in`` takes any number; ``glob`` takes a pattern of the whole value
    (``*``: anything but ``/``, ``?``: one such character, ``**``: any folders); ``contains`` takes a part of a text;
    ``exists`` takes None, and an empty list counts as missing. Dates are ISO 8601 text, of which a year, a month or a
    day stands for all of it. Engines do not compare true and false: those are stored as text.
    """

    key: str
    op: Op
    value: Value | tuple[Value, ...] | None = None

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError(f"Condition needs a key, got {self}")
        values = self.value if isinstance(self.value, tuple) else () if self.value is None else (self.value,)
        match self.op:
            case "in":
                fits = isinstance(self.value, tuple)
            case "between":
                fits = isinstance(self.value, tuple) and len(values) == 2
            case "exists":
                fits = self.value is None
            case "glob" | "contains":
                fits = isinstance(self.value, str)
            case _:
                fits = not isinstance(self.value, tuple) and len(values) == 1
        fits = fits and all(isinstance(value, Value) and not isinstance(value, bool) for value in values)
        if not fits:
            raise ValueError(f"Condition {self.op!r} on {self.key!r} does not take {self.value!r}")


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions, and filters of their own, joined: ``all`` hold, ``none`` does, and one of ``any``.

    An empty ``any`` asks for nothing, and an empty filter holds for every point.
    """

    all: tuple[Condition | Filter, ...] = ()
    any: tuple[Condition | Filter, ...] = ()
    none: tuple[Condition | Filter, ...] = ()

    def __post_init__(self) -> None:
        if any(not one for one in (*self.all, *self.any, *self.none) if isinstance(one, Filter)):
            raise ValueError("an empty filter says nothing within another; leave it out")

    def __bool__(self) -> bool:
        return bool(self.all or self.any or self.none)


def kind_of(value: object) -> IndexKind | None:
    """Return what values like this one are indexed as; None for what is not: true and false, objects, long texts."""
    if isinstance(value, list):
        return kind_of(value[0]) if value else None
    if isinstance(value, str):
        return "keyword" if len(value) <= _LONGEST_KEYWORD else None
    return _KINDS.get(type(value))


def equalities(values: Mapping[str, str | int]) -> Filter:
    """Return the filter that holds where every key has its value."""
    return Filter(all=tuple(Condition(key, "eq", value) for key, value in values.items()))


def all_of(*filters: Filter | None) -> Filter | None:
    """Return the filter that holds where all of these do; None where there is none."""
    given = tuple(one for one in filters if one)
    return Filter(all=given) if len(given) > 1 else given[0] if given else None


def parse_filter(text: str) -> Filter:
    """Read ``KEY=VALUE``, also with ``!=``, ``>=``, ``<=``, ``>`` and ``<``.

    ``path``, ``page``, ``tag`` and ``type`` stand for the keys ``paths``, ``pages``, ``tags`` and ``media_type``; other
    keys are the payload's. ``*`` and ``?`` in a value make it a pattern, ``*`` alone asks for any value, ``3..7`` is a
    range with both ends. A path that does not begin with ``/`` may begin in any folder, and one that ends with ``/`` is
    all that is below.

    >>> parse_filter("page=3..7").all
    (Condition(key='pages', op='between', value=('3', '7')),)
    >>> parse_filter("path!=drafts/").none
    (Condition(key='paths', op='glob', value='**/drafts/**'),)

    Raises:
        ConfigError: it is not written so, or names a type of file that is none.
    """
    written = _WRITTEN.fullmatch(text.strip())
    if written is None or not written[3]:
        raise ConfigError(
            f"filter {text!r} is not KEY=VALUE; write for example path=reports/**/*.pdf, type=pdf, page>=3, "
            "date>=2024-01-01, tag=finance"
        )
    word, sign, value = written.groups()
    key = _WORDS.get(word, word)
    if sign in _COMPARISONS:
        return Filter(all=(Condition(key, _COMPARISONS[sign], value),))
    condition = _condition(word, key, value)
    return Filter(none=(condition,)) if sign == "!=" else Filter(all=(condition,))


def period(text: str) -> tuple[datetime, datetime] | None:
    """Return the first moment of a date and the first one after it, in UTC; None for what is no ISO 8601.

    A year, month or day lasts as long as it does, a moment no time. Without a zone, UTC is meant.

    >>> [str(moment.date()) for moment in period("2024-12")]
    ['2024-12-01', '2025-01-01']
    """
    try:
        if whole := _YEAR_OR_MONTH.fullmatch(text):
            year, month = int(whole[1]), int(whole[2] or 1)
            after = (year + 1, 1) if whole[2] is None or month == 12 else (year, month + 1)
            return datetime(year, month, 1, tzinfo=UTC), datetime(*after, 1, tzinfo=UTC)
        start = datetime.fromisoformat(text)
        start = start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)
        return start, start + (timedelta(days=1) if len(text) == 10 else timedelta())
    except (ValueError, OverflowError):
        return None


def _condition(word: str, key: str, value: str) -> Condition:
    if value == "*":
        return Condition(key, "exists")
    if word == "type":
        return _of_type(value)
    if word == "path":
        value = value if value.startswith(("/", "**/")) else f"**/{value}"
        value += "**" if value.endswith("/") else ""
    elif ends := _RANGE.fullmatch(value):
        return Condition(key, "between", ends.groups())
    return Condition(key, "glob" if "*" in value or "?" in value else "eq", value)


def _of_type(value: str) -> Condition:
    word = value.lower().removeprefix(".")
    if word == "image":
        return Condition("media_type", "glob", "image/*")
    known = {**MEDIA_TYPES, **PICTURE_TYPES}
    if word not in known and "/" not in word:
        raise ConfigError(f"filter type={value} names no type of file; known: image, {', '.join(known)}")
    return Condition("media_type", "eq", known.get(word, word))
