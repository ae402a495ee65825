"""An index goes into one file and comes out the same, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.errors import ConfigError, InputError, UnavailableError
from rag_pipeline.indexing.snapshot import create_snapshot, restore_snapshot, verify_snapshot
from rag_pipeline.store.lock import IndexLock
from tests.indexing.library import open_bench, write
from tests.indexing.test_snapshot_file import one_line, refused

PAGES = {"one": "alpha\n\nbeta\n\n!cat", "two": "gamma\n\n!dog", "three": "same", "four": "same", "bad": "BROKEN"}


WHOLE: list[object] = []
"""What the index of ``made`` holds."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `docs`, the `index` of it, and a `snapshot.tar.gz` of that.

    Not to be changed, and not to be opened: the engine tidies up whenever it opens a shard.
    """
    place = tmp_path_factory.mktemp("made")
    write(place / "docs", **PAGES)
    with open_bench(place / "index") as bench:
        bench.ingest(place / "docs")
    WHOLE[:] = contents(place / "index")
    attached = place / "index" / "attachments" / "ab"
    attached.mkdir(parents=True)
    (attached / "minutes é.txt").write_bytes(bytes(3 * 4096) + b"agreed" + bytes(10_000))
    (attached / "empty").touch()
    (place / "index" / "figures" / "cut-off.partial").write_text("half a picture")
    (place / "index" / "shard.partial").mkdir()
    (place / "index" / "calibration.json").write_text("{}")
    create_snapshot(place / "index", place / "snapshot.tar.gz")
    yield place
    shutil.rmtree(place)


@pytest.fixture
def snapshot(made: Path) -> Path:
    return made / "snapshot.tar.gz"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def kept(index: Path) -> dict[str, bytes]:
    """What belongs into a snapshot, but the manifest, whose pages may be laid out otherwise."""
    other = {"lock", "holder.json", "figures/cut-off.partial"}
    return {k: v for k, v in files_of(index).items() if k not in other and not k.startswith("manifest")}


def contents(index: Path) -> list[object]:
    with open_bench(index) as bench:
        return [bench.export(), bench.manifest.files(), bench.manifest.versions("ready", "moved")]


# ------------------------------------------------------------------------------------------- there and back


def test_what_is_restored_is_what_was_there(made: Path, snapshot: Path, tmp_path: Path) -> None:
    report = restore_snapshot(snapshot, tmp_path / "deep" / "index")
    assert kept(tmp_path / "deep" / "index") == kept(made / "index")
    assert (tmp_path / "deep" / "index" / "attachments" / "ab" / "empty").exists()
    assert contents(tmp_path / "deep" / "index") == WHOLE
    assert os.listdir(tmp_path / "deep") == ["index"]
    assert report.counts["documents"] == 3
    assert report.counts["chunks"] + report.counts["figures"] == 6
    assert report.made_with["text"] == "hash"
    assert (report.bytes, report.members) == (snapshot.stat().st_size, len(kept(made / "index")) + 1)
    assert json.loads(json.dumps(report.to_json()))["index"] == str(tmp_path / "deep" / "index")


def test_an_empty_folder_takes_an_index_and_holes_stay_holes(made: Path, snapshot: Path, tmp_path: Path) -> None:
    restore_snapshot(snapshot, tmp_path)
    for name, content in kept(tmp_path).items():
        blocks = (made / "index" / name).stat().st_blocks
        assert (tmp_path / name).stat().st_blocks <= max(blocks, len(content) // 4096 * 8 + 8), name
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*")) < 2**21
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) > 2**26


def test_a_restored_index_goes_on_from_there(made: Path, snapshot: Path, tmp_path: Path) -> None:
    restore_snapshot(snapshot, tmp_path / "index")
    docs = tmp_path / "docs"
    shutil.copytree(made / "docs", docs)
    with open_bench(tmp_path / "index") as bench:
        report = bench.ingest(made / "docs")
        assert (report.files["unchanged"], report.files["quarantined"], report.chunks) == (4, 1, 0)
        assert bench.encoder.passages_encoded == 0
        write(docs, new="delta\n\n!cow")
        assert bench.ingest(docs).chunks == 1
        assert bench.texts()["new.txt"] == ["delta", "cow"]


def test_a_person_can_look_into_it_with_tar(snapshot: Path) -> None:
    names = subprocess.run(["tar", "-tzf", snapshot], capture_output=True, text=True, check=True).stdout.splitlines()
    assert names[0] == "snapshot.json"
    assert names[-3:] == ["manifest.sqlite", "calibration.json", "index.json"]
    shown = subprocess.run(["tar", "-xzOf", snapshot, "snapshot.json"], capture_output=True, check=True).stdout
    listing = json.loads(shown)
    assert (listing["format"], listing["rag_pipeline"]) == (1, "0.1.0")
    assert [member["name"] for member in listing["members"]] == [name for name in names[1:] if "\\" not in name]
    assert subprocess.run(["gzip", "-t", snapshot], capture_output=True).returncode == 0
    (digest,) = (member["sha256"] for member in listing["members"] if member["name"] == "index.json")
    described = subprocess.run(["tar", "-xzOf", snapshot, "index.json"], capture_output=True, check=True).stdout
    assert hashlib.sha256(described).hexdigest() == digest


def test_what_a_killed_run_left_is_kept_and_recovered(made: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from tests.indexing.library import open_bench\nfrom tests.indexing.test_crash import Fuse, wire\n"
        "with open_bench(Path(sys.argv[1])) as bench:\n"
        "    wire(bench, Fuse(5, lambda: os.kill(os.getpid(), signal.SIGKILL))).ingest(Path(sys.argv[2]))\n"
    )
    assert run(code, tmp_path / "cut", made / "docs").returncode == -signal.SIGKILL
    assert (tmp_path / "cut" / "manifest.sqlite-wal").stat().st_size > 0
    create_snapshot(tmp_path / "cut", tmp_path / "cut.tar.gz")
    restore_snapshot(tmp_path / "cut.tar.gz", tmp_path / "index")
    with open_bench(tmp_path / "index") as bench:
        bench.ingest(made / "docs")
    assert contents(tmp_path / "index")[0] == WHOLE[0]


def test_progress_is_in_mib_and_by_stage(made: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    create_snapshot(made / "index", tmp_path / "a.tar.gz", on_progress=lambda *step: heard.append(step))
    verify_snapshot(tmp_path / "a.tar.gz", lambda *step: heard.append(step))
    for stage in ("measured", "written", "unpacked"):
        steps = [(done, total) for name, done, total in heard if name == stage]
        assert steps == sorted(set(steps)), stage
        assert steps[-1][0] == steps[-1][1], stage


# -------------------------------------------------------------------------------------- what create refuses


def test_an_index_that_is_held_is_refused_by_its_holder(made: Path, tmp_path: Path) -> None:
    lock = IndexLock(made / "index")
    with pytest.raises(UnavailableError, match=f"held by process {os.getpid()} ") as caught:
        create_snapshot(made / "index", tmp_path / "a.tar.gz")
    lock.release()
    one_line(caught)
    assert not list(tmp_path.iterdir())
    create_snapshot(made / "index", tmp_path / "a.tar.gz")
    IndexLock(made / "index").release()  # and the snapshot let go of it


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("index/a.tar.gz", "inside the index"),
        ("link/a.tar.gz", "inside the index"),
        ("docs", "is a folder"),
        ("none/a.tar.gz", "no folder"),
        ("there", "exists; name another"),
    ],
)
def test_a_wrong_file_is_named(made: Path, name: str, says: str) -> None:
    (made / "there").write_text("precious")
    (made / "link").unlink(missing_ok=True)
    (made / "link").symlink_to(made / "index")
    before = sorted(made.rglob("*"))
    with pytest.raises(ConfigError, match=says) as caught:
        create_snapshot(made / "index", made / name)
    one_line(caught)
    assert sorted(made.rglob("*")) == before
    assert (made / "there").read_text() == "precious"


def test_overwriting_is_asked_for(made: Path, snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    create_snapshot(made / "index", tmp_path / "a", overwrite=True)
    assert verify_snapshot(tmp_path / "a").members == verify_snapshot(snapshot).members


def test_there_must_be_an_index(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no index at"):
        create_snapshot(tmp_path / "none", tmp_path / "a.tar.gz")
    assert not list(tmp_path.iterdir())


def test_a_link_or_a_socket_in_an_index_is_refused(made: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    restore_snapshot(made / "snapshot.tar.gz", index)
    (index / "figures" / "link.png").symlink_to("/etc/hostname")
    with pytest.raises(UnavailableError, match=r"link\.png is neither a file"):
        create_snapshot(index, tmp_path / "a.tar.gz")
    (index / "figures" / "link.png").unlink()
    with socket.socket(socket.AF_UNIX) as made_socket:
        made_socket.bind(os.path.relpath(index / "figures" / "s"))
    with pytest.raises(UnavailableError, match="s is neither a file"):
        create_snapshot(index, tmp_path / "a.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


# ------------------------------------------------------------------------------------- what restore refuses


@pytest.mark.parametrize("make", [lambda at: (at / "f").parent.mkdir() or (at / "f").touch(), Path.touch])
def test_what_is_in_the_way_is_left_alone(snapshot: Path, tmp_path: Path, make: Any) -> None:
    make(tmp_path / "index")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="is not empty; restore to another --index") as caught:
        restore_snapshot(snapshot, tmp_path / "index")
    one_line(caught)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cache_alone_is_no_index_and_stays(snapshot: Path, tmp_path: Path) -> None:
    """An evaluation keeps its vectors where there is no index yet."""
    index = tmp_path / "index"
    index.mkdir()
    left = {"cache.sqlite": b"vectors", "cache.sqlite-wal": b"newer vectors"}
    for name, content in left.items():
        (index / name).write_bytes(content)
    restore_snapshot(snapshot, index)
    assert (index / "index.json").exists()
    assert {name: (index / name).read_bytes() for name in left} == left
    assert not (tmp_path / "index.restoring").exists()


def test_any_changed_byte_is_noticed(snapshot: Path, tmp_path: Path) -> None:
    whole = snapshot.read_bytes()
    chance = random.Random(0)
    edges = [*range(64), *range(len(whole) - 128, len(whole))]
    for at in [*edges, *chance.sample(range(len(whole)), 150)]:
        damaged = bytearray(whole)
        damaged[at] ^= chance.randrange(1, 256)
        (tmp_path / "damaged").write_bytes(damaged)
        refused(tmp_path / "damaged", tmp_path / "index")


def test_any_lost_or_added_end_is_noticed(snapshot: Path, tmp_path: Path) -> None:
    whole = snapshot.read_bytes()
    lengths = [0, 1, 20, 40, 5000, len(whole) // 2, len(whole) - 100, len(whole) - 8, len(whole) - 1]
    for end in [whole[:length] for length in lengths] + [whole + b"\0", whole + whole]:
        (tmp_path / "damaged").write_bytes(end)
        refused(tmp_path / "damaged", tmp_path / "index")


def test_other_files_are_no_snapshots(made: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as tar:
        tar.add(made / "docs", "docs")
    (tmp_path / "empty").touch()
    for name in ("other.tar.gz", "empty"):
        assert "is no snapshot" in refused(tmp_path / name, tmp_path / "index")
    assert "there is no file" in refused(tmp_path / "none", tmp_path / "index", ConfigError)
    assert "there is no file" in refused(tmp_path, tmp_path / "index", ConfigError)


# ------------------------------------------------------------------------------------------------ kill -9

KILLED = """
import os, signal, sys
from pathlib import Path
from rag_pipeline.indexing.snapshot import create_snapshot, restore_snapshot
def kill(stage, done, total):
    if stage == sys.argv[4] and done >= int(sys.argv[5]) * total // 100:
        os.kill(os.getpid(), signal.SIGKILL)
{"create": create_snapshot, "restore": restore_snapshot}[sys.argv[1]](*map(Path, sys.argv[2:4]), on_progress=kill)
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})


