import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.indexing.ingest import Change, IngestReport, Progress, Quarantined
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.types import Document, Point, SourceFile
from tests.fakes import HashEncoder, MemoryStore
from tests.indexing.library import Bench, ParagraphParser, open_bench, write


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path / "index") as opened:
        yield opened


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


def counts(report: IngestReport) -> dict[str, int]:
    return {name: number for name, number in report.files.items() if number}


def test_a_folder_becomes_points(bench: Bench, docs: Path) -> None:
    write(docs, a="one\n\ntwo", b="three\n\n!cat")
    report = bench.ingest(docs)
    assert dict(report.files) == {
        "added": 2, "changed": 0, "unchanged": 0, "renamed": 0, "deleted": 0, "duplicate": 0, "quarantined": 0
    }  # fmt: skip
    assert (report.chunks, report.figures) == (3, 1)
    assert bench.texts() == {"a.txt": ["one", "two"], "b.txt": ["three", "cat"]}
    assert bench.pictures() == ["cat"]
    kinds = {str(line["payload"]["text"]): sorted(line["vectors"]) for line in bench.export()}
    assert kinds["three"] == ["dense", "sparse"]
    assert kinds["cat"] == ["dense", "image", "sparse"]


def test_the_same_again_writes_and_encodes_nothing(bench: Bench, docs: Path) -> None:
    write(docs, a="one", b="two")
    bench.ingest(docs)
    before, encoded = bench.export(), bench.encoder.passages_encoded
    bench.parser.parsed.clear()
    report = bench.ingest(docs)
    assert counts(report) == {"unchanged": 2}
    assert (report.chunks, bench.encoder.passages_encoded, bench.parser.parsed) == (0, encoded, [])
    assert bench.export() == before


def test_a_changed_file_replaces_its_points(bench: Bench, docs: Path) -> None:
    write(docs, a="one\n\ntwo\n\n!cat", b="three")
    bench.ingest(docs)
    write(docs, a="one\n\nnew")
    report = bench.ingest(docs)
    assert counts(report) == {"changed": 1, "unchanged": 1}
    assert (report.chunks, report.figures) == (2, 0)
    assert bench.texts() == {"a.txt": ["one", "new"], "b.txt": ["three"]}
    assert bench.pictures() == [], "nothing shows it any more"


def test_a_deleted_file_takes_its_points_along(bench: Bench, docs: Path) -> None:
    write(docs, a="one", b="two")
    bench.ingest(docs)
    (docs / "a.txt").unlink()
    assert counts(bench.ingest(docs)) == {"deleted": 1, "unchanged": 1}
    assert bench.texts() == {"b.txt": ["two"]}


def test_a_rename_changes_paths_and_encodes_nothing(bench: Bench, docs: Path) -> None:
    write(docs, a="one\n\n!cat")
    bench.ingest(docs)
    encoded = bench.encoder.passages_encoded
    (docs / "sub").mkdir()
    (docs / "a.txt").rename(docs / "sub" / "b.txt")
    assert counts(bench.ingest(docs)) == {"renamed": 1}
    assert bench.encoder.passages_encoded == encoded
    assert bench.texts() == {"b.txt": ["one", "cat"]}
    payload = next(iter(bench.store.scroll())).payload
    assert (payload["path"], payload["file_name"]) == (str(docs / "sub" / "b.txt"), "b.txt")


def test_copies_are_one_document_with_several_paths(bench: Bench, docs: Path) -> None:
    write(docs, a="one", b="one")
    bench.ingest(docs)
    assert bench.encoder.passages_encoded == 1
    write(docs, c="one")
    assert counts(bench.ingest(docs)) == {"duplicate": 1, "unchanged": 2}
    assert bench.encoder.passages_encoded == 1
    (record,) = bench.store.scroll()
    assert record.payload["paths"] == [str(docs / f"{name}.txt") for name in "abc"]
    (docs / "a.txt").unlink()
    bench.ingest(docs)
    (record,) = bench.store.scroll()
    assert record.payload["path"] == str(docs / "b.txt")


