"""A filter evaluated as ``filters.py`` says it, value by value: what the engine's translation is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rag_pipeline.filters import Condition, Filter, IndexKind, Value, period
from rag_pipeline.store.schema import PAYLOAD_INDEXES


def passes(wanted: Filter | Condition | None, payload: Mapping[str, object], id_: str = "") -> bool:
    """Whether a point passes a filter."""
    if wanted is None:
        return True
    if isinstance(wanted, Filter):
        return (
            all(passes(one, payload, id_) for one in wanted.all)
            and not any(passes(one, payload, id_) for one in wanted.none)
            and (not wanted.any or any(passes(one, payload, id_) for one in wanted.any))
        )
    held = id_ if wanted.key == "id" else _held(payload, wanted.key)
    elements = held if isinstance(held, list) else [] if held is None else [held]
    return any(_fits(element, wanted, PAYLOAD_INDEXES.get(wanted.key)) for element in elements)


def _held(payload: Mapping[str, object], key: str) -> object:
    place: object = payload
    for part in (key if key.split(".")[0] in payload else f"meta.{key}").split("."):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place


def _fits(element: object, wanted: Condition, kind: IndexKind | None) -> bool:
    values = wanted.value if isinstance(wanted.value, tuple) else (wanted.value,)
    match wanted.op:
        case "exists":
            return True
        case "glob":
            pattern, path = str(wanted.value).split("/"), str(element).split("/")
            return isinstance(element, str) and _path_fits(path, pattern)
        case "contains":
            return isinstance(element, str) and str(wanted.value) in element
        case "in":
            return any(_fits(element, Condition(wanted.key, "eq", value), kind) for value in values)
    if wanted.op == "eq" and element == str(values[0]) and (kind == "keyword" or isinstance(values[0], str)):
        return True
    if isinstance(element, int | float) and kind in (None, "integer"):
        numbers = [_number(value) for value in values]
        return None not in numbers and _within(float(element), wanted.op, [(n, n) for n in numbers if n is not None])
    if isinstance(element, str) and kind in (None, "datetime") and isinstance(values[0], str):
        moment, spans = period(element), [period(str(value)) for value in values]
        return moment is not None and None not in spans and _within(moment[0], wanted.op, [s for s in spans if s])
    return False


def _within(at: Any, op: str, spans: Sequence[tuple[Any, Any]]) -> bool:
    """Whether a moment or number is in, before or after stretches from their start up to, not including, their end."""
    (start, after), (_, end) = spans[0], spans[-1]
    match op:
        case "eq" | "between":
            return bool(start <= at and (at < end or at == end == spans[-1][0]))
        case "lt":
            return bool(at < start)
        case "lte":
            return bool(at < end or at == end == spans[-1][0])
        case "gt":
            return bool(at >= after and at != start)
    return bool(at >= start)


def _number(value: Value | None) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _path_fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(path)
        return any(_path_fits(path[at:], pattern[1:]) for at in range(len(path)))
    return bool(path) and _name_fits(path[0], pattern[0]) and _path_fits(path[1:], pattern[1:])


def _name_fits(name: str, pattern: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(_name_fits(name[at:], pattern[1:]) for at in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and _name_fits(name[1:], pattern[1:])
