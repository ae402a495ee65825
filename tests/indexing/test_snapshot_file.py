"""A forger can seal what they like: whatever is in an archive is checked all the same, and refused in one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.errors import InputError, RagError, UnavailableError
from rag_pipeline.indexing.members import data_runs
from rag_pipeline.indexing.snapshot import restore_snapshot
from rag_pipeline.indexing.snapshot_file import read_listing, seal, unpack


def one_line(caught: pytest.ExceptionInfo[RagError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused(file: Path, index: Path, error: type[RagError] = InputError) -> str:
    """Restore, and see that it is refused in one line and leaves nothing."""
    index.mkdir(exist_ok=True)
    before = sorted(index.parent.iterdir())
    with pytest.raises(error) as caught:
        restore_snapshot(file, index)
    assert sorted(index.parent.iterdir()) == before
    assert not list(index.iterdir())
    return one_line(caught)


def forged(
    file: Path, *extra: tarfile.TarInfo, listed: Mapping[str, bytes] | None = None, head: Any = (), **changed: Any
) -> Path:
    """Write a well sealed archive of ``listed`` files and, behind them, ``extra`` members of no content."""
    files = {"manifest.sqlite": b"m", "index.json": b"{}"} if listed is None else listed
    members = [
        {"name": name, "size": len(text), "data": len(text), "sha256": hashlib.sha256(text).hexdigest()}
        for name, text in files.items()
    ]
    facts = {"created": "", "rag_pipeline": "", "made_with": {}, "counts": {}, "members": members} | changed
    mark = b"\x1f\x8b\x08\x10\0\0\0\0\0\xffrag_pipeline archive 1\0\x03\0" + bytes(8)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in {"snapshot.json": json.dumps(facts).encode(), **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
        for info in extra:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    body = mark + gzip.compress(packed.getvalue(), 1)
    file.write_bytes(body + seal(hashlib.sha256(body).hexdigest()))
    return file


def plain(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def test_the_forger_of_these_tests_can_make_a_good_one(tmp_path: Path) -> None:
    restore_snapshot(forged(tmp_path / "good"), tmp_path / "index")
    assert (tmp_path / "index" / "manifest.sqlite").read_bytes() == b"m"


@pytest.mark.parametrize(
    "name",
    [
        "/etc/cron.d/x",
        "../x",
        "shard/../../x",
        "shard//x",
        "shard/./x",
        "shard",
        "",
        ".",
        "lock",
        "figures",
        "other/x",
        "snapshot.json",
        "index.json/x",
        "manifest.sqlite/../../x",
        "shard/a\0b",
        "attachments/" + "x" * 300,
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    files = {"manifest.sqlite": b"m", "index.json": b"{}", name: b"gift"}
    refused(forged(tmp_path / "forged", listed=files), tmp_path / "index", RagError)


@pytest.mark.parametrize(
    "extra",
    [
        plain("shard/x"),
        plain("../x"),
        plain("index.json"),
        plain("shard/x", tarfile.SYMTYPE, "/etc"),
        plain("shard/x", tarfile.LNKTYPE, "index.json"),
        plain("shard/x", tarfile.FIFOTYPE),
        plain("shard/x", tarfile.CHRTYPE),
        plain("shard", tarfile.DIRTYPE),
    ],
    ids=lambda info: f"{info.name} {info.type!r}",
)
def test_what_is_not_listed_is_refused(tmp_path: Path, extra: tarfile.TarInfo) -> None:
    assert "more than it lists" in refused(forged(tmp_path / "forged", extra), tmp_path / "index")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_what_is_listed_must_be_a_plain_file(tmp_path: Path, kind: bytes) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    listed = [{"name": name, "size": 0, "data": 0, "sha256": empty} for name in ("shard/x", "manifest.sqlite")]
    listed += [{"name": "index.json", "size": 0, "data": 0, "sha256": empty}]
    extra = [plain("shard/x", kind, "/etc"), plain("manifest.sqlite"), plain("index.json")]
    forged(tmp_path / "forged", *extra, listed={}, members=listed)
    assert "'shard/x' is not in its place" in refused(tmp_path / "forged", tmp_path / "index")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sha256": "0" * 64}, "has not the listed SHA-256"),
        ({"size": 3}, "not in its place"),
        ({"size": -1, "data": -1}, "whole and in order"),
        ({"size": True}, "whole and in order"),
        ({"data": 2}, "whole and in order"),
        ({"sha256": "x"}, "64 hex digits"),
        ({"name": 1}, "relative path"),
        ({"more": 1}, "unexpected keyword"),
    ],
)
def test_a_false_listing_is_noticed(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    good = {"name": "manifest.sqlite", "size": 1, "data": 1, "sha256": hashlib.sha256(b"m").hexdigest()}
    last = {"name": "index.json", "size": 2, "data": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    forged(tmp_path / "forged", members=[good | change, last])
    assert says in refused(tmp_path / "forged", tmp_path / "index")


@pytest.mark.parametrize("changed", [{"counts": 1}, {"members": None}, {"members": []}, {"created": None}])
def test_a_listing_that_is_none_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    refused(forged(tmp_path / "forged", **changed), tmp_path / "index")


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    long = plain("PaxHeaders/x", tarfile.XHDTYPE)
    long.size = 2**24
    refused(forged(tmp_path / "forged", long, listed={}), tmp_path / "index")
    chain = [plain("PaxHeaders/x", tarfile.XHDTYPE) for _ in range(3000)]
    refused(forged(tmp_path / "forged", *chain), tmp_path / "index")


def test_a_full_disk_is_seen_beforehand(tmp_path: Path) -> None:
    huge = {"name": "shard/x", "size": 2**60, "data": 2**60, "sha256": "0" * 64}
    rest = [{"name": name, "size": 0, "data": 0, "sha256": "0" * 64} for name in ("manifest.sqlite", "index.json")]
    forged(tmp_path / "forged", members=[huge, *rest])
    assert "free space" in refused(tmp_path / "forged", tmp_path / "index", UnavailableError)


def test_blocks_of_zeros_are_holes() -> None:
    block, zeros = b"x" * 4096, bytes(4096)
    assert list(data_runs(b"")) == []
    assert list(data_runs(zeros * 3 + b"\0")) == []
    assert list(data_runs(block + block + zeros + b"y")) == [(0, block + block), (3 * 4096, b"y")]
    assert list(data_runs(zeros + b"\0" * 4095 + b"z" + zeros)) == [(4096, b"\0" * 4095 + b"z")]


def test_an_archive_that_is_exchanged_while_it_is_read_is_refused(tmp_path: Path) -> None:
    listing = read_listing(forged(tmp_path / "a"))
    forged(tmp_path / "a", plain("shard/x"), listed={"other": b"gift"})
    with pytest.raises(InputError, match="changed while it was read"):
        unpack(tmp_path / "a", listing, tmp_path / "index", lambda length: None)
    assert not (tmp_path / "index").exists()
