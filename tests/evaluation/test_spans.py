"""Measures of places, worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.evaluation.spans import SpanMeasures, TextSpan, first_characters, measure_spans


def test_one_chunk_over_half_of_the_gold() -> None:
    """10 gold characters, 20 found, 5 of them in both: 5 / 10, 5 / 20, and 5 of the 25 in either."""
    assert measure_spans([TextSpan("a", 0, 10)], [TextSpan("a", 5, 25)]) == SpanMeasures(0.5, 0.25, 0.2)


def test_the_same_offsets_of_another_document_are_other_characters() -> None:
    assert measure_spans([TextSpan("a", 0, 10)], [TextSpan("b", 0, 10)]) == SpanMeasures(0.0, 0.0, 0.0)


def test_several_gold_places_and_chunks_add_up() -> None:
    """Gold 10 + 10; the first is found whole and 2 of the second, among 12 + 8 found: 12 / 20, 12 / 20, 12 / 28."""
    gold = [TextSpan("a", 10, 20), TextSpan("a", 40, 50)]
    found = [TextSpan("a", 8, 20), TextSpan("a", 34, 42)]
    assert measure_spans(gold, found) == SpanMeasures(0.6, 0.6, 12 / 28)


def test_what_is_found_twice_is_paid_for_twice() -> None:
    """Two chunks of 10 share 5 characters: all 10 gold ones are met, among 20 spent."""
    assert measure_spans([TextSpan("a", 0, 10)], [TextSpan("a", 0, 10), TextSpan("a", 5, 15)]) == SpanMeasures(
        1.0, 0.5, 0.5
    )


def test_gold_that_is_told_twice_counts_once() -> None:
    assert measure_spans([TextSpan("a", 0, 10), TextSpan("a", 5, 10)], [TextSpan("a", 0, 5)]) == SpanMeasures(
        0.5, 1.0, 0.5
    )


def test_nothing_found_is_zero_and_nothing_to_find_is_an_error() -> None:
    assert measure_spans([TextSpan("a", 0, 10)], []) == SpanMeasures(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="no gold character"):
        measure_spans([TextSpan("a", 3, 3)], [TextSpan("a", 0, 10)])
    with pytest.raises(ValueError, match="ordered offsets from 0, got 5-4 in a"):
        TextSpan("a", 5, 4)


def test_a_budget_cuts_the_last_place() -> None:
    found = [TextSpan("a", 0, 10), TextSpan("b", 100, 110), TextSpan("a", 50, 60)]
    assert first_characters(found, 15) == [TextSpan("a", 0, 10), TextSpan("b", 100, 105)]
    assert first_characters(found, 10) == [TextSpan("a", 0, 10)]
    assert first_characters(found, 100) == found


places = st.lists(
    st.builds(lambda name, start, size: TextSpan(name, start, start + size), st.sampled_from("ab"), st.integers(0, 40),
              st.integers(1, 20)),
    min_size=1, max_size=6,
)  # fmt: skip


@given(places, places)
def test_shares_stay_shares_and_the_union_is_the_strictest(gold: list[TextSpan], found: list[TextSpan]) -> None:
    measures = measure_spans(gold, found)
    assert (
        0 <= measures.iou <= min(measures.recall, measures.precision) <= max(measures.recall, measures.precision) <= 1
    )
    assert measure_spans(gold, gold).recall == 1