def die(*arguments: object) -> None:
    killed = run(KILLED, *arguments)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


@pytest.mark.parametrize(("stage", "percent"), [("measured", 50), ("written", 5), ("written", 100)])
def test_a_killed_create_leaves_nothing_under_the_name(made: Path, tmp_path: Path, stage: str, percent: int) -> None:
    file = tmp_path / "a.tar.gz"
    die("create", made / "index", file, stage, percent)
    assert not file.exists()
    if (half := tmp_path / "a.tar.gz.partial").exists():
        with pytest.raises(InputError):
            verify_snapshot(half)
    create_snapshot(made / "index", file)
    assert os.listdir(tmp_path) == ["a.tar.gz"]
    assert verify_snapshot(file).counts["documents"] == 3


@pytest.mark.parametrize("percent", [1, 60, 100])
def test_a_killed_restore_leaves_no_index_and_the_next_one_works(
    made: Path, snapshot: Path, tmp_path: Path, percent: int
) -> None:
    index = tmp_path / "index"
    die("restore", snapshot, index, "unpacked", percent)
    assert os.listdir(tmp_path) == ["index.restoring"]
    with pytest.raises(UnavailableError):
        create_snapshot(tmp_path / "index.restoring", tmp_path / "a.tar.gz")
    restore_snapshot(snapshot, index)
    assert os.listdir(tmp_path) == ["index"]
    assert kept(index) == kept(made / "index")


