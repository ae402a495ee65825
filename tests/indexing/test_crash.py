"""The plug is pulled before each single step of a run; one more run must end where an uninterrupted one ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from rag_pipeline.errors import UnavailableError
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.protocols import Store
from tests.fakes import HashEncoder, MemoryStore
from tests.indexing.library import Bench, ParagraphParser, describe, write

STEPS = {
    "upsert", "delete", "set_payload", "index_payload", "flush",
    "announce", "settle", "abandon", "show", "drop", "begin_run", "end_run",
}  # fmt: skip


class Cut(BaseException):
    """The power is gone: nothing may catch it."""


class Fuse:
    """Counts steps, and burns before step ``at`` (from 0)."""

    def __init__(self, at: int, burn: Callable[[], None]) -> None:
        self.left = at
        self._burn = burn

    def step(self) -> None:
        if self.left == 0:
            self._burn()
        self.left -= 1


class Wired:
    """Passes every call on, and steps the fuse before those in ``steps``."""

    def __init__(self, inner: object, fuse: Fuse, steps: Collection[str]) -> None:
        self._inner = inner
        self._fuse = fuse
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        if name in self._steps:
            self._fuse.step()
        return getattr(self._inner, name)

    def __enter__(self) -> Wired:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def wire(bench: Bench, fuse: Fuse, steps: Collection[str] = frozenset(STEPS)) -> Bench:
    return Bench(
        bench.index,
        cast(Store, Wired(bench.store, fuse, steps)),
        cast(Manifest, Wired(bench.manifest, fuse, steps)),
        cast(HashEncoder, Wired(bench.encoder, fuse, steps)),
        cast(ParagraphParser, Wired(bench.parser, fuse, steps)),
    )


def folder_before(docs: Path) -> None:
    shutil.rmtree(docs, ignore_errors=True)
    write(docs, changing="alpha\n\nbeta\n\n!cat", copy1="same\n\ntext", copy2="same\n\ntext")
    write(docs, moving="gamma\n\n!dog", going="delta\n\n!bird", staying="epsilon\n\n+own", breaking="zeta")
    describe(docs, changing="tags: [c]", moving="tags: [m]", staying="tags: [s]\nauthor: Ann", copy2="tags: [2]")


def folder_after(docs: Path) -> None:
    folder_before(docs)
    write(docs, changing="alpha\n\nnew\n\n!cow", coming="\n\n".join(f"eta{n}" for n in range(9)), bad="BROKEN")
    (docs / "moving.txt").rename(docs / "moved.txt")
    (docs / "moving.txt.meta.yaml").rename(docs / "moved.txt.meta.yaml")
    describe(docs, changing="tags: [d]", staying="tags: [t]\nsize: 3", copy1="tags: [1]", coming="date: 2024")
    (docs / "copy2.txt").unlink()
    (docs / "going.txt").unlink()


def fresh(place: Path, docs: Path) -> list[dict[str, object]]:
    """What one run into an empty index gives."""
    place.mkdir()
    bench = memory_bench(place)
    bench.ingest(docs)
    bench.manifest.close()
    return bench.export()


def memory_bench(place: Path) -> Bench:
    manifest = Manifest.open(Path(":memory:"))  # the cut is an exception here: nothing is to survive the process
    return Bench(place, MemoryStore(), manifest, HashEncoder(64), ParagraphParser())


def pictures_of(export: list[dict[str, object]]) -> list[str]:
    return sorted({str(p["text"]) for line in export if (p := cast(dict[str, object], line["payload"]))["figure"]})


def interrupted(place: Path, docs: Path, fingerprint: str) -> Iterator[Bench]:
    """Yield an index cut off before step 0, 1, 2, ... of a run, until the run gets through."""
    at = 0
    while True:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        bench = memory_bench(place)
        folder_before(docs)
        bench.ingest(docs)
        folder_after(docs)

        def burn() -> None:
            raise Cut

        fuse = Fuse(at, burn)
        try:
            wire(bench, fuse).ingest(docs, fingerprint=fingerprint)
        except Cut:
            yield bench
            bench.manifest.close()
        else:
            bench.manifest.close()
            assert at > 15, "the run has fewer steps than this test is about"
            return
        at += 1


@pytest.mark.parametrize(
    ("then", "fingerprint"),
    [
        (folder_after, "parser 1"),
        (folder_after, "parser 2"),
        (folder_before, "parser 1"),
        pytest.param(folder_before, "parser 2", marks=pytest.mark.soak),
        (shutil.rmtree, "parser 1"),
        pytest.param(shutil.rmtree, "parser 2", marks=pytest.mark.soak),
    ],
)
def test_one_more_run_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, then: Callable[[Path], None], fingerprint: str
) -> None:
    docs = tmp_path / "docs"
    folder_before(docs)
    then(docs)
    docs.mkdir(exist_ok=True)
    expected = fresh(tmp_path / "fresh", docs)
    for bench in interrupted(tmp_path / "index", docs, fingerprint):
        then(docs)
        docs.mkdir(exist_ok=True)
        bench.ingest(docs, fingerprint=fingerprint)
        assert bench.export() == expected
        assert bench.pictures() == pictures_of(expected)
        assert bench.manifest.versions("writing", "moved", "removing") == []
        encoded = bench.encoder.passages_encoded
        report = bench.ingest(docs, fingerprint=fingerprint)
        assert bench.encoder.passages_encoded == encoded
        assert not {"added", "changed", "renamed", "deleted"} & {name for name, n in report.files.items() if n}


def test_the_last_good_version_is_there_at_every_moment(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    for bench in interrupted(tmp_path / "index", docs, "parser 1"):
        texts = {text for texts in bench.texts().values() for text in texts}
        assert {"same", "text", "gamma", "dog", "epsilon", "zeta"} <= texts
        assert {"alpha", "beta", "cat"} <= texts or {"alpha", "new", "cow"} <= texts


@pytest.mark.parametrize("at", range(0, 24, 3))
def test_an_engine_that_fails_and_goes_on_failing(tmp_path: Path, at: int) -> None:
    docs = tmp_path / "docs"
    folder_after(docs)
    expected = fresh(tmp_path / "fresh", docs)
    folder_before(docs)
    bench = memory_bench(tmp_path)
    bench.ingest(docs)
    folder_after(docs)

    def fail() -> None:
        fuse.left = 1  # and the next step fails as well
        raise UnavailableError("the engine failed; run again")

    fuse = Fuse(at, fail)
    with pytest.raises(UnavailableError):
        wire(bench, fuse).ingest(docs)
    bench.ingest(docs)
    assert bench.export() == expected
    bench.manifest.close()
