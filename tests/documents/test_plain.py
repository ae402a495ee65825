from pathlib import Path

from tests.documents.sources import parsed


def test_text_keeps_wrapped_paragraphs_lists_and_headings(tmp_path: Path) -> None:
    text = (
        "RELEASE NOTES\nReleased in March\n\nWHO SHOULD UPDATE\n"
        "Everybody should update before the first day of April comes,\n"
        "or the clock of the probe will stop for a whole day.\n"
        "- The radio sends at most 14 bytes per reading instead of 22.\n- The wiper runs again.\n"
    )
    document = parsed(tmp_path / "notes.txt", text)
    assert [(element.text, element.category, element.depth) for element in document.elements] == [
        ("RELEASE NOTES", "Title", 0),
        ("Released in March", "UncategorizedText", None),
        ("WHO SHOULD UPDATE", "Title", 1),
        (
            "Everybody should update before the first day of April comes, or the clock of the probe will stop for a "
            "whole day.",
            "NarrativeText",
            None,
        ),
        ("The radio sends at most 14 bytes per reading instead of 22.", "ListItem", None),
        ("The wiper runs again.", "ListItem", None),
    ]
    assert document.title == "RELEASE NOTES"
    assert document.media_type == "text/plain"


def test_delimited_text_is_one_table_with_its_values_as_written(tmp_path: Path) -> None:
    document = parsed(tmp_path / "ragged.csv", "id;price;country\n007;2,50;NA\n008;3\n\n")
    (table,) = document.elements
    assert table.text == "id\tprice\tcountry\n007\t2,50\tNA\n008\t3"
    assert table.html == (
        "<table><tr><td>id</td><td>price</td><td>country</td></tr><tr><td>007</td><td>2,50</td><td>NA</td></tr>"
        "<tr><td>008</td><td>3</td></tr></table>"
    )


def test_utf16_csv_and_tsv_are_read(tmp_path: Path) -> None:
    assert parsed(tmp_path / "a.csv", "Größe,cm\nTür,210\n".encode("utf-16")).elements[0].text == "Größe\tcm\nTür\t210"
    assert parsed(tmp_path / "a.tsv", "a, b\tc\n1\t2\n").elements[0].text == "a, b\tc\n1\t2"


def test_json_is_indented_and_broken_json_is_still_text(tmp_path: Path) -> None:
    assert parsed(tmp_path / "a.json", '{"town":"Lindau","lakes":[1]}').elements[0].text == (
        '{\n "town": "Lindau",\n "lakes": [\n  1\n ]\n}'
    )
    assert parsed(tmp_path / "b.jsonl", '{"a": 1}\n{"b": ').elements[0].text == '{"a": 1}\n{"b":'


def test_xml_gives_its_text_and_resolves_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("top secret")
    xml = (
        f'<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE a [<!ENTITY s SYSTEM "file://{tmp_path}/secret.txt">]>'
        "<a><b>The lake is deep.</b><c>&s;</c></a>"
    )
    text = "\n".join(element.text for element in parsed(tmp_path / "a.xml", xml).elements)
    assert "The lake is deep." in text
    assert "top secret" not in text
