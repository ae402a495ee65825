import pytest
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from rag_pipeline.errors import ConfigError
from rag_pipeline.filters import Condition, Filter
from rag_pipeline.store.metadata_filters import FilterLike, as_filter

PAGE = Condition("page", "eq", 3)


def test_what_callers_say_becomes_one_kind_of_filter() -> None:
    assert as_filter(None) is None
    assert as_filter(Filter(all=(PAGE,))) == Filter(all=(PAGE,))
    assert as_filter({"page": 3}) == Filter(all=(PAGE,))
    assert as_filter("page=3") == Filter(all=(Condition("pages", "eq", "3"),))
    assert as_filter(MetadataFilters(filters=[MetadataFilter(key="page", value=3)])) == Filter(all=(PAGE,))


@pytest.mark.parametrize("nothing", [Filter(), {}, MetadataFilters(filters=[])])
def test_an_empty_filter_is_none(nothing: FilterLike) -> None:
    assert as_filter(nothing) is None


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("==", 3, Condition("k", "eq", 3)),
        ("!=", "a", Filter(none=(Condition("k", "eq", "a"),))),
        (">", 1.5, Condition("k", "gt", 1.5)),
        (">=", 1, Condition("k", "gte", 1)),
        ("<", "2024-03-01", Condition("k", "lt", "2024-03-01")),
        ("<=", 1, Condition("k", "lte", 1)),
        ("in", ["a", "b"], Condition("k", "in", ("a", "b"))),
        ("nin", [1, 2], Filter(none=(Condition("k", "in", (1, 2)),))),
        ("any", ["a", "b"], Condition("k", "in", ("a", "b"))),
        ("all", ["a", "b"], Filter(all=(Condition("k", "eq", "a"), Condition("k", "eq", "b")))),
        ("contains", "a", Condition("k", "eq", "a")),
        ("text_match", "part", Condition("k", "contains", "part")),
        ("is_empty", None, Filter(none=(Condition("k", "exists"),))),
    ],
)
def test_each_operator_has_its_counterpart(operator: str, value: object, expected: Condition | Filter) -> None:
    wanted = MetadataFilter(key="k", value=value, operator=FilterOperator(operator))  # type: ignore[arg-type]
    assert as_filter(MetadataFilters(filters=[wanted])) == Filter(all=(expected,))


def test_the_table_leaves_one_operator_out() -> None:
    """A new operator of LlamaIndex's shows up here."""
    translated = {"==", "!=", ">", ">=", "<", "<=", "in", "nin", "any", "all", "contains", "text_match", "is_empty"}
    assert {operator.value for operator in FilterOperator} - translated == {"text_match_insensitive"}


def test_filters_nest_and_join() -> None:
    a, b = MetadataFilter(key="a", value=1), MetadataFilter(key="b", value=2)
    inner = MetadataFilters(filters=[a, MetadataFilters(filters=[])], condition=FilterCondition.NOT)
    both = MetadataFilters(filters=[inner, b], condition=FilterCondition.OR)
    assert as_filter(both) == Filter(any=(Filter(none=(Condition("a", "eq", 1),)), Condition("b", "eq", 2)))


@pytest.mark.parametrize(
    ("operator", "value", "told"),
    [
        (
            "text_match_insensitive",
            "x",
            "operator 'text_match_insensitive' has no counterpart in the engine; use one of '=='",
        ),
        ("==", ["a"], "operator '==' does not take"),
        ("==", None, "operator '==' does not take None"),
        ("in", "a", "operator 'in' does not take 'a'"),
        ("all", "a", "operator 'all' has no counterpart"),
        ("text_match", 3, "does not take 3"),
    ],
)
def test_what_has_no_counterpart_is_refused_not_ignored(operator: str, value: object, told: str) -> None:
    wanted = MetadataFilter(key="k", value=value, operator=FilterOperator(operator))  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        as_filter(MetadataFilters(filters=[wanted]))
    assert told in str(caught.value)
