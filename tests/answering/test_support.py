from __future__ import annotations

import pytest

from rag_pipeline.answering.support import find_support, support
from rag_pipeline.evidence import Evidence

WARRANTY = "The warranty of the Otter 2 lasts two years. Batteries are excluded. It begins with the invoice."
FEES = "We charge 45 euros for the inspection. Shipping to Norway is free."


def evidence_of(text: str, *heading: str, language: str = "en", path: str = "manual.pdf") -> Evidence:
    return Evidence("e1", 1, 1.0, path, text, page=5, heading=heading, boxes=(), legs={}, language=language)


def quoted(statement: str, *texts: str) -> dict[int, str]:
    cited = {n: evidence_of(text) for n, text in enumerate(texts, start=1)}
    return {n: texts[n - 1][slice(*span)] for n, span in support(statement, cited).quotes.items()}


def lacks(statement: str, text: str, *heading: str) -> str:
    found = support(statement, {1: evidence_of(text, *heading)})
    assert not found.quotes
    return found.lacks


@pytest.mark.parametrize(
    ("statement", "quote"),
    [
        ("The Otter 2 has a warranty of 2 years.", "The warranty of the Otter 2 lasts two years."),
        ("No batteries.", "Batteries are excluded."),
        ("It begins when you are invoiced.", "It begins with the invoice."),
    ],
)
def test_the_quote_is_the_sentence_that_has_what_is_said(statement: str, quote: str) -> None:
    assert quoted(statement, WARRANTY) == {1: quote}


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("The warranty of the Otter 2 lasts three years.", "'3' is not in the evidence that it cites"),
        ("The warranty of the Otter 3 lasts two years.", "'3' is not in the evidence that it cites"),
        ("The warranty by Acme lasts two years.", "'Acme' is not in the evidence that it cites"),
        ("The warranty began on 3 May 2024, two years.", "'3' is not in the evidence that it cites"),
        # warranty, of: warranty, covers, accidents, abroad
        ("The warranty covers accidents abroad.", "the evidence that it cites has 1 of its 4 words"),
        ("It is.", "it says nothing that can be checked"),
    ],
)
def test_what_the_quote_lacks(statement: str, reason: str) -> None:
    assert lacks(statement, WARRANTY) == reason


def test_what_the_question_names_may_be_in_another_sentence() -> None:
    cited = {1: evidence_of(WARRANTY)}
    statement, start = "Batteries of the Otter 2 are excluded.", WARRANTY.index("Batteries")
    assert support(statement, cited, "Are batteries of the Otter 2 covered?").quotes == {1: (start, start + 23)}
    assert support(statement, cited).lacks == "'2' is not in the evidence that it cites"
    # a name that only the statement has must be in the quote, wherever else the evidence may have it
    assert support("Batteries are excluded by Otter.", cited, "Are batteries covered?").lacks.startswith("'Otter'")


def test_a_number_of_a_heading_counts_in_a_name_and_as_a_year() -> None:
    trial = evidence_of("The buoy drifted for five days.", "Otter 2 field trial 2024", "6 Incidents")
    assert support("In 2024 the buoy of the Otter 2 drifted for five days.", {1: trial}).quotes
    assert support("The buoy drifted for 6 days.", {1: trial}).lacks == "'6' is not in the evidence that it cites"
    assert support("The buoy drifted for 2 days.", {1: trial}).lacks == "'2' is not in the evidence that it cites"


def test_words_of_the_heading_alone_support_nothing() -> None:
    found = support("The Otter warranty is excellent.", {1: evidence_of("Write to us.", "Otter", "Warranty")})
    assert found.lacks == "the evidence that it cites has 0 of its 1 words"


def test_columns_count_with_their_row() -> None:
    table = evidence_of("Country\tFull day\nSweden\t66\nNorway\t75", "Allowances")
    found = support("For a full day in Norway the allowance is 75.", {1: table})
    assert table.text[slice(*found.quotes[1])] == "Norway\t75"
    # two rows have both, and neither says so
    assert not support("For a full day in Norway the allowance is 66.", {1: table}).quotes


def test_evidence_that_does_not_hold_is_left_out_beside_one_that_does() -> None:
    assert quoted("The inspection costs 45 euros.", WARRANTY, FEES) == {2: "We charge 45 euros for the inspection."}


