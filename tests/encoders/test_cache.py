"""The file: what is kept, what goes, and every way in which it can be spoilt."""

import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from rag_pipeline.encoders.cache import CacheStats, EmbeddingCache
from tests.forks import FORKS

ROOT = Path(__file__).parents[2]
MB = 2**20


def value_of(number: int, length: int = 1536) -> bytes:
    """The one right value of a key, so that whoever reads can tell whether it is right."""
    return random.Random(number).randbytes(length)


def key_of(number: int) -> bytes:
    return number.to_bytes(20, "little")


def some(numbers: range, length: int = 1536) -> dict[bytes, bytes]:
    return {key_of(number): value_of(number, length) for number in numbers}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index" / "cache.sqlite"


def test_what_was_put_is_found_by_the_next_one(file: Path) -> None:
    cache = EmbeddingCache(file, 64 * MB)
    cache.put(some(range(3)))
    cache.put({key_of(1): b"other"})  # stays as it is
    assert cache.get([key_of(n) for n in (2, 7, 1)]) == {key_of(2): value_of(2), key_of(1): value_of(1)}
    cache.close()
    assert EmbeddingCache(file, 64 * MB).get([key_of(0)]) == some(range(1))


def test_many_keys_at_once(file: Path) -> None:
    cache = EmbeddingCache(file, 64 * MB)
    cache.put(some(range(3000), 8))
    assert cache.get([key_of(n) for n in range(5000)]) == some(range(3000), 8)


def test_nothing_is_made_before_there_is_something_to_keep(file: Path) -> None:
    cache = EmbeddingCache(file, MB)
    assert cache.get([key_of(1)]) == {}
    cache.count(hits=0, misses=1)
    cache.close()
    assert EmbeddingCache.read_stats(file) == CacheStats()
    assert not file.parent.exists()


def test_only_its_owner_may_read_it(file: Path) -> None:
    before = os.umask(0)
    try:
        cache = EmbeddingCache(file, MB)
        cache.put(some(range(1)))
        assert {path.name: oct(path.stat().st_mode & 0o777) for path in file.parent.iterdir()} == {
            "cache.sqlite": "0o600", "cache.sqlite-wal": "0o600", "cache.sqlite-shm": "0o600",
        }  # fmt: skip
    finally:
        os.umask(before)


def test_counts_of_all_runs_and_of_the_last(file: Path) -> None:
    ticks = iter(range(100))
    cache = EmbeddingCache(file, MB, clock=lambda: next(ticks))
    cache.put(some(range(2)))
    cache.count(hits=0, misses=2)
    cache.close()
    cache.get([key_of(0)])
    cache.count(hits=1, misses=0)
    cache.put(some(range(5, 6)))
    cache.count(hits=2, misses=1)
    assert EmbeddingCache.read_stats(file).last_hits == 1, (
        "what is counted is written with the next value, or in the end"
    )
    cache.close()
    stats = EmbeddingCache.read_stats(file)
    assert (stats.entries, stats.hits, stats.misses, stats.last_hits, stats.last_misses) == (3, 3, 3, 3, 1)
    assert 3 * 1536 < stats.bytes <= file.stat().st_size


# ------------------------------------------------------------------------------------------ what goes


def test_the_least_recently_used_go_down_to_nine_tenths(file: Path) -> None:
    cache = EmbeddingCache(file, MB)
    for start in range(0, 400, 50):
        cache.put(some(range(start, start + 50)))
        cache.get([key_of(n) for n in range(10)])  # noted with what is put next
    assert EmbeddingCache.read_stats(file).bytes <= MB
    cache.put(some(range(400, 1000)))
    stats = EmbeddingCache.read_stats(file)
    assert 0.8 * MB < stats.bytes <= 0.9 * MB
    kept = {int.from_bytes(key, "little") for key in cache.get([key_of(n) for n in range(1000)])}
    assert kept == set(range(1000 - len(kept), 1000)), "the oldest have gone, and of one use the first"
    cache.close()
    assert file.stat().st_size < 2.2 * MB, "one call's values at most are over the limit for a moment"


def test_what_is_used_stays(file: Path) -> None:
    cache = EmbeddingCache(file, MB)
    for start in range(0, 2000, 50):
        cache.put(some(range(start, start + 50)))
        cache.get([key_of(n) for n in range(10)])
    assert len(cache.get([key_of(n) for n in range(10)])) == 10
    assert cache.get([key_of(n) for n in range(10, 1000)]) == {}


