import hashlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from rag_pipeline.documents.discover import Found
from rag_pipeline.indexing.records import FileRow, MadeBy
from rag_pipeline.indexing.sync import Plan, make_plan, needs_reading
from rag_pipeline.types import SourceFile

ROOT = Path("/docs")
NOW = 10**18


def source(name: str, content: str) -> SourceFile:
    return SourceFile(ROOT / name, ROOT, len(content), 1, hashlib.sha256(content.encode()).hexdigest())


def row(name: str, content: str, *, error: str = "", fingerprint: str = "p1") -> FileRow:
    one = source(name, content)
    document = None if error else one.document_id
    return FileRow.of(one, checked_ns=NOW, fingerprint=fingerprint, document_id=document, error=error)


def plan(
    found: Collection[SourceFile],
    known: Collection[FileRow],
    *,
    ready: Collection[str] | None = None,
    available: Collection[str] = (),
    retry_quarantined: bool = False,
    roots: Collection[Path] = (ROOT,),
    kept: Collection[Path] = (),
    fingerprint: str = "p1",
) -> Plan:
    held = {r.document_id: MadeBy.parse(r.fingerprint) for r in known if r.document_id}
    return make_plan(
        found,
        {r.path: r for r in known},
        held if ready is None else {document: MadeBy("p1") for document in ready},
        pipeline=fingerprint,
        available=lambda name: name in available,
        complete_roots=roots,
        kept=kept,
        retry_quarantined=retry_quarantined,
    )


def test_an_empty_index_parses_each_content_once() -> None:
    b, a, copy = source("b", "B"), source("a", "A"), source("copy", "B")
    assert plan([copy, b, a], []) == Plan(added=(a, b), duplicate=(copy,), parse=(a, b))


def test_the_same_again_is_nothing_to_do() -> None:
    a = source("a", "A")
    assert plan([a], [row("a", "A")]) == Plan(unchanged=(a,))


def test_a_changed_file_is_parsed() -> None:
    a = source("a", "A2")
    assert plan([a], [row("a", "A")]) == Plan(changed=(a,), parse=(a,))


def test_a_file_changed_to_a_known_content_is_not_parsed() -> None:
    a, b = source("a", "B"), source("b", "A")
    assert plan([a, b], [row("a", "A"), row("b", "B")]) == Plan(changed=(a, b)), "the two were swapped"


def test_a_rename_is_the_same_content_where_the_old_path_is_gone() -> None:
    new = source("new", "A")
    assert plan([new], [row("old", "A")]) == Plan(renamed=((ROOT / "old", new),))


def test_a_copy_is_a_duplicate_and_not_parsed() -> None:
    old, copy = source("old", "A"), source("copy", "A")
    assert plan([old, copy], [row("old", "A")]) == Plan(duplicate=(copy,), unchanged=(old,))


def test_renames_pair_off_in_order_and_the_rest_is_added_or_deleted() -> None:
    x, y, z = source("x", "A"), source("y", "A"), source("z", "A")
    known = [row("a", "A"), row("b", "A")]
    assert plan([x, y, z], known) == Plan(renamed=((ROOT / "a", x), (ROOT / "b", y)), duplicate=(z,))
    assert plan([x], known) == Plan(renamed=((ROOT / "a", x),), deleted=(ROOT / "b",))


def test_only_complete_roots_delete() -> None:
    known = [row("a", "A"), row("sub/b", "B")]
    assert plan([], known).deleted == (ROOT / "a", ROOT / "sub/b")
    assert plan([], known, roots=[ROOT / "sub"]).deleted == (ROOT / "sub/b",)
    assert plan([], known, roots=[ROOT / "sub/b"]).deleted == (ROOT / "sub/b",), "a root may be a file"
    assert plan([], known, roots=[]) == Plan()
    assert plan([], known, kept=[ROOT / "a"]).deleted == (ROOT / "sub/b",), "it is there but cannot be read"


def test_a_known_content_at_a_new_path_outside_the_scanned_roots_is_a_copy() -> None:
    new = source("new", "A")
    assert plan([new], [replace(row("old", "A"), path=Path("/other/old"))]) == Plan(duplicate=(new,))


def test_a_new_parser_makes_every_file_changed() -> None:
    a, copy = source("a", "A"), source("copy", "A")
    assert plan([a, copy], [row("a", "A"), row("copy", "A")], ready=[], fingerprint="p2") == Plan(
        changed=(a, copy), parse=(a,)
    )


