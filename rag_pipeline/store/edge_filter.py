"""A :class:`Filter` -> the engine's own filter.

Enters: conditions on payload keys, whose values may be words. Leaves: a Qdrant filter whose every condition means what
``filters.py`` says. A key that no point has is refused: it would find nothing, without a word. This module knows the
engine's conditions and indexes; which keys there are, and of what kind, it learns from the engine.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import qdrant_edge as qdrant

from rag_pipeline.errors import ConfigError
from rag_pipeline.filters import Condition, Filter, IndexKind, Op, Value, period

__all__ = ["FilterTranslator"]

_ID = "id"
"""Not a payload key: the point's own."""
_OTHER = "meta"
"""The payload key under which a document's own keys lie: ``author`` is ``meta.author``, unless the payload has it."""
_PATH = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ALL_VALUES = 2**31
_TOKENS = re.compile(r"(?<![^/])\*\*/|(?<![^/])\*\*$|\*|\?|[^*?]+")
_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
"""What patterns have besides text, as regular expressions."""
_NEEDS: Mapping[IndexKind | None, str] = {
    "keyword": "is text, which has no order: use = or a pattern",
    "integer": "is a number",
    "datetime": "is a date such as 2024-03-01, 2024-03 or 2024",
    None: "is compared with numbers and dates only",
}

Part = (
    qdrant.FieldCondition
    | qdrant.IsEmptyCondition
    | qdrant.IsNullCondition
    | qdrant.HasIdCondition
    | qdrant.HasVectorCondition
    | qdrant.NestedCondition
    | qdrant.Filter
)
"""All that the engine takes as a part of a filter."""


