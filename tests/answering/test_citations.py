from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_pipeline.answering.citations import (
    Citations,
    StatementChecker,
    check_citations,
    cite,
    find_quote,
)
from rag_pipeline.evidence import Evidence
from rag_pipeline.types import Box

WARRANTY = "Warranty\n\nThe warranty lasts two years. Batteries are excluded."
FEES = "We charge 45 euros for the inspection. Shipping is free."


def evidence_of(text: str, id_: str = "e1") -> Evidence:
    return Evidence(
        id=id_, rank=1, score=1.0, path="a/manual.pdf", text=text, page=5, heading=("Warranty",),
        boxes=(Box(5, 0.1, 0.1, 0.9, 0.2),), legs={}, start=100, language="en",
    )  # fmt: skip


EVIDENCE = [evidence_of(WARRANTY, "w"), evidence_of(FEES, "f")]


@pytest.mark.parametrize(
    ("quote", "text", "expected"),
    [
        ("two years", "It holds two years.", (9, 18)),
        ("two years", "two  two\n years", (5, 15)),
        (" two\tyears ", "two years", (0, 9)),
        ("a (b)* c", "x a (b)*\nc", (2, 10)),
        ("three years", "two years", None),
        ("  ", "two years", None),
    ],
)
def test_find_quote(quote: str, text: str, expected: tuple[int, int] | None) -> None:
    assert find_quote(quote, text) == expected


@given(st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), min_size=1, max_size=6), st.data())
def test_a_quote_is_found_whatever_the_white_space(parts: list[str], data: st.DataObject) -> None:
    space = st.text(" \n\t", min_size=1, max_size=3)
    text = "".join(part + data.draw(space) for part in parts)
    found = find_quote(" ".join(parts), text)
    assert found is not None
    assert text[slice(*found)].split() == " ".join(parts).split()


def test_a_citation_has_the_exact_quote_and_its_place_in_the_document() -> None:
    citation = cite(3, EVIDENCE[0], 10, 39)
    assert citation.quote == "The warranty lasts two years."
    assert (citation.n, citation.start, citation.end) == (3, 110, 139)
    assert (citation.path, citation.page, citation.heading) == ("a/manual.pdf", 5, ("Warranty",))
    assert (citation.boxes, citation.chunk_id) == (EVIDENCE[0].boxes, "w")


@pytest.mark.parametrize(("start", "end"), [(-1, 4), (4, 4), (0, 1000)])
def test_a_span_outside_the_evidence_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="is not within"):
        cite(1, EVIDENCE[0], start, end)


def test_citations_are_numbered_by_first_use() -> None:
    citations = Citations()
    assert [citations.number(EVIDENCE[1], 0, 9), citations.number(EVIDENCE[0], 0, 8)] == [1, 2]
    assert citations.number(EVIDENCE[1], 0, 9) == 1
    assert [(citation.n, citation.chunk_id) for citation in citations.all()] == [(1, "f"), (2, "w")]


def checked(text: str) -> tuple[str, list[str]]:
    kept, citations = check_citations(text, EVIDENCE)
    return kept, [f"{citation.n} {citation.chunk_id} {citation.quote}" for citation in citations]


TWO_YEARS, INSPECTION = "w The warranty lasts two years.", "f We charge 45 euros for the inspection."


