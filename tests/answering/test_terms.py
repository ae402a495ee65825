from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_pipeline.answering.terms import languages_of, numbers, stems, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,577.50 euros", ["1577.5"]),
        ("1.577,50 Euro", ["1577.5"]),  # the German way of writing the same
        ("12,345 and 12.345", ["12345"]),
        ("0.50 and 0.5 and 007", ["0.5", "7"]),
        ("1'000'000 und 1 000", ["1000000", "1", "0"]),  # a plain space separates numbers: in a table it does
        ("on 03.11.2024, v3.4.1", ["3", "11", "2024", "4", "1"]),
        ("2024-11-03", ["2024", "11", "3"]),
        ("two years, zwei Jahre, dos años, 2 ans", ["2"]),
        ("One of the once ten", ["10"]),
        ("IP67, H2O", ["67", "2"]),
        ("none at all", []),
    ],
)
def test_numbers_have_one_spelling(text: str, expected: list[str]) -> None:
    assert list(numbers(text)) == expected


def test_a_words_forms_have_a_stem_in_common() -> None:
    (said,) = terms("calibrated", ["en"])
    assert said.stems & stems("It calibrates itself.", "en")
    assert not said.stems & stems("It washes itself.", "en")
    (gesagt,) = terms("Garantien", ["de"])
    assert gesagt.stems & stems("Die Garantie gilt.", "de")


def test_stop_words_are_no_terms() -> None:
    assert [term.text for term in terms("How long does the warranty of it last?", ["en"])] == [
        "long", "warranty", "last",
    ]  # fmt: skip
    assert terms("Is it?", ["en"]) == ()


def test_a_word_of_two_possible_languages_has_the_stems_of_both() -> None:
    (said,) = terms("Garantie", ["de", "fr"])
    assert said.stems & stems("garantie", "de")
    assert said.stems & stems("garantie", "fr")


def test_ideographs_are_taken_in_pairs() -> None:
    assert [term.text for term in terms("保証期間は", ["ja"])] == ["保証", "証期", "期間", "間は"]
    assert terms("保証", ["ja"])[0].stems <= stems("製品の保証は二年", "ja")


@pytest.mark.parametrize(
    ("text", "languages", "names"),
    [
        ("The probe that Ada Ott sold in Lund", ["en"], ["Ada", "Ott", "Lund"]),
        ("Probes of the probe", ["en"], []),  # the first word is capitalised anyway
        ("Answer: Probes are wet. The USB port", ["en"], ["USB"]),
        ("- Wiper of Lund", ["en"], ["Lund"]),
        ("Die Boje von Lund", ["de"], []),  # German capitalises every noun
        ("La boya de Lund", ["es"], ["Lund"]),
    ],
)
def test_names_are_capitalised_where_nothing_else_is(text: str, languages: list[str], names: list[str]) -> None:
    assert [term.text for term in terms(text, languages) if term.name] == names


def test_languages_of_a_text() -> None:
    assert languages_of("Wie lange gilt die Garantie für die Sonde?", ["en", "de"]) == ("de",)
    assert languages_of("404", ["en"]) == ("en",)


@settings(deadline=None)  # the first text loads a classifier of languages
@given(st.text(st.characters(max_codepoint=0x24F), max_size=60))
def test_a_text_has_every_term_and_number_of_itself(text: str) -> None:
    found = stems(text, "en")
    assert all(term.stems & found for term in terms(text, ["en"]))
    assert set(numbers(text)) <= set(numbers(f"({text})"))