class FilterTranslator:
    """Translates for one shard.

    ``declared`` are the keys that every point has values of one kind for, and ``kinds``, which may grow, all that are
    indexed. The values of other keys are of any type: text is looked for as text, and as what it can be read as.
    """

    def __init__(
        self, shard: qdrant.EdgeShard, declared: Mapping[str, IndexKind], kinds: Mapping[str, IndexKind]
    ) -> None:
        self._shard = shard
        self._declared = declared
        self._kinds = kinds

    def translate(self, wanted: Filter) -> qdrant.Filter:
        """Return the engine's filter.

        Raises:
            ConfigError: no point has one of the keys, or a value cannot be compared with those of its key.
        """
        return qdrant.Filter(
            must=[self._part(one) for one in wanted.all],
            should=[self._part(one) for one in wanted.any],
            must_not=[self._part(one) for one in wanted.none],
        )

    def _part(self, wanted: Condition | Filter) -> Part:
        if isinstance(wanted, Filter):
            return self.translate(wanted)
        if wanted.key == _ID:
            return _with_ids(wanted)
        key = self._resolved(wanted.key)
        if wanted.op == "exists":
            return qdrant.Filter(must_not=[qdrant.IsEmptyCondition(key)])
        if wanted.op == "glob":
            return self._glob(key, str(wanted.value))
        if wanted.op == "contains":
            return qdrant.FieldCondition(key, match=qdrant.MatchSubstring(str(wanted.value)))
        if wanted.op == "in":
            return self._among(key, _values(wanted))
        readings = self._readings(key, wanted.op, _values(wanted))
        return readings[0] if len(readings) == 1 else qdrant.Filter(should=readings)

    # ---------------------------------------------------------------------------------- keys

    def _resolved(self, key: str) -> str:
        """Return where a key lies: in the payload, or among the document's own."""
        places = (key, f"{_OTHER}.{key}")
        for place in places:
            if place in self._kinds:
                return place
        if _PATH.fullmatch(key):
            if self._shard.count(qdrant.CountRequest(exact=False)) == 0:
                return key
            for place in places:
                if self._occurs(place):
                    return place
        known = [name.removeprefix(f"{_OTHER}.") for name in self._kinds]
        close = difflib.get_close_matches(key, known, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ";"
        raise ConfigError(f"filter: no passage has the key {key!r}{hint} known: {', '.join(known)}")

    def _occurs(self, key: str) -> bool:
        present = qdrant.Filter(must_not=[qdrant.IsEmptyCondition(key)])
        rows, _ = self._shard.scroll(
            qdrant.ScrollRequest(limit=1, filter=present, with_payload=False, with_vector=False)
        )
        return bool(rows)

    # -------------------------------------------------------------------------------- values

    def _among(self, key: str, values: Sequence[Value]) -> Part:
        if self._declared.get(key) == "keyword":
            return _any_of(key, [str(value) for value in values])
        if not values:
            return _nothing()
        return qdrant.Filter(should=[one for value in values for one in self._readings(key, "eq", (value,))])

    def _readings(self, key: str, op: Op, values: Sequence[Value]) -> list[Part]:
        """Return the condition for each way in which values can be read, of which one must hold."""
        kind, text = self._declared.get(key), isinstance(values[0], str)
        numbers = [number for value in values if (number := _number(value)) is not None]
        spans = [span for value in values if (span := period(str(value))) is not None]
        found: list[Part] = []
        if op == "eq" and (kind == "keyword" or (kind is None and text)):
            found.append(qdrant.FieldCondition(key, match=qdrant.MatchValue(str(values[0]))))
        if kind in (None, "integer") and len(numbers) == len(values):
            found.append(qdrant.FieldCondition(key, range=_number_range(op, numbers)))
        if (kind == "datetime" or (kind is None and text)) and len(spans) == len(values):
            found.append(qdrant.FieldCondition(key, range=_date_range(op, spans)))
        if not found:
            told = " and ".join(map(str, values))
            raise ConfigError(f"filter {key} {op} {told}: {key} {_NEEDS[kind]}; correct the value")
        return found

    def _glob(self, key: str, pattern: str) -> Part:
        """Look a pattern up among the values that there are: the engine knows prefixes and parts, and no patterns."""
        if self._kinds.get(key) != "keyword":
            texts = ", ".join(name for name, kind in self._kinds.items() if kind == "keyword")
            raise ConfigError(f"filter {key}: a pattern ({pattern}) is for indexed text: {texts}; give the value")
        tokens = _TOKENS.findall(pattern)
        parts = [token for token in tokens if token not in _WILD]
        begins = tokens[0] if tokens[:1] == parts[:1] else ""
        narrower: list[Part] = []
        if begins:
            narrower.append(qdrant.FieldCondition(key, match=qdrant.MatchPrefix(begins)))
            if tokens[1:] == ["**"]:
                return narrower[0]
        if parts:
            narrower.append(qdrant.FieldCondition(key, match=qdrant.MatchSubstring(max(parts, key=len))))
        # Inexact counts take a third of the time: which values there are is not estimated.
        request = qdrant.FacetRequest(key, limit=_ALL_VALUES, exact=False, filter=qdrant.Filter(must=narrower))
        fits = re.compile("".join(_WILD.get(token) or re.escape(token) for token in tokens), re.DOTALL).fullmatch
        values = [str(hit.value) for hit in self._shard.facet(request).hits]
        fitting = [value for value in values if fits(value)]
        if fitting and len(fitting) == len(values) and len(narrower) == 1:
            return narrower[0]  # as good as all these values, and found in a fraction of the time
        return _any_of(key, fitting)


def _values(wanted: Condition) -> tuple[Value, ...]:
    if isinstance(wanted.value, tuple):
        return wanted.value
    assert wanted.value is not None
    return (wanted.value,)


def _with_ids(wanted: Condition) -> Part:
    if wanted.op not in ("eq", "in"):
        raise ConfigError(f"filter id: ids can be listed, not compared by {wanted.op!r}; give the ids")
    return qdrant.HasIdCondition({value for value in map(str, _values(wanted)) if _UUID.fullmatch(value)})


def _any_of(key: str, values: list[str]) -> Part:
    return qdrant.FieldCondition(key, match=qdrant.MatchAny(values)) if values else _nothing()


def _nothing() -> Part:
    return qdrant.HasIdCondition(set())


def _number(value: Value) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


def _number_range(op: Op, points: Sequence[float]) -> qdrant.RangeFloat:
    first, last = points[0], points[-1]
    if op in ("eq", "between"):
        return qdrant.RangeFloat(gte=first, lte=last)
    bounds = {op: first}
    return qdrant.RangeFloat(**bounds)


def _date_range(op: Op, spans: Sequence[tuple[datetime, datetime]]) -> qdrant.RangeDateTime:
    """Return the moments that are meant: after a day is after all of it."""
    (start, _), (_, end) = spans[0], spans[-1]
    before_end: Op = "lt" if start < end else "lte"
    bounds: dict[str, str]
    match op:
        case "eq" | "between":
            bounds = {"gte": start.isoformat(), before_end: end.isoformat()}
        case "gt":
            bounds = {"gte" if start < end else "gt": end.isoformat()}
        case "lte":
            bounds = {before_end: end.isoformat()}
        case _:
            bounds = {op: start.isoformat()}
    return qdrant.RangeDateTime(**bounds)
