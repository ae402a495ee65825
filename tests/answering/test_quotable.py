from __future__ import annotations

import pytest

from rag_pipeline.answering.quotable import Quotable, quotables
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


@pytest.mark.parametrize(
    ("columns", "row", "readable"),
    [
        ("Country\tOver 8 hours\tDay", "Sweden\t44\t66", "Country: Sweden; Over 8 hours: 44; Day: 66"),
        (
            "\tStandard\tIf registered",
            "Housing\t24\nmonths\t36 months",
            "Housing; Standard: 24 months; If registered: 36 months",
        ),
        ("Part\tPrice\tNote", "Cable\t40\t", "Part: Cable; Price: 40"),
        ("Part\tPrice\tNote", "Cable\t40", "Cable 40"),  # cells that were merged: whose is the 40?
        ("Colour\tgreen", "Material\tsteel", "Material steel"),  # names and values, with no row of names
        ("Hull\t2.4 m\tsteel", "Mast\t5 m\twood", "Mast 5 m wood"),
    ],
)
def test_a_row_is_read_with_the_names_of_its_columns(columns: str, row: str, readable: str) -> None:
    found = Quotable(evidence_of(row), 0, len(row), columns)
    assert found.text == row
    assert found.readable == readable


def test_rows_of_a_table_that_goes_on_have_the_names_that_stand_above_them() -> None:
    rows = "Mast\tspruce\tblue\nHull\toak\twhite"
    goes_on = quotables(evidence_of(rows, ("Boats", "Part, Wood, Paint")))
    assert [part.columns for part in goes_on] == ["Part\tWood\tPaint"] * 2
    assert goes_on[0].readable == "Part: Mast; Wood: spruce; Paint: blue"
    begins = quotables(evidence_of(rows, ("Boats",)))
    assert [part.columns for part in begins] == ["", "Mast\tspruce\tblue"]
    later = quotables(evidence_of(f"Paint.\n\n{rows}", ("Part, Wood, Paint",)))
    assert [part.columns for part in later] == ["", "", "Mast\tspruce\tblue"]


def test_parts_that_share_characters_overlap() -> None:
    heading, first, second = quotables(evidence_of("Warranty\n\nIt lasts two years. Write to us."))
    assert heading.overlaps(first)
    assert first.overlaps(heading)
    assert not first.overlaps(second)


def test_a_blank_text_has_nothing_to_quote() -> None:
    assert texts(" \n ") == []
