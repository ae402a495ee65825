import os
from datetime import datetime
from pathlib import Path

import pytest

from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.documents.facts import facts_of, read_facts, read_sidecar
from rag_pipeline.documents.parse import parse
from rag_pipeline.errors import InputError
from rag_pipeline.types import Document, Facts
from tests.documents.sources import parsed

NOTE = """---
title: Otter audit
tags: [finance, Q1]
date: 2024-03-01
Reviewed by: [Ann, 7]
draft: false
share: 0.25
nested: {a: 1}
---
# The audit

It found eleven leaks.
"""


def texts(document: Document) -> list[str]:
    return [element.text for element in document.elements]


def test_front_matter_is_facts_and_no_text(tmp_path: Path) -> None:
    document = parsed(tmp_path / "a.md", NOTE)
    assert texts(document) == ["The audit", "It found eleven leaks."]
    assert document.title == "Otter audit"
    assert document.facts == Facts(
        date="2024-03-01",
        tags=("finance", "Q1"),
        meta={"title": "Otter audit", "reviewed_by": ("Ann", 7), "draft": "false", "share": 0.25},
    )
    assert document.notes == ()


@pytest.mark.parametrize("name", ["a.txt", "a.html"])
def test_other_texts_may_begin_with_it(tmp_path: Path, name: str) -> None:
    text = NOTE.replace("# The audit\n\n", "").replace("\n", "\r\n")
    document = parsed(tmp_path / name, f"\ufeff{text}")
    assert texts(document) == ["It found eleven leaks."]
    assert document.facts.tags == ("finance", "Q1")


def test_a_rule_at_the_start_is_no_front_matter(tmp_path: Path) -> None:
    document = parsed(tmp_path / "a.md", "---\n\nNot a word of YAML here.\n\n---\n\nMore.\n")
    assert texts(document) == ["Not a word of YAML here.", "More."]
    assert (document.facts, document.notes) == (Facts(), ())


@pytest.mark.parametrize(
    "hostile",
    [
        "a: &a [1, 2]\nb: [*a, *a]",  # an alias: the way to a billion laughs
        "a: " + "[" * 3000,
        "a: !!python/object/apply:os.system [id]",
        "date: 2024-13-45",
        "a: " + "x" * 20_000,
        "a: 'open",
    ],
)
def test_front_matter_that_is_not_read_stays_text_with_a_note(tmp_path: Path, hostile: str) -> None:
    document = parsed(tmp_path / "a.txt", f"---\n{hostile}\n---\nThe text goes on.\n")
    assert document.facts == Facts()
    assert "The text goes on." in texts(document)[-1]
    (note,) = document.notes
    assert note.startswith("its front matter is taken as text: it is ")
    assert "id]" not in note


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Facts()),
        ("tags: a, b ,a", Facts(tags=("a", "b"))),
        ("keywords: [x]\ntag: y", Facts(tags=("x", "y"))),
        ("date: 2024", Facts("2024-01-01")),
        ("date: 2024-03", Facts("2024-03-01")),
        ("date: 2024-03-01T23:30:00-05:00", Facts("2024-03-01")),  # its own day, not that of UTC
        ("date: next week", Facts(meta={"date": "next week"})),
        ("when: 2024-03-01", Facts(meta={"when": "2024-03-01"})),
        ("Größe (cm): 3", Facts(meta={"größe_cm": 3})),
        ("a: .inf\nb: 0x" + "f" * 40 + "\nc: null\nd: []", Facts()),
        ('a: "\\ud800 \\u202e"', Facts(meta={"a": "?"})),
        ("a: " + "x" * 600, Facts(meta={"a": "x" * 500})),
    ],
)
def test_keys_and_values_become_what_can_be_filtered(text: str, expected: Facts) -> None:
    assert read_facts(text) == expected


def test_no_more_than_64_keys_are_kept() -> None:
    facts = read_facts("\n".join(f"k{n}: {n}" for n in range(100)))
    assert list(facts.meta) == [f"k{n}" for n in range(64)]


@pytest.mark.parametrize(("text", "told"), [("- a", "holds a list"), ("a: b: c", "at line 1"), ("word", "holds a str")])
def test_what_is_no_keys_and_values_says_so(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_facts(text)


def test_sidecars_come_before_the_document_and_each_other() -> None:
    own = Facts("2020-01-01", ("own",), {"author": "Ann", "size": 1})
    first, second = "tags: [a]\nauthor: Bob", "tags: [b, own]\ndate: 2024-03-01\nauthor: Eve\nplace: Lindau"
    assert facts_of(own, [first, "- broken", second]) == Facts(
        "2024-03-01", ("a", "b", "own"), {"author": "Bob", "size": 1, "place": "Lindau"}
    )
    assert facts_of(own, []) == own


def test_a_sidecar_is_found_with_its_file_and_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.txt.meta.yaml").write_text("\ufefftags: [a]", encoding="utf-8")
    (tmp_path / "alone.meta.yaml").write_text("tags: [b]")
    for root in (tmp_path, tmp_path / "a.txt"):
        (found,) = discover([root]).files
        assert (found.path, found.sidecar) == (tmp_path / "a.txt", "tags: [a]")
        assert read_source(found).sidecar == "tags: [a]"
    assert discover([tmp_path]).refused == ()


def test_only_a_regular_file_is_a_sidecar(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "x" * 250):
        (tmp_path / name).write_text("text")
    (tmp_path / "secret").write_text("tags: [secret]")
    (tmp_path / "a.meta.yaml").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "b.meta.yaml")
    (tmp_path / "c.meta.yaml").mkdir()
    assert [read_sidecar(tmp_path / name) for name in ("a", "b", "c", "x" * 250)] == ["", "", "", ""]


def test_a_sidecar_that_is_too_long_is_not_read_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt.meta.yaml").write_text("a: " + "x" * 10**6)
    text = read_sidecar(tmp_path / "a.txt")
    assert len(text) < 70_000
    with pytest.raises(InputError, match="longer than 16384 characters"):
        read_facts(text)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_sidecar_that_may_not_be_read_keeps_its_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.txt.meta.yaml").write_text("tags: [a]")
    (tmp_path / "a.txt.meta.yaml").chmod(0)
    (refused,) = discover([tmp_path]).refused
    assert (refused.path, "its a.txt.meta.yaml cannot be read" in refused.reason) == (tmp_path / "a.txt", True)


def test_mails_and_office_files_name_their_day(tmp_path: Path) -> None:
    mail = "Subject: Leak\nMessage-ID: <1@a>\nDate: Fri, 01 Mar 2024 00:30:00 +0200\n\nIt leaks.\n"
    assert parsed(tmp_path / "a.eml", mail).facts == Facts("2024-03-01")
    import docx

    document = docx.Document()
    document.add_paragraph("It found eleven leaks in the north wing.")
    document.core_properties.created = datetime(2024, 3, 1, 9, 30)
    document.save(str(tmp_path / "b.docx"))
    (found,) = discover([tmp_path / "b.docx"]).files
    assert parse(read_source(found)).facts == Facts("2024-03-01")


def test_a_pdf_names_its_day(tmp_path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "a.pdf"), invariant=True)
    canvas.drawString(72, 700, "It found eleven leaks in the north wing.")
    canvas.save()
    (found,) = discover([tmp_path / "a.pdf"]).files
    assert parse(read_source(found)).facts == Facts("2000-01-01"), "reportlab's day for files that never change"