def test_two_folders_are_kept_apart(bench: Bench, docs: Path, tmp_path: Path) -> None:
    write(docs, a="one")
    write(tmp_path / "more", b="two", c="one")
    bench.ingest(docs, tmp_path / "more")
    (docs / "a.txt").unlink()
    assert counts(bench.ingest(tmp_path / "more")) == {"unchanged": 2}, "docs was not scanned: a is not missed"
    assert set(bench.texts()) == {"a.txt", "b.txt", "c.txt"}
    assert counts(bench.ingest(docs)) == {"deleted": 1}
    assert set(bench.texts()) == {"b.txt", "c.txt"}


def test_a_broken_file_is_quarantined_until_it_changes(bench: Bench, docs: Path) -> None:
    write(docs, bad="BROKEN", good="one")
    report = bench.ingest(docs)
    expected = Quarantined(str(docs / "bad.txt"), "InputError", "the file is broken; repair it")
    assert counts(report) == {"added": 1, "quarantined": 1}
    assert report.quarantine == (expected,)
    bench.parser.parsed.clear()
    again = bench.ingest(docs)
    assert (counts(again), again.quarantine) == ({"unchanged": 1, "quarantined": 1}, (expected,))
    assert bench.parser.parsed == [], "it is not tried again"
    assert counts(bench.ingest(docs, fingerprint="parser 2")) == {"changed": 1, "quarantined": 1}
    assert bench.parser.parsed == ["bad.txt", "good.txt"]
    write(docs, bad="mended")
    assert counts(bench.ingest(docs, fingerprint="parser 2")) == {"changed": 1, "unchanged": 1}


def test_a_file_that_breaks_keeps_its_last_good_version(bench: Bench, docs: Path) -> None:
    write(docs, a="one")
    bench.ingest(docs)
    write(docs, a="BROKEN")
    for _ in range(2):
        report = bench.ingest(docs)
        assert counts(report) == {"quarantined": 1}
        assert report.quarantine[0].reason == ("the file is broken; repair it; the last good version stays searchable")
        assert bench.texts() == {"a.txt": ["one"]}
    write(docs, a="one")
    encoded = bench.encoder.passages_encoded
    assert counts(bench.ingest(docs)) == {"changed": 1}
    assert bench.encoder.passages_encoded == encoded, "back to a content that is still there"
    (docs / "a.txt").unlink()
    bench.ingest(docs)
    assert bench.texts() == {}


def test_what_discovery_refuses_is_listed_and_not_taken_as_deleted(bench: Bench, docs: Path) -> None:
    write(docs, a="one")
    bench.ingest(docs)
    (docs / "a.txt").unlink()
    (docs / "a.txt").symlink_to("/nowhere")
    report = bench.ingest(docs)
    assert counts(report) == {"quarantined": 1}
    assert "symbolic link" in report.quarantine[0].reason
    assert bench.texts() == {"a.txt": ["one"]}
    (docs / "a.txt").unlink()
    assert counts(bench.ingest(docs)) == {"deleted": 1}


def test_a_file_without_text_says_so(bench: Bench, docs: Path) -> None:
    write(docs, empty="\n\n")
    (item,) = bench.ingest(docs).quarantine
    assert "neither text nor a picture" in item.reason


def test_a_new_parser_indexes_again_and_leaves_no_rest(bench: Bench, docs: Path) -> None:
    write(docs, a="one\n\ntwo")
    bench.ingest(docs)
    before = bench.export()
    assert counts(bench.ingest(docs, fingerprint="parser 2")) == {"changed": 1}
    assert bench.export() == before
    assert counts(bench.ingest(docs, fingerprint="parser 2")) == {"unchanged": 1}


def test_one_text_too_long_stops_only_its_own_document(bench: Bench, docs: Path) -> None:
    write(docs, a="one", b="fine\n\n" + "word " * 600, c="three")
    report = bench.ingest(docs, batch=10)
    assert counts(report) == {"added": 2, "quarantined": 1}
    assert "tokens" in report.quarantine[0].reason
    assert bench.texts() == {"a.txt": ["one"], "c.txt": ["three"]}
    assert bench.manifest.versions("writing", "removing") == []


def test_batches_are_filled_across_documents_and_split_long_ones(bench: Bench, docs: Path) -> None:
    write(docs, a="\n\n".join(f"a{n}" for n in range(11)), b="b0", c="c0\n\nc1")
    bench.ingest(docs, batch=4)
    assert bench.texts() == {"a.txt": [f"a{n}" for n in range(11)], "b.txt": ["b0"], "c.txt": ["c0", "c1"]}