def test_two_that_hold_together_are_both_kept() -> None:
    assert quoted("The warranty lasts two years, and the inspection costs 45 euros.", WARRANTY, FEES) == {
        1: "The warranty of the Otter 2 lasts two years.",
        2: "We charge 45 euros for the inspection.",
    }


def test_in_another_language_numbers_must_hold_and_something_be_found() -> None:
    german = {1: evidence_of("Die Garantie der Otter 2 gilt zwei Jahre.", language="de")}
    english, question = (
        "The warranty of the Otter 2 lasts two years and ends.",
        "How long is the warranty of the Otter 2?",
    )
    assert support(english, german, question).quotes == {1: (0, 41)}
    assert support(english.replace("two", "three"), german, question).lacks.startswith("'3' is not")
    assert support("The moon is made of cheese.", german, question).lacks


def test_blank_evidence_supports_nothing() -> None:
    assert lacks("The warranty lasts.", " ") == "the evidence that it cites has 0 of its 2 words"


def found(statement: str, question: str, *evidence: Evidence) -> list[str]:
    quotes = find_support(statement, evidence, question)
    return [f"{n} {evidence[n - 1].text[slice(*span)]}" for n, span in quotes.items()]


def test_the_quote_of_a_fragment_speaks_of_what_is_asked() -> None:
    evidence = evidence_of("The tram takes two hours. Batteries are excluded."), evidence_of(WARRANTY)
    # both have a two; one of two words, "long" and "warranty", is enough, and none is not
    assert found("Two years", "How long is the warranty?", *evidence) == [
        "2 The warranty of the Otter 2 lasts two years."
    ]
    assert found("Two", "How long is the warranty?", *evidence) == ["2 The warranty of the Otter 2 lasts two years."]
    assert found("Two", "How long is the guarantee?", *evidence) == []
    # all names and numbers of the question, too
    assert found("Two years", "How long is the warranty of the Otter 3?", *evidence) == []
    assert found("Two years", "How long is the warranty of the Heron?", *evidence) == []
    # in the headings or in the quote, but not in the headings alone
    heron = evidence_of("The warranty lasts two years. It lasts two years.", "Heron")
    assert found("Two years", "How long is the warranty of the Heron?", heron) == ["1 The warranty lasts two years."]
    assert found("Two years", "How big is the Heron?", heron) == []


def test_one_quote_has_two_thirds_of_what_the_statement_says_beyond_the_question() -> None:
    evidence = evidence_of("The fee is 45 euros. Shipping is free, and takes two days.")
    days = ["1 Shipping is free, and takes two days."]
    # the quote has shipping and days, and not air, nor abroad
    assert found("Shipping takes two days by air.", "How long does it take?", evidence) == days
    assert found("Shipping takes two days by air from abroad.", "How long does it take?", evidence) == []
    assert found("The fee is 45 euros, and takes two days.", "What is the fee?", evidence) == []
    # the words of the question alone are no answer to it
    assert found("The fee.", "What is the fee?", evidence) == []
    assert found("45 euros", "", evidence) == []


def test_of_several_quotes_the_closest_is_taken_wherever_it_stands() -> None:
    stuffed = evidence_of(f"What is the fee for the visit? {' '.join(map(str, range(99)))} euros fee visit price cost:")
    honest = evidence_of("The visit has a fee of 45 euros.")
    assert found("45 euros", "What is the fee for a visit?", stuffed, honest) == ["2 The visit has a fee of 45 euros."]
    assert found("45 euros", "What is the fee for a visit?", honest, honest) == ["1 The visit has a fee of 45 euros."]


def test_nothing_is_found_across_languages() -> None:
    german = evidence_of("Die Garantie der Otter 2 gilt zwei Jahre.", language="de")
    assert found("Zwei Jahre", "Wie lange gilt die Garantie?", german) == [
        "1 Die Garantie der Otter 2 gilt zwei Jahre."
    ]
    # a statement that cites it would need no more than one of its words
    statement, question = "The Garantie is very generous to people abroad.", "What is said about the Otter 2?"
    assert support(statement, {1: german}, question).quotes
    assert found(statement, question, german) == []
