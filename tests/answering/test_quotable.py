from __future__ import annotations

from rag_pipeline.answering.quotable import quotables
from rag_pipeline.evidence import Evidence


def evidence_of(text: str, heading: tuple[str, ...] = ()) -> Evidence:
    return Evidence("e1", 1, 1.0, "manual.pdf", text, page=2, heading=heading, boxes=(), legs={})


def texts(text: str, heading: tuple[str, ...] = ()) -> list[str]:
    return [part.text for part in quotables(evidence_of(text, heading))]


def test_a_heading_goes_with_what_it_stands_over() -> None:
    assert texts("Warranty\n\nIt lasts two years. Write to us.") == [
        "Warranty\n\nIt lasts two years.", "It lasts two years.", "Write to us.",
    ]  # fmt: skip
    long = "What the warranty covers and what it does not cover"
    assert texts(f"{long}\n\nParts.")[0] == long
    assert texts(f"{long}\n\nParts.", ("Manual", long))[0] == f"{long}\n\nParts."


def test_a_row_is_understood_under_its_columns_and_headings() -> None:
    rows = quotables(evidence_of("Country\tDay\nSweden\t66\n\nPart\tPrice\nCable\t40", ("Allowances",)))
    assert [row.text for row in rows] == ["Country\tDay", "Sweden\t66", "Part\tPrice", "Cable\t40"]
    assert [row.columns for row in rows] == ["", "Country\tDay", "", "Part\tPrice"]
    assert rows[1].passage == "Allowances\nCountry\tDay\nSweden\t66"


def test_parts_that_share_characters_overlap() -> None:
    heading, first, second = quotables(evidence_of("Warranty\n\nIt lasts two years. Write to us."))
    assert heading.overlaps(first)
    assert first.overlaps(heading)
    assert not first.overlaps(second)


def test_a_blank_text_has_nothing_to_quote() -> None:
    assert texts(" \n ") == []