def test_a_dry_run_tells_and_does_nothing(bench: Bench, docs: Path) -> None:
    write(docs, a="one", b="BROKEN")
    bench.ingest(docs)
    write(docs, c="two")
    (docs / "a.txt").rename(docs / "d.txt")
    before, files = bench.export(), bench.manifest.files()
    report = bench.ingest(docs, dry_run=True)
    assert counts(report) == {"added": 1, "renamed": 1, "quarantined": 1}
    assert report.dry_run
    assert report.changes == (
        Change("quarantined", str(docs / "b.txt")),
        Change("added", str(docs / "c.txt")),
        Change("renamed", str(docs / "d.txt"), before=str(docs / "a.txt")),
    )
    assert report.to_json()["plan"][1] == {"action": "added", "path": str(docs / "c.txt"), "before": None}
    assert (bench.export(), bench.manifest.files()) == (before, files)


def test_odd_names_are_no_obstacle(bench: Bench, docs: Path) -> None:
    for name in (b"caf\xe9.txt", b"two\nlines.txt", b"x" * 251 + b".txt", b"bad\xff.txt"):
        Path(os.fsdecode(os.fsencode(docs) + b"/" + name)).write_bytes(
            b"BROKEN" if name[:3] == b"bad" else name[:3].hex().encode()
        )
    assert counts(bench.ingest(docs)) == {"added": 3, "quarantined": 1}
    assert counts(bench.ingest(docs)) == {"unchanged": 3, "quarantined": 1}
    assert {"caf\\xe9.txt", "two\nlines.txt"} < set(bench.texts())


def test_the_report_is_the_command_lines_json(bench: Bench, docs: Path) -> None:
    write(docs, a="one NOTE", bad="BROKEN")
    report = bench.ingest(docs)
    values = report.to_json()
    assert list(values) == ["files", "chunks", "figures", "seconds", "quarantine"]
    assert values["quarantine"] == [
        {"path": str(docs / "bad.txt"), "error": "InputError", "reason": "the file is broken; repair it"}
    ]
    assert report.notes == (f"{docs / 'a.txt'}: a note",)
    run = bench.manifest.summary().last_run
    assert run is not None
    assert run.report == values


def test_an_engine_that_lost_points_is_filled_again(bench: Bench, docs: Path) -> None:
    write(docs, a="one", b="two")
    bench.ingest(docs)
    before = bench.export()
    write(docs, c="three")
    bench.ingest(docs)
    bench.store.delete([str(before[0]["id"])])
    (docs / "c.txt").unlink()
    report = bench.ingest(docs)
    assert counts(report) == {"changed": 2, "deleted": 1}
    assert report.notes == ("the engine holds 2 of 3 points; every document is written again",)
    assert bench.export() == before
    assert counts(bench.ingest(docs)) == {"unchanged": 2}


class MeddlingParser(ParagraphParser):
    """Writes to each file after it has read it."""

    def _parse(self, source: SourceFile) -> Document | InputError:
        document = super()._parse(source)
        source.path.write_text("later text")
        return document


def test_a_file_that_changes_while_it_is_read_is_read_again(bench: Bench, docs: Path) -> None:
    write(docs, a="early")
    quiet, bench.parser = bench.parser, MeddlingParser()
    (item,) = bench.ingest(docs).quarantine
    assert (item.error, item.reason) == ("FileChangedError", "the file changed while it was read; run again")
    bench.parser = quiet
    assert counts(bench.ingest(docs)) == {"changed": 1}
    assert bench.texts() == {"a.txt": ["later text"]}


def test_progress_is_told(bench: Bench, docs: Path) -> None:
    write(docs, a="one\n\n!cat", b="BROKEN")
    seen: list[Progress] = []
    bench.ingest(docs, on_progress=seen.append)
    assert [one for one in seen if one.stage == "reading"] == [Progress("reading", 0, 2), Progress("reading", 1, 2)]
    first, *_, last = [one for one in seen if one.stage == "indexing"]
    assert (first.done, first.total, first.chunks, first.seconds_left) == (0, 2, 0, None)
    assert (last.done, last.total, last.chunks, last.quarantined) == (2, 2, 2, 1)
    assert last.seconds_left == 0
    assert last.chunks_per_second > 0


