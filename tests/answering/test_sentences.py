from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.answering.sentences import sentences, words


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Ott and Prof. Maier agree. Mr. Hay does not.", ["Dr. Ott and Prof. Maier agree.", "Mr. Hay does not."]),
        ("Use a buffer, e.g. Number 7. Then wait.", ["Use a buffer, e.g. Number 7.", "Then wait."]),
        ("It reads 3.5 NTU at v1.2.3 now. Good.", ["It reads 3.5 NTU at v1.2.3 now.", "Good."]),
        ("J. K. Ott wrote it. It weighs 5 g. Done at 5 p.m. Gone.",
         ["J. K. Ott wrote it.", "It weighs 5 g.", "Done at 5 p.m.", "Gone."]),
        ("See fig. 2 and No. 7. He said no. Then he left.", ["See fig. 2 and No. 7.", "He said no.", "Then he left."]),
        ("Die Boje kommt am 15. November heraus. Der Vertrag gilt z. B. für die Boje.",
         ["Die Boje kommt am 15. November heraus.", "Der Vertrag gilt z. B. für die Boje."]),
        ("The address is 17. Change it.", ["The address is 17.", "Change it."]),
        ("1. Open the lid.\n2. Close it.", ["1. Open the lid.", "2. Close it."]),
        ("He asked \"Why?\" and left. “So.” She stayed.", ["He asked \"Why?\" and left.", "“So.”", "She stayed."]),
        ("Well... maybe. Wait... No.", ["Well... maybe.", "Wait...", "No."]),
        ("It holds two years. [1] The fee is 5 euros [2, 3].",
         ["It holds two years. [1]", "The fee is 5 euros [2, 3]."]),
        ("保証は二年です。延長できます！本当ですか？はい",
         ["保証は二年です。", "延長できます！", "本当ですか？", "はい"]),
        ("¿Cuánto dura? Dos años.", ["¿Cuánto dura?", "Dos años."]),
        ("هل هذا صحيح؟ نعم.", ["هل هذا صحيح؟", "نعم."]),
        ("Warranty\n\nIt holds two years.", ["Warranty", "It holds two years."]),
        ("- pH sensor\n- Wiper arm\n• Cable", ["- pH sensor", "- Wiper arm", "• Cable"]),
        ("Country\tDay\nSweden\tapprox. 66. Yes\nNorway\t75",
         ["Country\tDay", "Sweden\tapprox. 66. Yes", "Norway\t75"]),
        ("| Country | Day |\n| Sweden | 66 |", ["| Country | Day |", "| Sweden | 66 |"]),
        ("A line that was wrapped\nwithin its sentence. Next.",
         ["A line that was wrapped\nwithin its sentence.", "Next."]),
        ("Only customers who have registered their probe in time get the\nWarranty of two years. Others do not.",
         ["Only customers who have registered their probe in time get the\nWarranty of two years.", "Others do not."]),
        ("Dear all,\nplease read.", ["Dear all,\nplease read."]),
        ("", []),
        (" \n\t ", []),
    ],
)  # fmt: skip
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert split(text) == expected


TEXT = st.text(st.sampled_from("abcAB \n\t.!?。0123456789[]()\"'“”-•|,éß東京"), max_size=120) | st.text(max_size=60)


@given(TEXT)
def test_sentences_are_verbatim_ordered_and_cover_everything_but_space(text: str) -> None:
    spans = sentences(text)
    assert [end for _, end in spans] == sorted(end for _, end in spans)
    covered = set()
    last = 0
    for start, end in spans:
        assert last <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        covered.update(range(start, end))
        last = end
    assert all(text[i].isspace() for i in range(len(text)) if i not in covered)


def test_a_very_long_text_is_split_in_time() -> None:
    text = "The probe was wiped twice. " * 20_000
    assert len(sentences(text)) == 20_000


def test_words_fold_case_and_take_ideographs_one_by_one() -> None:
    assert words("Größe: 10,5 MM 東京タワー") == ["grösse", "10", "5", "mm", "東", "京", "タ", "ワ", "ー"]