@pytest.mark.parametrize(
    ("text", "kept", "quotes"),
    [
        ("It lasts two years [1].", "It lasts two years [1].", ["1 " + TWO_YEARS]),
        ("It lasts two years. [1]", "It lasts two years. [1]", ["1 " + TWO_YEARS]),
        # numbered by first use, not by evidence
        ("The inspection is 45 euros [2]. It lasts two years [1].",
         "The inspection is 45 euros [1]. It lasts two years [2].", ["1 " + INSPECTION, "2 " + TWO_YEARS]),
        # two quotes of one evidence are two citations
        ("It lasts two years [1]. No batteries [1].", "It lasts two years [1]. No batteries [2].",
         ["1 " + TWO_YEARS, "2 w Batteries are excluded."]),
        ("Two years for 45 euros inspection [1, 2].", "Two years for 45 euros inspection [1][2].",
         ["1 " + TWO_YEARS, "2 " + INSPECTION]),
        # an unknown number is dropped, its statement stays while another holds
        ("It lasts two years [1][7].", "It lasts two years [1].", ["1 " + TWO_YEARS]),
        # a statement that only cites what does not exist goes, and takes its number with it
        ("The moon is made of cheese [9]. It lasts two years [1].", "It lasts two years [1].", ["1 " + TWO_YEARS]),
        # a citation covers the sentences before it that have none, each with a quote of its own if it holds ...
        ("No batteries. It is simple. It lasts two years [1]. Buy more.", "No batteries. [1] It lasts two years [2].",
         ["1 w Batteries are excluded.", "2 " + TWO_YEARS]),
        # ... and none if what they lead to does not
        ("No batteries. It lasts three years [1].", "", []),
        ("It lasts two years.\n[1]", "It lasts two years. [1]", ["1 " + TWO_YEARS]),
        # evidence that does not hold the statement is no citation of it
        ("It costs 45 euros [1].", "", []),
        ("It costs 45 euros [1][2].", "It costs 45 euros [1].", ["1 " + INSPECTION]),
        ("1. It lasts two years [1]\n2. Inspection: 45 euros [2]",
         "1. It lasts two years [1]\n2. Inspection: 45 euros [2]",
         ["1 " + TWO_YEARS, "2 " + INSPECTION]),
        ("- It lasts two years [1]\n- Inspection: 45 euros [2]", "- It lasts two years [1]\n- Inspection: 45 euros [2]",
         ["1 " + TWO_YEARS, "2 " + INSPECTION]),
        ("[1]", "", []),
        ("No citation at all.", "", []),
        ("", "", []),
    ],
)  # fmt: skip
def test_check_citations(text: str, kept: str, quotes: list[str]) -> None:
    assert checked(text) == (kept, quotes)


QUESTION = "How long is the warranty?"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Two years", "Two years [1]"),
        ("- Two years\n- Three years", "- Two years [1]"),
        # what a citation covers is covered by one that was looked for, too
        ("Batteries are excluded. It lasts two years.", "Batteries are excluded. [1] It lasts two years. [2]"),
        ("It lasts two years.\n[1] [2]", "It lasts two years. [1]"),
        # a number that does not hold is not moved to where it would, nor is one of no evidence
        ("It lasts two years [2].", ""),
        ("It lasts two years. [3]", ""),
        ("We charge 45 euros.", ""),
    ],
)
def test_a_sentence_without_a_citation_is_given_one(text: str, kept: str) -> None:
    assert check_citations(text, EVIDENCE, QUESTION)[0] == kept


def test_a_sentence_that_is_given_a_citation_is_not_held_back_for_more() -> None:
    checker = StatementChecker(EVIDENCE, QUESTION)
    assert checker.feed("It lasts two years. So") == ""  # "So" may yet be part of that sentence
    assert checker.feed(" there") == "It lasts two years. [1]"
    assert checker.feed(" is. Well") == ""
    assert checker.finish() == ""
    reason = "it cites nothing, and no evidence shows it"
    assert checker.dropped == [(reason, "So there is."), (reason, "Well")]


def test_of_a_text_that_was_cut_off_the_half_sentence_is_dropped() -> None:
    for text, kept in (("Two years. 4", "Two years. [1]"), ("Two years", ""), ("Two years [1]", "Two years [1]")):
        checker = StatementChecker(EVIDENCE, QUESTION)
        assert checker.feed(text) + checker.finish(cut_off=True) == kept
        assert [reason for reason, _ in checker.dropped] == ["it was cut off"] * (text[-1] != "]")


ANSWER = st.lists(
    st.sampled_from(
        ["It lasts two years", "45 euros", "Dr. Ott", "am 15. November", "no", " [1]", " [2]", "[1, 2]", " [9]", ".",
         ". ", "? ", "\n", "\n\n- ", "。", " "]
    ),
    max_size=14,
).map("".join)  # fmt: skip


@settings(deadline=None)  # the first text loads a classifier of languages
@given(ANSWER, st.lists(st.integers(0, 200), max_size=8))
def test_a_stream_gives_what_the_whole_text_gives(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    checker = StatementChecker(EVIDENCE, QUESTION)
    streamed = "".join(checker.feed(text[a:b]) for a, b in pairwise(places)) + checker.finish()
    whole, citations = check_citations(text, EVIDENCE, QUESTION)
    assert (streamed.strip(), checker.citations.all()) == (whole, citations)


@settings(deadline=None)  # the first text loads a classifier of languages
@given(ANSWER)
def test_every_number_in_a_checked_text_is_a_citation_with_a_verbatim_quote(text: str) -> None:
    kept, citations = check_citations(text, EVIDENCE, QUESTION)
    assert [citation.n for citation in citations] == list(range(1, len(citations) + 1))
    assert all(f"[{citation.n}]" in kept for citation in citations)
    assert all(citation.quote in (WARRANTY + FEES) for citation in citations)
    assert bool(kept) == bool(citations)