def test_one_restores_at_a_time_and_nobody_elses_folder_is_emptied(snapshot: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    refusals = []

    def again(stage: str, done: int, total: int) -> None:
        if stage == "unpacked" and not refusals:
            with pytest.raises(UnavailableError, match="another process restores") as caught:
                restore_snapshot(snapshot, index)
            refusals.append(caught)

    restore_snapshot(snapshot, index, again)
    assert len(refusals) == 1
    shutil.rmtree(index)
    (tmp_path / "index.restoring").mkdir()
    (tmp_path / "index.restoring" / "thesis.txt").write_text("years of work")
    with pytest.raises(UnavailableError, match=r"thesis\.txt is in the way"):
        restore_snapshot(snapshot, index)
    assert (tmp_path / "index.restoring" / "thesis.txt").read_text() == "years of work"


def test_a_file_that_changes_meanwhile_is_noticed(made: Path, snapshot: Path, tmp_path: Path) -> None:
    index = tmp_path / "index"
    restore_snapshot(snapshot, index)

    def interfere(stage: str, done: int, total: int) -> None:
        if stage == "written":
            (index / "index.json").write_bytes((made / "index" / "index.json").read_bytes().upper())

    with pytest.raises(UnavailableError, match=r"index\.json changed while it was copied"):
        create_snapshot(index, tmp_path / "a.tar.gz", on_progress=interfere)
    assert os.listdir(tmp_path) == ["index"]


def test_reports_are_values(snapshot: Path) -> None:
    report = verify_snapshot(snapshot)
    assert report.index == ""
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.seconds = 0.0  # type: ignore[misc]
