"""Questions made of chunks: the same for the same records, and each of the chunk that it names."""

import random
import uuid

import pytest

from rag_pipeline.evaluation.known_items import known_items
from rag_pipeline.types import Record

SENTENCE = "The warranty of the Otter 2 lasts thirty months from the day of delivery."


def record(text: str, language: str = "en", **payload: object) -> Record:
    return Record(str(uuid.uuid5(uuid.NAMESPACE_URL, text)), {"text": text, "language": language, **payload})


RECORDS = [record(f"{number}. {SENTENCE.replace('Otter', f'Otter {number}')}") for number in range(50)]


def test_half_of_the_words_of_a_sentence_in_their_order() -> None:
    (item,) = known_items([record(f"Too short. {SENTENCE} Neither this.")], 5)
    words = SENTENCE.split()
    places = [words.index(word) for word in item.question.split()]
    assert len(places) == 7, "of 14"
    assert places == sorted(places)
    assert item.language == "en"


def test_the_same_records_in_any_order_give_the_same_questions() -> None:
    shuffled = random.Random(1).sample(RECORDS, len(RECORDS))
    first = known_items(RECORDS, 10)
    assert known_items(shuffled, 10) == first
    assert len({item.id for item in first}) == 10
    assert known_items(RECORDS, 10, seed=1) != first


def test_each_question_is_of_its_chunk() -> None:
    texts = {one.id: str(one.payload["text"]) for one in RECORDS}
    for item in known_items(RECORDS, 50):
        assert set(item.question.split()) <= set(texts[item.id].split())


@pytest.mark.parametrize("text", ["", "Short.", "One two three four five six seven.", " ".join(["word"] * 41)])
def test_what_makes_no_question_is_passed_over(text: str) -> None:
    assert known_items([record(text)], 5) == []


def test_figures_are_passed_over() -> None:
    assert known_items([record(SENTENCE, figure="0" * 64)], 5) == []


def test_a_sentence_without_spaces_gives_one_run_of_its_characters() -> None:
    sentence = "この製品の保証期間は納品日から三十か月間とし消耗品には適用されません"
    (item,) = known_items([record(f"{sentence}。", "ja")], 5)
    assert item.question in f"{sentence}。"
    assert len(item.question) in (17, 18)
