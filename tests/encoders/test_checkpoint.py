"""Batches keep to their budget, and shrink for one reason only."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.encoders.checkpoint import run_batches, token_batches
from rag_pipeline.errors import UnavailableError


@given(st.lists(st.integers(1, 50)), st.integers(1, 100))
def test_every_row_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(token_batches(lengths, budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[row] for row in batch) * len(batch) <= budget
    longest = [lengths[batch[0]] for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_a_batch_without_memory_is_halved() -> None:
    done: list[list[int]] = []

    def forward(batch: list[int]) -> None:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.append(batch)

    run_batches([5, 5, 5, 5, 5], 100, forward)
    assert done == [[0, 1], [2], [3, 4]]


def test_an_input_without_memory_is_named() -> None:
    def forward(batch: list[int]) -> None:
        if 1 in batch:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UnavailableError, match=r"input 2 of 3 \(7 tokens\) does not fit the memory"):
        run_batches([5, 7, 5], 100, forward)


def test_any_other_error_surfaces_at_once() -> None:
    calls = 0

    def forward(batch: list[int]) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        run_batches([5, 5], 100, forward)
    assert calls == 1
