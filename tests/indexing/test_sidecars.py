"""What stands in a file beside a document reaches its points, and leaves them, without parsing or encoding."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag_pipeline.filters import parse_filter
from rag_pipeline.indexing.manifest import Manifest
from tests.indexing.library import Bench, describe, open_bench, write
from tests.indexing.test_crash import fresh
from tests.indexing.test_ingest import counts


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path / "index") as opened:
        yield opened


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    write(tmp_path / "docs", a="one\n\ntwo\n\n+own", b="three")
    return tmp_path / "docs"


def said(bench: Bench) -> dict[str, tuple[object, ...]]:
    """What the points of each file say of it: all of a file say the same."""
    found: dict[str, tuple[object, ...]] = {}
    for record in bench.store.scroll():
        for path in record.payload["paths"]:  # type: ignore[attr-defined]
            facts = tuple(record.payload.get(key) for key in ("tags", "date", "meta"))
            assert found.setdefault(Path(path).stem, facts) == facts
    return found


def test_a_sidecar_speaks_for_its_file(bench: Bench, docs: Path) -> None:
    describe(docs, a="tags: [finance]\ndate: 2024-03-01\nauthor: Ann")
    assert counts(bench.ingest(docs)) == {"added": 2}
    assert said(bench) == {"a": (["finance", "own"], "2024-03-01", {"author": "Ann"}), "b": ([], None, {})}
    assert bench.store.count(parse_filter("author=A*")) == 2, "its keys are indexed"


def test_a_changed_sidecar_parses_and_encodes_nothing(bench: Bench, docs: Path) -> None:
    describe(docs, a="tags: [finance]\nauthor: Ann")
    bench.ingest(docs)
    before, encoded = bench.export(), bench.encoder.passages_encoded
    bench.parser.parsed.clear()
    describe(docs, a="date: 2024", b="tags: [new]\nsize: 3")
    report = bench.ingest(docs)
    assert (counts(report), report.chunks) == ({"changed": 2}, 0)
    assert said(bench) == {"a": (["own"], "2024-01-01", {}), "b": (["new"], None, {"size": 3})}
    assert bench.store.count(parse_filter("size>2")) == 1
    (docs / "a.txt.meta.yaml").unlink()
    assert counts(bench.ingest(docs)) == {"changed": 1, "unchanged": 1}
    assert said(bench)["a"] == (["own"], None, {}), "what the document says of itself is still there"
    describe(docs, a="tags: [finance]\nauthor: Ann")
    (docs / "b.txt.meta.yaml").unlink()
    bench.ingest(docs)
    assert bench.export() == before
    assert (bench.encoder.passages_encoded, bench.parser.parsed) == (encoded, [])
    assert counts(bench.ingest(docs)) == {"unchanged": 2}


def test_a_time_stamp_alone_changes_nothing(bench: Bench, docs: Path) -> None:
    describe(docs, a="tags: [finance]")
    bench.ingest(docs)
    before = bench.export()
    for path in docs.iterdir():
        path.touch()
    assert counts(bench.ingest(docs)) == {"unchanged": 2}
    assert bench.export() == before


def test_a_sidecar_moves_with_its_file_or_stays_behind(bench: Bench, docs: Path) -> None:
    describe(docs, a="tags: [finance]", b="tags: [b]")
    bench.ingest(docs)
    for name in ("a.txt", "a.txt.meta.yaml", "b.txt"):
        (docs / name).rename(docs / f"new_{name}")
    assert counts(bench.ingest(docs)) == {"renamed": 2}
    assert said(bench) == {"new_a": (["finance", "own"], None, {}), "new_b": ([], None, {})}
    assert set(bench.texts()) == {"new_a.txt", "new_b.txt"}, "one that is left alone is no document"


def test_the_sidecars_of_copies_speak_for_their_one_document(bench: Bench, docs: Path) -> None:
    shutil.copy(docs / "b.txt", docs / "c.txt")
    describe(docs, b="tags: [b]\nauthor: Ann", c="tags: [c]\nauthor: Bob\nsize: 1")
    bench.ingest(docs)
    assert said(bench)["c"] == (["b", "c"], None, {"author": "Ann", "size": 1})
    (docs / "b.txt").unlink()
    bench.ingest(docs)
    assert said(bench)["c"] == (["c"], None, {"author": "Bob", "size": 1})


def test_a_new_parser_keeps_what_sidecars_say(bench: Bench, docs: Path) -> None:
    describe(docs, a="tags: [finance]")
    bench.ingest(docs)
    before = bench.export()
    bench.ingest(docs, fingerprint="parser 2")
    assert bench.export() == before


def test_the_last_good_version_of_a_broken_file_is_still_described(bench: Bench, docs: Path) -> None:
    describe(docs, b="tags: [old]")
    bench.ingest(docs)
    write(docs, b="BROKEN")
    bench.ingest(docs)
    describe(docs, b="tags: [new]")
    assert counts(bench.ingest(docs)) == {"unchanged": 1, "quarantined": 1}
    assert said(bench)["b"] == (["new"], None, {})


def test_a_sidecar_that_cannot_be_read_is_noted_once(bench: Bench, docs: Path) -> None:
    describe(docs, a="tags: [finance", b="- x")
    notes = bench.ingest(docs).notes
    assert [note.partition(" is left out: ")[0] for note in notes] == [f"{docs}/{name}.txt.meta.yaml" for name in "ab"]
    assert said(bench)["a"] == (["own"], None, {})
    assert bench.ingest(docs).notes == ()
    describe(docs, a="tags: [finance]")
    bench.ingest(docs)
    assert said(bench)["a"] == (["finance", "own"], None, {})


def test_a_dry_run_shows_what_a_sidecar_would_change(bench: Bench, docs: Path) -> None:
    bench.ingest(docs)
    describe(docs, a="tags: [finance]")
    report = bench.ingest(docs, dry_run=True)
    assert counts(report) == {"changed": 1, "unchanged": 1}
    assert said(bench)["a"] == (["own"], None, {})


def test_after_any_number_of_changes_the_index_is_that_of_a_fresh_run(bench: Bench, docs: Path, tmp_path: Path) -> None:
    for number in range(4):
        describe(docs, a=f"tags: [t{number}]\nk{number}: {number}")
        if number == 2:
            write(docs, a="other\n\n+text")
            (docs / "b.txt").rename(docs / "c.txt")
        bench.ingest(docs)
    assert bench.export() == fresh(tmp_path / "fresh", docs)


def test_a_manifest_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    file = tmp_path / "manifest.sqlite"
    with sqlite3.connect(file) as earlier:
        earlier.executescript(
            "CREATE TABLE files (path BLOB PRIMARY KEY, content_hash TEXT, size INTEGER, mtime_ns INTEGER, checked_ns "
            "INTEGER, fingerprint TEXT, document_id TEXT, error TEXT, reason TEXT) WITHOUT ROWID;"
            "CREATE TABLE versions (document_id TEXT, fingerprint TEXT, state TEXT, paths TEXT, point_ids TEXT, "
            "figures TEXT, language TEXT, media_type TEXT, title TEXT, PRIMARY KEY (document_id, fingerprint)) "
            "WITHOUT ROWID;"
            "INSERT INTO files VALUES (x'2f61', 'h', 1, 2, 3, 'p1', 'd1', '', '');"
            "INSERT INTO versions VALUES ('d1', 'p1', 'ready', '[\"/a\"]', '[]', '[]', 'en', 'text/plain', 'T')"
        )
    earlier.close()
    for _ in range(2):
        manifest = Manifest.open(file)
        assert manifest.files()[Path("/a")].sidecar == ""
        (version,) = manifest.versions("ready")
        assert (version.title, version.sidecars, version.facts.tags) == ("T", (), ())
        manifest.settle(gone=[Path("/nowhere")])
        manifest.close()
