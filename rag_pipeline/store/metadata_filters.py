"""LlamaIndex's ``MetadataFilters``, or equalities, -> a :class:`Filter`.

Enters: whatever a caller limits a search by. Leaves: a Filter, or an error that names the operator that has no
counterpart. This module knows no engine and no key.
"""

from __future__ import annotations

from collections.abc import Mapping

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from rag_pipeline.errors import ConfigError
from rag_pipeline.filters import Condition, Filter, Op, Value, equalities, parse_filter

__all__ = ["FilterLike", "as_filter"]

FilterLike = Filter | Mapping[str, str | int] | MetadataFilters | str
"""A Filter; the keys and values that must be equal; LlamaIndex's filters; or words as the command line takes them."""

_OPS: Mapping[FilterOperator, Op] = {
    FilterOperator.EQ: "eq",
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
    FilterOperator.IN: "in",
    FilterOperator.ANY: "in",
    FilterOperator.CONTAINS: "eq",  # of a list, one element is enough
    FilterOperator.TEXT_MATCH: "contains",
}
_NEGATED: Mapping[FilterOperator, Op] = {
    FilterOperator.NE: "eq",
    FilterOperator.NIN: "in",
    FilterOperator.IS_EMPTY: "exists",
}


def as_filter(filters: FilterLike | None) -> Filter | None:
    """Return the filter that is meant; None where everything may be found.

    Raises:
        ConfigError: an operator has no counterpart, a value does not fit its operator, or the words are no filter.
    """
    if filters is None:
        return None
    if isinstance(filters, str):
        return parse_filter(filters)
    if isinstance(filters, MetadataFilters):
        filters = _joined(filters)
    elif not isinstance(filters, Filter):
        filters = equalities(filters)
    return filters or None


def _joined(filters: MetadataFilters) -> Filter:
    parts = [_one(one) if isinstance(one, MetadataFilter) else _joined(one) for one in filters.filters]
    said = tuple(part for part in parts if part)
    match filters.condition:
        case FilterCondition.OR:
            return Filter(any=said)
        case FilterCondition.NOT:
            return Filter(none=said)
    return Filter(all=said)


def _one(wanted: MetadataFilter) -> Condition | Filter:
    values = _values(wanted)
    if wanted.operator == FilterOperator.ALL and isinstance(values, tuple):
        return Filter(all=tuple(Condition(wanted.key, "eq", value) for value in values))
    op = _OPS.get(wanted.operator) or _NEGATED.get(wanted.operator)
    if op is None:
        raise ConfigError(
            f"filter {wanted.key}: operator {wanted.operator.value!r} has no counterpart in the engine; "
            f"use one of {', '.join(repr(known.value) for known in (*_OPS, *_NEGATED))}"
        )
    try:
        condition = Condition(wanted.key, op, None if op == "exists" else values)
    except ValueError as exc:
        raise ConfigError(
            f"filter {wanted.key}: operator {wanted.operator.value!r} does not take {wanted.value!r}; correct the value"
        ) from exc
    return Filter(none=(condition,)) if wanted.operator in _NEGATED else condition


def _values(wanted: MetadataFilter) -> Value | tuple[Value, ...] | None:
    return tuple(wanted.value) if isinstance(wanted.value, list) else wanted.value