def test_a_use_counts_in_the_next_run_too(file: Path) -> None:
    cache = EmbeddingCache(file, MB)
    for start in range(0, 400, 50):
        cache.put(some(range(start, start + 50)))
    cache.get([key_of(0)])
    cache.close()
    cache.put(some(range(400, 500)))
    assert list(cache.get([key_of(0), key_of(1)])) == [key_of(0)]


def test_a_lower_limit_gives_the_disk_its_space_back(file: Path) -> None:
    cache = EmbeddingCache(file, 64 * MB)
    cache.put(some(range(4000)))
    cache.close()
    large = file.stat().st_size
    cache = EmbeddingCache(file, MB)
    cache.put(some(range(4000, 4001)))
    cache.close()
    assert large > 6 * MB > MB > file.stat().st_size
    assert cache.get([key_of(4000)]) == some(range(4000, 4001))


def test_no_room_for_anything(file: Path) -> None:
    cache = EmbeddingCache(file, 1)
    cache.put(some(range(10)))
    assert cache.get([key_of(n) for n in range(10)]) == {}


# ------------------------------------------------------------------------------------- what is spoilt


def test_a_damaged_value_is_a_miss_and_is_put_again(file: Path) -> None:
    cache = EmbeddingCache(file, MB)
    cache.put(some(range(4)))
    cache.close()
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE vectors SET value = ? WHERE id = 1", (b"12345678" + value_of(0),))  # another checksum
        db.execute("UPDATE vectors SET value = substr(value, 1, 100) WHERE id = 2")  # cut
        db.execute("UPDATE vectors SET value = 'text' WHERE id = 3")
        db.execute("INSERT INTO entries VALUES (9, ?, 9)", (key_of(9),))
        db.execute("INSERT INTO vectors SELECT 9, value FROM vectors WHERE id = 4")  # whole, but of another key
    keys = [key_of(n) for n in (0, 1, 2, 3, 9)]
    assert cache.get(keys) == {key_of(3): value_of(3)}
    cache.put(some(range(4)) | some(range(9, 10)))
    assert cache.get(keys) == some(range(4)) | some(range(9, 10))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b"no database at all, and longer than a header of a hundred bytes" * 9),
        lambda file: file.write_bytes(file.read_bytes()[:5000]),
        lambda file: file.write_bytes(file.read_bytes()[:4096] + b"\xff" * 40960),
        lambda file: sqlite3.connect(file).execute("PRAGMA user_version = 99").connection.close(),
        lambda file: sqlite3.connect(file).execute("ALTER TABLE vectors RENAME TO others").connection.close(),
        lambda file: (
            sqlite3.connect(file, isolation_level=None)
            .execute("UPDATE entries SET used = 9223372036854775807")
            .connection.close()
        ),
    ],
    ids=["no database", "cut off", "overwritten", "another version", "a table gone", "a number too large"],
)
def test_a_damaged_file_is_made_anew_and_said_once(file: Path, caplog: pytest.LogCaptureFixture, spoil: object) -> None:
    cache = EmbeddingCache(file, 64 * MB)
    cache.put(some(range(200)))
    cache.close()
    spoil(file)
    for number in range(200, 210):
        cache.get([key_of(n) for n in range(number)])
        cache.put(some(range(number, number + 1)))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "is damaged" in caplog.text
    assert "it is made anew" in caplog.text
    cache.close()
    assert len(cache.get([key_of(n) for n in range(200, 210)])) >= 9


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bits_never_give_another_value(file: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Fifty times some bytes of the file, or of its log, change."""
    dice = random.Random(seed)
    keys = [key_of(n) for n in range(300)]
    for _ in range(50):
        cache = EmbeddingCache(file, MB // 2)
        cache.put(some(range(start := dice.randrange(250), start + 50)))
        cache.close()
        if not file.exists():  # found damaged when it was put to
            continue
        data = bytearray(file.read_bytes())
        for _ in range(dice.choice((1, 20, 500))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        file.write_bytes(data)
        for key, value in cache.get(keys).items():
            assert value == value_of(int.from_bytes(key, "little"))
        cache.close()


def test_a_place_that_cannot_be_a_file_is_said_once_and_done_without(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.mkdir(parents=True)
    cache = EmbeddingCache(file, MB)
    for _ in range(3):
        assert cache.get([key_of(1)]) == {}
        cache.put(some(range(3)))
    (record,) = caplog.records
    assert "going on without the embedding cache" in record.message
    cache.close()
    file.rmdir()
    cache.put(some(range(3)))  # after close it is tried again
    assert cache.get([key_of(1)])


def test_another_process_that_holds_the_file_is_not_waited_for_twice(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EmbeddingCache(file, MB, busy_s=0.2)
    cache.put(some(range(3)))
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for _ in range(20):
            cache.put(some(range(3, 6)))
        assert 0.2 < time.monotonic() - started < 2
        assert "database is locked" in caplog.text
        other.execute("ROLLBACK")
    cache.close()
    assert len(cache.get([key_of(n) for n in range(6)])) == 3


IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
ON_A_DISK = """
import logging, subprocess, sys
from pathlib import Path
from tests.encoders.test_cache import *
logging.basicConfig(format="%(message)s", stream=sys.stdout)
place, options = Path(sys.argv[1]), sys.argv[2]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], check=True)
(place / "ballast").write_bytes(bytes(2 * MB))
cache = EmbeddingCache(place / "cache.sqlite", 64 * MB, least_free=0)
cache.put(some(range(10)))
if options == "read-only":
    cache.close()
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
cache = EmbeddingCache(place / "cache.sqlite", 64 * MB, least_free=2**29 if options == "nearly full" else 0)
for start in range(10, 10000, 100):
    cache.put(some(range(start, start + 100)))
