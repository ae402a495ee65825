import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rag_pipeline.errors import UnavailableError
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.indexing.records import FileRow, Run, Summary, Version, VersionState


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    opened = Manifest.open(tmp_path / "manifest.sqlite", clock=lambda: 100.0)
    yield opened
    opened.close()


def file_row(name: str, document: str | None, *, error: str = "") -> FileRow:
    return FileRow(Path("/docs") / name, "ab" * 32, 3, 7, 9, "p1", document, error, error and "why")


def version(document: str, *names: str, fingerprint: str = "p1", language: str = "en") -> Version:
    return Version(
        document,
        fingerprint,
        "writing",
        tuple(Path("/docs") / name for name in names),
        point_ids=(f"{document}-1", f"{document}-2"),
        figures=("f.png",),
        language=language,
        media_type="text/plain",
        title="T",
    )


def states(manifest: Manifest) -> dict[tuple[str, str], VersionState]:
    found = manifest.versions("writing", "ready", "moved", "removing")
    return {(one.document_id, one.fingerprint): one.state for one in found}


def written(manifest: Manifest, one: Version) -> None:
    manifest.announce(one)
    manifest.settle([file_row(path.name, one.document_id) for path in one.paths], ready=[one])


def test_what_was_settled_is_read_back_by_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / "manifest.sqlite"
    first = Manifest.open(file)
    written(first, version("d1", "a", "b"))
    first.close()
    second = Manifest.open(file)
    assert second.files() == {Path("/docs/a"): file_row("a", "d1"), Path("/docs/b"): file_row("b", "d1")}
    assert second.versions("ready") == [replace(version("d1", "a", "b"), state="ready")]
    second.close()


def test_an_announced_version_is_not_ready(manifest: Manifest) -> None:
    manifest.announce(version("d1", "a"))
    assert states(manifest) == {("d1", "p1"): "writing"}
    assert manifest.languages() == ()


def test_the_last_path_takes_its_document_along(manifest: Manifest) -> None:
    written(manifest, version("d1", "a", "b"))
    manifest.settle(gone=[Path("/docs/a")])
    assert states(manifest) == {("d1", "p1"): "moved"}, "its points still show /docs/a"
    manifest.settle(gone=[Path("/docs/b")])
    assert states(manifest) == {("d1", "p1"): "removing"}
    manifest.drop(manifest.versions("removing"))
    assert states(manifest) == {}


def test_a_new_path_is_to_be_shown(manifest: Manifest) -> None:
    written(manifest, version("d1", "a"))
    manifest.settle([file_row("b", "d1")])
    (moved,) = manifest.versions("moved")
    manifest.show(moved, manifest.places_of("d1"))
    assert manifest.versions("ready")[0].paths == (Path("/docs/a"), Path("/docs/b"))


def test_back_at_its_old_path_nothing_is_to_be_shown(manifest: Manifest) -> None:
    written(manifest, version("d1", "a"))
    manifest.settle([file_row("b", "d1")], gone=[Path("/docs/a")])
    manifest.settle([file_row("a", "d1")], gone=[Path("/docs/b")])
    assert states(manifest) == {("d1", "p1"): "ready"}


def test_a_changed_file_lets_go_of_its_old_document_when_the_new_one_is_ready(manifest: Manifest) -> None:
    written(manifest, version("d1", "a"))
    manifest.announce(version("d2", "a"))
    assert states(manifest) == {("d1", "p1"): "ready", ("d2", "p1"): "writing"}
    manifest.settle([file_row("a", "d2")], ready=[version("d2", "a")])
    assert states(manifest) == {("d1", "p1"): "removing", ("d2", "p1"): "ready"}


def test_a_version_of_another_parser_replaces_the_one_before(manifest: Manifest) -> None:
    written(manifest, version("d1", "a"))
    written(manifest, version("d1", "a", fingerprint="p2"))
    assert states(manifest) == {("d1", "p1"): "removing", ("d1", "p2"): "ready"}


def test_a_quarantined_file_keeps_its_last_good_document(manifest: Manifest) -> None:
    written(manifest, version("d1", "a"))
    manifest.settle([file_row("a", "d1", error="InputError")])
    assert states(manifest) == {("d1", "p1"): "ready"}
    assert manifest.document_of(Path("/docs/a")) == "d1"


def test_names_that_are_not_unicode_are_kept_exactly(manifest: Manifest) -> None:
    odd = Path("/docs/caf\udce9\n\u00fc.txt")
    manifest.announce(Version("d1", "p1", "writing", (odd,), ("x",)))
    row = FileRow(odd, None, 0, 0, 0, "p1", "d1")
    manifest.settle([row], ready=[Version("d1", "p1", "writing", (odd,), ("x",))])
    assert manifest.files() == {odd: row}
    assert manifest.places_of("d1") == {odd: ""}
    assert manifest.versions("ready")[0].paths == (odd,)


def test_the_summary_counts_what_is_searchable(manifest: Manifest) -> None:
    written(manifest, version("d1", "a", "b"))
    written(manifest, version("d2", "c", language="de"))
    written(manifest, version("d3", "e", language="de"))
    manifest.announce(version("d4", "d"))
    manifest.settle([file_row("bad", None, error="InputError")])
    number = manifest.begin_run()
    assert manifest.summary().last_run == Run(100.0, None, None)
    manifest.end_run(number, 1.5, {"chunks": 3})
    # Three documents of two points each, one of which is a figure.
    assert manifest.summary() == Summary(
        indexed=4,
        quarantined={"InputError": 1},
        duplicates=1,
        documents=3,
        chunks=3,
        figures=3,
        last_run=Run(100.0, 1.5, {"chunks": 3}),
    )
    assert manifest.languages() == ("de", "en")


def test_a_change_that_fails_midway_leaves_no_trace(manifest: Manifest) -> None:
    written(manifest, version("d1", "a"))

    def rows() -> Iterator[FileRow]:
        yield file_row("b", "d1")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        manifest.settle(rows(), gone=[Path("/docs/a")])
    assert set(manifest.files()) == {Path("/docs/a")}
    assert states(manifest) == {("d1", "p1"): "ready"}


def test_another_process_may_read_while_one_writes(tmp_path: Path) -> None:
    file = tmp_path / "manifest.sqlite"
    writer, reader = Manifest.open(file), Manifest.open(file)
    written(writer, version("d1", "a"))
    assert reader.summary().documents == 1
    writer.close()
    reader.close()


def test_a_missing_folder_and_a_foreign_file_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="rag ingest"):
        Manifest.open(tmp_path / "none" / "manifest.sqlite")
    (tmp_path / "foreign").write_text("not a database, whatever its name says")
    with pytest.raises(UnavailableError, match="cannot open manifest"):
        Manifest.open(tmp_path / "foreign")


def test_sqlite_errors_while_writing_are_translated(manifest: Manifest, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "manifest.sqlite").execute("DROP TABLE versions").connection.close()
    with pytest.raises(UnavailableError, match="cannot write the manifest"):
        manifest.announce(version("d1", "a"))