def test_quarantined_files_are_tried_again_when_asked(bench: Bench, docs: Path) -> None:
    write(docs, bad="BROKEN", good="one")
    bench.ingest(docs)
    bench.parser.parsed.clear()
    assert counts(bench.ingest(docs, retry_quarantined=True)) == {"unchanged": 1, "quarantined": 1}
    assert bench.parser.parsed == ["bad.txt"]


def test_a_file_is_read_by_itself_once_the_program_that_it_needs_is_there(bench: Bench, docs: Path) -> None:
    write(docs, a="OLD words")
    (item,) = bench.ingest(docs).quarantine
    assert item == Quarantined(str(docs / "a.txt"), "MissingProgramError", "the file is old; install soffice")
    assert counts(bench.ingest(docs)) == {"quarantined": 1}
    bench.parser.programs = ("soffice",)
    assert counts(bench.ingest(docs)) == {"changed": 1}
    assert bench.texts() == {"a.txt": ["OLD words"]}


def test_text_that_is_a_name_follows_a_rename(bench: Bench, docs: Path) -> None:
    write(docs, red_pump="%NAME", other="text")
    bench.ingest(docs)
    (docs / "red_pump.txt").rename(docs / "blue-valve.txt")
    assert counts(bench.ingest(docs)) == {"renamed": 1, "unchanged": 1}
    assert bench.texts() == {"blue-valve.txt": ["blue valve"], "other.txt": ["text"]}
    encoded = bench.encoder.passages_encoded
    assert counts(bench.ingest(docs)) == {"unchanged": 2}
    assert bench.encoder.passages_encoded == encoded


def test_attachments_are_documents_where_asked(bench: Bench, docs: Path) -> None:
    write(docs, mail="hello\n\n@1-a.txt inside\n\n@2-b.txt same", copy="same")
    assert counts(bench.ingest(docs)) == {"added": 2}
    (docs / "mail.txt").touch()
    bench.manifest.distrust()
    assert counts(bench.ingest(docs, attachments=True)) == {"added": 1, "changed": 2, "duplicate": 1}
    assert bench.texts() == {
        "mail.txt": ["hello"], "copy.txt": ["same"], "1-a.txt": ["inside"], "2-b.txt": ["same"]
    }  # fmt: skip
    paths = {str(line["payload"]["path"]) for line in bench.export()}
    assert str(docs / "mail.txt" / "1-a.txt") in paths
    encoded = bench.encoder.passages_encoded
    assert counts(bench.ingest(docs, attachments=True)) == {"unchanged": 4}
    (docs / "mail.txt").rename(docs / "moved.txt")
    assert counts(bench.ingest(docs, attachments=True)) == {"renamed": 3, "unchanged": 1}
    assert bench.encoder.passages_encoded == encoded
    write(docs, moved="hello\n\n@1-a.txt other")
    assert counts(bench.ingest(docs, attachments=True)) == {"changed": 2, "deleted": 1, "unchanged": 1}
    assert bench.texts() == {"moved.txt": ["hello"], "copy.txt": ["same"], "1-a.txt": ["other"]}
    assert len(list((bench.index / "attachments").iterdir())) == 1, "of the mail as it now is"
    assert counts(bench.ingest(docs)) == {"unchanged": 2, "deleted": 1}
    assert list((bench.index / "attachments").iterdir()) == []


def test_attachments_of_attachments_and_those_of_a_mail_that_breaks(bench: Bench, docs: Path) -> None:
    write(docs, mail="hello\n\n@1-inner.txt deep")
    inner = docs / "mail.txt" / "1-inner.txt"
    assert counts(bench.ingest(docs, attachments=True)) == {"added": 2}
    write(docs, mail="BROKEN")
    assert counts(bench.ingest(docs, attachments=True)) == {"quarantined": 1}
    assert bench.texts() == {"mail.txt": ["hello"], "1-inner.txt": ["deep"]}, "the last good version, whole"
    assert bench.manifest.files()[inner].error == ""
    (docs / "mail.txt").unlink()
    assert counts(bench.ingest(docs, attachments=True)) == {"deleted": 2}
    assert bench.texts() == {}