found = cache.get([key_of(n) for n in range(10000)])
assert all(value == value_of(int.from_bytes(key, "little")) for key, value in found.items())
cache.close()
if options == "full":
    (place / "ballast").unlink()
    found = cache.get([key_of(n) for n in range(10000)])
    assert len(found) > 1000 and found == some(range(len(found))), len(found)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small file system in a namespace of its own")
@pytest.mark.parametrize("disk", ["full", "nearly full", "read-only"])
def test_a_disk_that_takes_nothing(tmp_path: Path, disk: str) -> None:
    if subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    done = subprocess.run(
        [*IN_A_NAMESPACE, sys.executable, "-c", ON_A_DISK, str(tmp_path), disk],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    said = {"full": "disk is full", "nearly full": "MiB free, and the index needs them", "read-only": "unable to open"}
    assert line.startswith("going on without the embedding cache")
    assert said[disk] in line


# ------------------------------------------------------------------------ several, and those that die


def write_for_ever(file: Path, seed: int) -> None:
    """Put and get until killed; runs in a process of its own."""
    dice = random.Random(seed)
    cache = EmbeddingCache(file, 4 * MB)
    while True:
        start = dice.randrange(3000)
        cache.put(some(range(start, start + 64)))
        cache.get([key_of(dice.randrange(3000)) for _ in range(64)])


def spawn(file: Path, seed: int) -> ForkServerProcess:
    process = FORKS.Process(target=write_for_ever, args=(file, seed))
    process.start()
    return process


def test_sigkill_in_the_middle_of_writing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Thirty times one of two writers dies at a random moment, while the other goes on."""
    dice = random.Random(4)
    writers = [spawn(file, 0), spawn(file, 1)]
    seen = 0
    for turn in range(30):
        time.sleep(dice.uniform(0.01, 0.12))
        dying = writers.pop(0)
        dying.kill()
        dying.join(30)
        assert dying.exitcode == -signal.SIGKILL
        writers.append(spawn(file, 2 + turn))
        cache = EmbeddingCache(file, 4 * MB)
        found = cache.get([key_of(n) for n in range(3100)])
        assert all(value == value_of(int.from_bytes(key, "little")) for key, value in found.items())
        seen = max(seen, len(found))
        cache.close()
    for writer in writers:
        writer.kill()
        writer.join(30)
    assert seen > 300, "the writers were killed before they wrote anything"
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM entries WHERE id NOT IN (SELECT id FROM vectors)").fetchone() == (0,)
    assert not caplog.records


def write_some(file: Path, first: int) -> None:
    cache = EmbeddingCache(file, 64 * MB)
    for start in range(first, first + 200, 10):
        cache.put(some(range(start, start + 10)))
        cache.count(hits=0, misses=10)
    cache.close()


def test_processes_that_make_the_file_at_once(file: Path) -> None:
    processes = [FORKS.Process(target=write_some, args=(file, 200 * n)) for n in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 6
    assert EmbeddingCache(file, 64 * MB).get([key_of(n) for n in range(1200)]) == some(range(1200))
    assert EmbeddingCache.read_stats(file).misses == 1200


def test_threads_share_one(file: Path) -> None:
    cache = EmbeddingCache(file, 64 * MB)
    wrong: list[object] = []

    def work(first: int) -> None:
        for start in range(first, first + 400, 20):
            cache.put(some(range(start, start + 20)))
            if cache.get([key_of(n) for n in range(start, start + 20)]) != some(range(start, start + 20)):
                wrong.append(start)

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert EmbeddingCache.read_stats(file).entries == 1100
