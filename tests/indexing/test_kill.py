"""SIGKILL, at named points and at random moments, with the real engine; one more run must end where a fresh one does.

`make test` runs 42 seeded kills, `make soak` as many as SOAK_SEEDS says (240). Every other one is of a run that keeps
what it encodes in a cache.
"""

import os
import random
import shutil
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tests.forks import FORKS
from tests.indexing.library import describe, open_bench, write
from tests.indexing.test_crash import STEPS, Fuse, fresh, pictures_of, wire

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"]
NAMES = [f"file{number}" for number in range(14)]
POINTS = [*sorted(STEPS - {"abandon"}), "parse_all", "encode_passages"]


def content(dice: random.Random, broken: float = 0.08) -> str:
    paragraphs = [" ".join(dice.choices(WORDS, k=3)) for _ in range(dice.randint(1, 5))]
    if dice.random() < 0.3:
        paragraphs.append("!" + dice.choice(WORDS))
    if dice.random() < 0.1:
        paragraphs.append("%NAME")
    return "BROKEN" if dice.random() < broken else "\n\n".join(paragraphs)


def folder_before(docs: Path, dice: random.Random) -> None:
    write(docs, **{name: content(dice) for name in dice.sample(NAMES, 8)})
    say(docs, dice)


def say(docs: Path, dice: random.Random) -> None:
    """Write sidecars for a few files, and remove some."""
    for path in dice.sample(sorted(docs.glob("*.txt")), 3):
        describe(docs, **{path.stem: f"tags: [{dice.choice(WORDS)}]\n{dice.choice('abc')}: {dice.randrange(9)}"})
    for path in sorted(docs.glob("*.meta.yaml")):
        if dice.random() < 0.2:
            path.unlink()


_TRIES = 20
"""A kill that comes too late is tried again so often: one in four does, and more where a run is quicker."""


def change(docs: Path, dice: random.Random) -> None:
    """Add, change, rename, copy and delete files, at least one of each, and what is said of them."""
    there = sorted(docs.glob("*.txt"))
    dice.shuffle(there)
    there.pop().unlink()
    moved = there.pop()
    moved.rename(docs / f"moved_{moved.name}")
    shutil.copy(there[0], docs / f"copy_{there[0].name}")
    for path in there[1 : dice.randint(2, 4)]:
        # A file that breaks keeps its last good version, which a fresh index cannot have.
        path.write_text(content(dice, broken=0))
    write(docs, **{f"new{dice.randrange(10**9)}": content(dice) for _ in range(dice.randint(2, 6))})
    say(docs, dice)


def run_and_die(index: Path, docs: Path, point: str, at: int, cached: bool) -> None:
    """Ingest, and be killed before ``point`` is reached for the ``at``-th time; runs in a process of its own."""
    with open_bench(index, cached=cached) as bench:
        wire(bench, Fuse(at, lambda: os.kill(os.getpid(), signal.SIGKILL)), {point}).ingest(docs)


def spawn(index: Path, docs: Path, point: str, at: int, cached: bool) -> ForkServerProcess:
    process = FORKS.Process(target=run_and_die, args=(index, docs, point, at, cached))
    process.start()
    return process


def killed(index: Path, docs: Path, dice: random.Random, cached: bool) -> tuple[str, bool]:
    """Run until a named point, or until a random moment; return which, and whether the run was met."""
    if dice.random() < 0.6:
        point, at = dice.choice(POINTS), dice.randint(0, 3)
        process = spawn(index, docs, point, at, cached)
        process.join(60)
        return f"{point} {at}", process.exitcode == -signal.SIGKILL
    process = spawn(index, docs, "nothing", 0, cached)
    # The lock's note tells that the run has begun; a whole run takes a tenth of a second.
    until = time.monotonic() + 30
    while not (index / "holder.json").exists() and process.is_alive() and time.monotonic() < until:
        time.sleep(0.001)
    delay = dice.uniform(0, 0.15)
    time.sleep(delay)
    process.kill()
    process.join(60)
    return f"{delay * 1000:.0f} ms", process.exitcode == -signal.SIGKILL


def survives(place: Path, seed: int) -> bool:
    """Kill one run, or two in a row, and compare what the next one makes of it with a fresh index."""
    dice = random.Random(seed)
    docs, index = place / "docs", place / "index"
    cached = seed % 2 == 1
    folder_before(docs, dice)
    with open_bench(index, cached=cached) as bench:
        bench.ingest(docs)
    change(docs, dice)
    moment, met = killed(index, docs, dice, cached)
    for _ in range(_TRIES):
        if not met:  # the run was over before; there has to be something to do for the next
            change(docs, dice)
            moment, met = killed(index, docs, dice, cached)
    if dice.random() < 0.3:
        change(docs, dice)
        moment = f"{moment}, then {killed(index, docs, dice, cached)[0]}"
    if dice.random() < 0.4:  # what was half written may be gone by the next run
        change(docs, dice)
    with open_bench(index, cached=cached) as bench:
        bench.ingest(docs)
        got, pictures = bench.export(), bench.pictures()
        assert bench.manifest.versions("writing", "moved", "removing") == [], f"seed {seed}, {moment}"
    expected = fresh(place / "fresh", docs)
    assert got == expected, f"seed {seed}, {moment}"
    assert pictures == pictures_of(expected), f"seed {seed}, {moment}"
    shutil.rmtree(place)
    return met


def sweep(place: Path, seeds: range) -> None:
    met = sum(survives(place / str(seed), seed) for seed in seeds)
    print(f"{met} of {len(seeds)} seeded kills met a running ingestion; every index recovered")
    assert met == len(seeds), "some kills came too late to prove anything"


@pytest.mark.parametrize("first", [0, 14, 28])
def test_42_seeded_kills(tmp_path: Path, first: int) -> None:
    sweep(tmp_path, range(first, first + 14))


@pytest.mark.soak
def test_240_seeded_kills(tmp_path: Path) -> None:
    sweep(tmp_path, range(1000, 1000 + int(os.environ.get("SOAK_SEEDS", "240"))))
