from datetime import UTC, datetime

import pytest

from rag_pipeline.errors import ConfigError
from rag_pipeline.filters import Condition, Filter, all_of, kind_of, parse_filter, period

PDF = "application/pdf"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("path=/a/b.pdf", Condition("paths", "eq", "/a/b.pdf")),
        ("path=reports/**/*.pdf", Condition("paths", "glob", "**/reports/**/*.pdf")),
        ("path=b.pdf", Condition("paths", "glob", "**/b.pdf")),
        ("path=/a/", Condition("paths", "glob", "/a/**")),
        ("path=**/a/*", Condition("paths", "glob", "**/a/*")),
        ("type=pdf", Condition("media_type", "eq", PDF)),
        ("type=.DOCX", Condition("media_type", "eq", WORD)),
        ("type=image", Condition("media_type", "glob", "image/*")),
        ("type=jpg", Condition("media_type", "eq", "image/jpeg")),
        ("type=text/x-odd", Condition("media_type", "eq", "text/x-odd")),
        ("page=3", Condition("pages", "eq", "3")),
        ("page=3..7", Condition("pages", "between", ("3", "7"))),
        ("page >= 3", Condition("pages", "gte", "3")),
        ("page<3", Condition("pages", "lt", "3")),
        ("date=2023..2024-06", Condition("date", "between", ("2023", "2024-06"))),
        ("date>2024-03-01", Condition("date", "gt", "2024-03-01")),
        ("date<=2024", Condition("date", "lte", "2024")),
        ("tag=finance", Condition("tags", "eq", "finance")),
        ("tag=fin*", Condition("tags", "glob", "fin*")),
        ("author=*", Condition("author", "exists")),
        ("file_name=a [1].pdf", Condition("file_name", "eq", "a [1].pdf")),
        ("file_name=1..2.pdf", Condition("file_name", "eq", "1..2.pdf")),
        ("formula=a=b", Condition("formula", "eq", "a=b")),
        ("share=-0.5..0.5", Condition("share", "between", ("-0.5", "0.5"))),
    ],
)
def test_words_become_conditions(written: str, expected: Condition) -> None:
    assert parse_filter(written) == Filter(all=(expected,))


def test_a_negation_holds_where_its_condition_does_not() -> None:
    assert parse_filter("tag!=draft") == Filter(none=(Condition("tags", "eq", "draft"),))
    assert parse_filter("tag!=*") == Filter(none=(Condition("tags", "exists"),))
    assert parse_filter("page!=3..7") == Filter(none=(Condition("pages", "between", ("3", "7")),))


@pytest.mark.parametrize("written", ["", "page", "=3", "page=", "page>=", ">3", "!=x"])
def test_what_is_no_filter_says_how_to_write_one(written: str) -> None:
    with pytest.raises(ConfigError, match=r"is not KEY=VALUE; write for example path=reports"):
        parse_filter(written)


def test_an_unknown_type_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="type=word names no type of file; known: image, pdf, docx"):
        parse_filter("type=word")


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("2024", (2024, 1, 1), (2025, 1, 1)),
        ("2024-02", (2024, 2, 1), (2024, 3, 1)),
        ("2024-12", (2024, 12, 1), (2025, 1, 1)),
        ("2024-02-28", (2024, 2, 28), (2024, 2, 29)),
        ("2024-02-28T10:30:00+01:00", (2024, 2, 28, 9, 30), (2024, 2, 28, 9, 30)),
    ],
)
def test_a_date_lasts_as_long_as_it_says(text: str, first: tuple[int, ...], after: tuple[int, ...]) -> None:
    assert period(text) == (datetime(*first, tzinfo=UTC), datetime(*after, tzinfo=UTC))  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "soon", "2024-13", "2024-02-30", "9999", "0000"])
def test_what_is_no_date_has_no_period(text: str) -> None:
    assert period(text) is None


def test_filters_join() -> None:
    one, other = parse_filter("page=3"), parse_filter("tag=a")
    assert all_of() is None
    assert all_of(None, Filter()) is None
    assert all_of(None, one) == one
    assert all_of(one, None, other) == Filter(all=(one, other))


@pytest.mark.parametrize(
    ("op", "value"),
    [
        ("eq", None), ("eq", True), ("eq", ("a",)), ("in", "a"), ("in", (True,)), ("between", (1,)), ("gt", None),
        ("glob", 3), ("contains", None), ("exists", 1),
    ],
)  # fmt: skip
def test_a_condition_refuses_values_that_it_cannot_mean(op: str, value: object) -> None:
    with pytest.raises(ValueError, match="does not take"):
        Condition("k", op, value)  # type: ignore[arg-type]


def test_nothing_within_a_filter_is_empty() -> None:
    assert not Filter()
    with pytest.raises(ValueError, match="empty filter"):
        Filter(all=(Filter(),))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("a", "keyword"), (3, "integer"), (0.5, "float"), (["a", 1], "keyword"), ([], None), (True, None),
        ({"a": 1}, None), (None, None), ("a" * 501, None),
    ],
)  # fmt: skip
def test_what_values_are_indexed_as(value: object, kind: str | None) -> None:
    assert kind_of(value) == kind