def test_quarantine_lasts_until_content_or_parser_changes() -> None:
    bad = source("bad", "B")
    known = [row("bad", "B", error="InputError")]
    assert plan([bad], known) == Plan(quarantined=(bad,))
    assert plan([bad], known, fingerprint="p2") == Plan(changed=(bad,), parse=(bad,))
    mended = source("bad", "good")
    assert plan([mended], known) == Plan(changed=(mended,), parse=(mended,))


def test_quarantine_ends_when_asked_or_when_the_missing_program_is_there() -> None:
    bad = source("bad", "B")
    lacking = str(MadeBy("p1", ("soffice",)))
    known = [row("bad", "B", error="MissingProgramError", fingerprint=lacking)]
    assert plan([bad], known) == Plan(quarantined=(bad,))
    again = Plan(changed=(bad,), parse=(bad,))
    assert plan([bad], known, available=["soffice"]) == again
    assert plan([bad], known, retry_quarantined=True) == again


def test_a_document_that_a_new_program_would_read_better_is_read_again() -> None:
    a, copy = source("a", "A"), source("copy", "A")
    known = [row("a", "A", fingerprint=str(MadeBy("p1", ("tesseract",)))), row("copy", "A")]
    held = replace(known[1], fingerprint=known[0].fingerprint)
    assert plan([a, copy], [known[0], held]) == Plan(unchanged=(a, copy))
    assert plan([a, copy], [known[0], held], available=["tesseract"]) == Plan(changed=(a, copy), parse=(a,))


def test_text_that_is_a_files_name_follows_the_name() -> None:
    pump = source("pump.png", "P")
    known = [row("pump.png", "P", fingerprint=str(MadeBy("p1", name="pump")))]
    assert plan([pump], known) == Plan(unchanged=(pump,))
    moved = source("sub/pump.png", "P")
    assert plan([moved], known) == Plan(renamed=((ROOT / "pump.png", moved),)), "the same name elsewhere"
    valve = source("valve.png", "P")
    assert plan([valve], known) == Plan(renamed=((ROOT / "pump.png", valve),), parse=(valve,))
    assert plan([valve, pump], known) == Plan(unchanged=(pump,), duplicate=(valve,)), "its first path names it"
    first = source("a_pump.png", "P")
    assert plan([first, pump], known) == Plan(changed=(pump,), duplicate=(first,), parse=(first,))
    elsewhere = replace(known[0], path=Path("/a/pump.png"))
    assert plan([valve], [elsewhere]) == Plan(duplicate=(valve,)), "or the first of all that are known"


def test_what_came_out_of_a_mail_that_is_yet_to_be_read_is_not_gone() -> None:
    mail = source("m.eml", "new")
    inside = row("m.eml/1-a.txt", "A")
    assert plan([mail], [row("m.eml", "old"), inside]) == Plan(changed=(mail,), parse=(mail,))
    assert plan([], [row("m.eml", "old"), inside], kept=[ROOT / "m.eml"]) == Plan()
    read = source("m.eml", "old")
    assert plan([read], [row("m.eml", "old"), inside]) == Plan(unchanged=(read,), deleted=(ROOT / "m.eml/1-a.txt",))


def test_a_broken_file_under_a_new_name_is_tried_again() -> None:
    new = source("new.txt", "B")
    assert plan([new], [row("old", "B", error="InputError")]) == Plan(
        added=(new,), deleted=(ROOT / "old",), parse=(new,)
    )


@pytest.mark.parametrize(
    ("size", "mtime_ns", "checked_ns", "expected"),
    [
        (1, 1, NOW, False),
        (2, 1, NOW, True),
        (1, 2, NOW, True),
        (1, 1, 2 * 10**9, True),  # written within two seconds of the last look: the stamp may hide a later write
        (1, 1, 3 * 10**9, False),
    ],
)
def test_time_and_size_are_a_hint_that_saves_reading(size: int, mtime_ns: int, checked_ns: int, expected: bool) -> None:
    known = FileRow(ROOT / "a", "00" * 32, 1, 1, checked_ns, "p1", None)
    assert needs_reading(Found(ROOT / "a", ROOT, size, mtime_ns), known) is expected


def test_what_was_never_read_must_be() -> None:
    found = Found(ROOT / "a", ROOT, 1, 1)
    assert needs_reading(found, None)
    assert needs_reading(found, FileRow(ROOT / "a", None, 1, 1, NOW, "p1", None))
