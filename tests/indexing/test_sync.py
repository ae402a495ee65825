import hashlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from rag_pipeline.documents.discover import Found
from rag_pipeline.indexing.records import FileRow
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
    roots: Collection[Path] = (ROOT,),
    kept: Collection[Path] = (),
    fingerprint: str = "p1",
) -> Plan:
    held = {r.document_id for r in known if r.document_id} if ready is None else ready
    return make_plan(found, {r.path: r for r in known}, held, fingerprint=fingerprint, complete_roots=roots, kept=kept)


def test_an_empty_index_parses_each_content_once() -> None:
    b, a, copy = source("b", "B"), source("a", "A"), source("copy", "B")
    assert plan([copy, b, a], []) == Plan(added=(a, b, copy), parse=(a, b))


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


def test_a_copy_is_added_and_not_parsed() -> None:
    old, copy = source("old", "A"), source("copy", "A")
    assert plan([old, copy], [row("old", "A")]) == Plan(added=(copy,), unchanged=(old,))


def test_renames_pair_off_in_order_and_the_rest_is_added_or_deleted() -> None:
    x, y, z = source("x", "A"), source("y", "A"), source("z", "A")
    known = [row("a", "A"), row("b", "A")]
    assert plan([x, y, z], known) == Plan(renamed=((ROOT / "a", x), (ROOT / "b", y)), added=(z,))
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
    assert plan([new], [replace(row("old", "A"), path=Path("/other/old"))]) == Plan(added=(new,))


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
