"""Texts are tokenized some at a time, ahead of the model, and keep their order and their numbers."""

import threading
from collections.abc import Collection, Sequence
from typing import overload

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from rag_pipeline.encoders.tokens import run_texts
from rag_pipeline.errors import InputError, OutOfMemoryError
from rag_pipeline.types import FloatMatrix, TokenIds

WORDS = ["<s>", "</s>", "a", "b", "c", "d", "e"]
TEXTS = ["a", "b b", "c c c", "d", "e e"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="a"))
    made.pre_tokenizer = WhitespaceSplit()
    made.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return made


class CountingRunner:
    """A Runner whose one output is the number of tokens of each text."""

    name = "counting"

    def __init__(self, longest: int = 100) -> None:
        self.longest = longest
        self.batches: list[int] = []

    def run(self, rows: Sequence[TokenIds], outputs: Collection[str]) -> dict[str, list[FloatMatrix]]:
        self.batches.append(len(rows))
        for number, row in enumerate(rows):
            if len(row) > self.longest:
                raise OutOfMemoryError(f"text {number + 1} of {len(rows)} does not fit")
        return {name: [np.array([len(row)], dtype=np.float32) for row in rows] for name in outputs}


@pytest.mark.parametrize("at_once", [1, 2, 5, 1024])
def test_texts_keep_their_order(tokenizer: Tokenizer, at_once: int) -> None:
    parts = list(run_texts(CountingRunner(), tokenizer, TEXTS, ("count",), max_tokens=9, at_once=at_once))
    assert [ids.tolist() for rows, _ in parts for ids in rows] == [
        [0, 2, 1],
        [0, 3, 3, 1],
        [0, 4, 4, 4, 1],
        [0, 5, 1],
        [0, 6, 6, 1],
    ]
    assert [value.item() for _, found in parts for value in found["count"]] == [3, 4, 5, 3, 4]


def test_no_text_is_no_run(tokenizer: Tokenizer) -> None:
    runner = CountingRunner()
    assert list(run_texts(runner, tokenizer, [], ("count",), max_tokens=9)) == []
    assert runner.batches == []


class WatchedTexts(Sequence[str]):
    """Says when the second part is asked for."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.second = threading.Event()

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice) and index.start == 2:
            self.second.set()
        return self.texts[index]


def test_the_next_texts_are_tokenized_while_the_model_runs(tokenizer: Tokenizer) -> None:
    texts = WatchedTexts(TEXTS)

    class Waiting(CountingRunner):
        def run(self, rows: Sequence[TokenIds], outputs: Collection[str]) -> dict[str, list[FloatMatrix]]:
            assert texts.second.wait(timeout=30)
            return super().run(rows, outputs)

    runner = Waiting()
    assert len(list(run_texts(runner, tokenizer, texts, ("count",), max_tokens=9, at_once=2))) == 3
    assert runner.batches == [2, 2, 1]


def test_a_text_past_the_limit_is_named_by_its_number_among_all(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"text 3 of 5 has 5 tokens, the model reads 4; split it, or allow truncation"):
        list(run_texts(CountingRunner(), tokenizer, TEXTS, ("count",), max_tokens=4, at_once=2))
    parts = run_texts(CountingRunner(), tokenizer, TEXTS, ("count",), max_tokens=4, truncate=True, at_once=2)
    assert [[row.tolist() for row in rows] for rows, _ in parts][1] == [[0, 4, 4, 1], [0, 5, 1]], (
        "the last special token stays"
    )


def test_a_text_without_memory_is_found_again(tokenizer: Tokenizer) -> None:
    with pytest.raises(OutOfMemoryError, match=r"^text 3 of 5 does not fit$"):
        list(run_texts(CountingRunner(4), tokenizer, TEXTS, ("count",), max_tokens=9))
    with pytest.raises(OutOfMemoryError, match=r"^from text 3 of 5 on: text 1 of 2 does not fit$"):
        list(run_texts(CountingRunner(4), tokenizer, TEXTS, ("count",), max_tokens=9, at_once=2))