class UnsteadyStore(MemoryStore):
    """Fails a number of times for a reason that passes."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def upsert(self, points: Sequence[Point]) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("the engine is busy; run again")
        super().upsert(points)


def test_what_may_pass_is_tried_again_and_what_lasts_is_raised(bench: Bench, docs: Path) -> None:
    write(docs, a="one")
    bench.store = UnsteadyStore(failures=2)
    assert counts(bench.ingest(docs)) == {"added": 1}
    write(docs, b="two")
    bench.store.failures = 3
    with pytest.raises(UnavailableError, match="busy"):
        bench.ingest(docs)
    assert counts(bench.ingest(docs)) == {"added": 1, "unchanged": 1}
    assert bench.texts() == {"a.txt": ["one"], "b.txt": ["two"]}


class AbsentParser(ParagraphParser):
    """The drive is away for a moment."""

    def parse_all(self, sources: Iterable[SourceFile]) -> Iterator[tuple[SourceFile, Document | UnavailableError]]:
        for source in sources:
            yield source, UnavailableError("the drive does not answer; run again")


def test_a_file_that_could_not_be_read_for_a_passing_reason_is_tried_by_the_next_run(bench: Bench, docs: Path) -> None:
    write(docs, a="one")
    quiet, bench.parser = bench.parser, AbsentParser()
    (item,) = bench.ingest(docs).quarantine
    assert item.error == "UnavailableError"
    bench.parser = quiet
    assert counts(bench.ingest(docs)) == {"changed": 1}


class WaitingParser(ParagraphParser):
    """Parses once it has been seen running."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.Event()

    def _parse(self, source: SourceFile) -> Document | InputError:
        assert self.seen.wait(10)
        return super()._parse(source)


def test_progress_shows_what_is_running_while_nothing_is_done(bench: Bench, docs: Path) -> None:
    write(docs, a="one")
    bench.parser = parser = WaitingParser()
    running: list[str] = []

    def look(progress: Progress) -> None:
        running.extend(progress.running)
        if progress.running:
            parser.seen.set()

    bench.ingest(docs, on_progress=look)
    assert set(running) == {str(docs / "a.txt")}


@dataclass(frozen=True)
class Step:
    kind: str
    name: str
    other: str
    content: str


names = st.sampled_from(["a", "b", "c", "sub/d"])
steps = st.builds(
    Step, st.sampled_from(["write", "copy", "move", "delete", "swap"]), names, names, st.sampled_from(["X", "Y", "Z"])
)


def do(folder: Path, step: Step) -> None:
    one, two = folder / f"{step.name}.txt", folder / f"{step.other}.txt"
    if step.kind == "write":
        one.write_text(step.content)
    elif step.kind == "copy" and one.exists():
        two.write_bytes(one.read_bytes())
    elif step.kind == "move" and one.exists():
        one.rename(two)
    elif step.kind == "swap" and one.exists() and two.exists():
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
    elif step.kind == "delete":
        one.unlink(missing_ok=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(steps, min_size=1, max_size=4), min_size=1, max_size=5))
def test_whatever_happens_to_the_folder_the_index_shows_it(rounds: list[list[Step]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "docs"
        (folder / "sub").mkdir(parents=True)
        store = MemoryStore()
        bench = Bench(Path(place), store, Manifest.open(Path(":memory:")), HashEncoder(64), ParagraphParser())
        for batch in rounds:
            held = {point.payload["text"] for point in store.points.values()}
            for step in batch:
                do(folder, step)
            encoded = bench.encoder.passages_encoded
            report = bench.ingest(folder)
            contents = {str(path): path.read_text() for path in folder.rglob("*.txt")}
            assert shown(store.points.values()) == contents
            assert bench.encoder.passages_encoded - encoded == len(set(contents.values()) - held), (
                "each new content once"
            )
            assert sum(report.files.values()) - report.files["deleted"] == len(contents)
        bench.manifest.close()


def shown(points: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for point in points:
        assert isinstance(point, Point)
        for path in point.payload["paths"]:
            assert path not in found, "one path, one document"
            found[path] = point.payload["text"]
    return found
