"""A whole index as one file, and back.

Enters: an index that nobody holds, or a snapshot of one. Leaves: the other. The engine loads a truncated or garbled
file without a word, so every byte is checked before it gets an index again. Both are made aside and renamed: what has
its name is whole. This module knows nothing of what the engine's files mean.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rag_pipeline import __version__
from rag_pipeline.errors import ConfigError, InputError, UnavailableError
from rag_pipeline.indexing.manifest import Manifest
from rag_pipeline.indexing.members import Listing, Member, Tick, measure
from rag_pipeline.indexing.snapshot_file import check_seal, read_listing, unpack, write_archive
from rag_pipeline.store.edge import EdgeStore
from rag_pipeline.store.edge_folder import require_space
from rag_pipeline.store.lock import IndexLock

__all__ = ["OnProgress", "SnapshotReport", "create_snapshot", "restore_snapshot", "verify_snapshot"]

OnProgress = Callable[[str, int, int], None]
"""Hears of a stage, how much of it is done, and of how much, in MiB."""

_MANIFEST = "manifest.sqlite"
_DESCRIPTION = "index.json"
_CALIBRATION = "calibration.json"  # where rag tune has written one
_FOLDERS = ("shard", "figures", "attachments")
# The description comes last: what was unpacked in part is no index.
_PARTS = (*_FOLDERS, _MANIFEST, _CALIBRATION, _DESCRIPTION)
_SPARE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """What a snapshot holds. ``created`` is in UTC; ``bytes`` is the file's length, ``data`` what unpacked files take.

    ``counts`` are those of ``rag status``: files {indexed, quarantined}, documents, chunks, figures.
    """

    snapshot: str
    index: str
    created: str
    rag_pipeline: str
    made_with: Mapping[str, Any]
    counts: Mapping[str, Any]
    members: int
    bytes: int
    data: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "snapshot": self.snapshot,
            "index": self.index,
            "created": self.created,
            "rag_pipeline": self.rag_pipeline,
            "made_with": dict(self.made_with),
            **self.counts,
            "members": self.members,
            "bytes": self.bytes,
            "data": self.data,
            "seconds": round(self.seconds, 3),
        }


def create_snapshot(
    index: Path, file: Path, *, overwrite: bool = False, on_progress: OnProgress | None = None
) -> SnapshotReport:
    """Write all of ``index`` into ``file``, a ``.tar.gz`` with a listing and checksums.

    Raises:
        ConfigError: ``file`` is there already, lies inside the index, or in no folder.
        UnavailableError: there is no index, another process holds it, or the disk is full.
    """
    started = time.monotonic()
    _check_target(index, file, overwrite)
    made_with = EdgeStore.read_fingerprint(index).to_dict()
    if not (index / _MANIFEST).is_file():
        raise UnavailableError(f"index {index} has no {_MANIFEST}; ingest into it again, then take the snapshot")
    partial = file.with_name(f"{file.name}.partial")
    with _working(f"snapshot {file}"), _held(index), tempfile.TemporaryDirectory() as aside:
        counts = _copy_manifest(index / _MANIFEST, Path(aside) / _MANIFEST)
        folders = dict.fromkeys(_PARTS, index) | {_MANIFEST: Path(aside)}
        found = [(name, folders[part] / name) for part in _PARTS for name in _names(folders[part], part)]
        tick = _ticks(on_progress, "measured", sum(path.stat().st_size for _, path in found))
        head = {
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "rag_pipeline": __version__,
            "made_with": made_with,
            "counts": counts,
        }
        listing = Listing(head, tuple(measure(path, name, tick) for name, path in found))
        try:
            with partial.open("wb") as stream:
                write_archive(stream, listing, folders, _ticks(on_progress, "written", listing.size))
                stream.flush()
                os.fsync(stream.fileno())
            _check_target(index, file, overwrite)
            partial.replace(file)
            _sync_folder(file.parent)
        finally:
            partial.unlink(missing_ok=True)
    return _report(file, index, listing, started)


def verify_snapshot(file: Path, on_progress: OnProgress | None = None) -> SnapshotReport:
    """Read a snapshot through and check everything that restoring it would, without writing anything.

    Raises:
        ConfigError: there is no such file.
        InputError: it is no snapshot, or a damaged one.
    """
    started = time.monotonic()
    listing = _checked(file, on_progress)
    unpack(file, listing, None, _ticks(on_progress, "unpacked", listing.size))
    return _report(file, None, listing, started)


def restore_snapshot(file: Path, index: Path, on_progress: OnProgress | None = None) -> SnapshotReport:
    """Make ``index``, which must not exist or hold nothing but a cache, of a snapshot.

    Raises:
        ConfigError: there is no such file, or ``index`` holds something else.
        InputError: the file is no snapshot, or a damaged one.
        UnavailableError: the disk is too full or cannot be written, or another process restores to the same place.
    """
    started = time.monotonic()
    target = Path(os.path.realpath(index))
    _check_empty(target)
    listing = _checked(file, on_progress)
    with _working(f"index {index}"), _room_beside(target) as aside:
        require_space(aside, listing.data + _SPARE_BYTES)
        unpack(file, listing, aside, _ticks(on_progress, "unpacked", listing.size))
        # One call for hundreds of files: a power cut must not find the name there and the bytes not.
        os.sync()
        _check_empty(target)
        for path in sorted(target.glob("*")):  # its vectors fit any index of the same models
            path.replace(aside / path.name)
        aside.rename(target)
        _sync_folder(target.parent)
    return _report(file, index, listing, started)


def _check_target(index: Path, file: Path, overwrite: bool) -> None:
    place = Path(os.path.realpath(file))
    if place.is_relative_to(os.path.realpath(index)):
        raise ConfigError(f"{file} lies inside the index {index}; write the snapshot elsewhere")
    if place.is_dir():
        raise ConfigError(f"{file} is a folder; name a file in it, such as {file / 'index.tar.gz'}")
    if not place.parent.is_dir():
        raise ConfigError(f"there is no folder {file.parent}; make it, or write the snapshot elsewhere")
    if place.exists() and not overwrite:
        raise ConfigError(f"{file} exists; name another file, or pass --overwrite")


def _check_empty(index: Path) -> None:
    if os.path.lexists(index) and not (index.is_dir() and all(map(_is_cache, index.iterdir()))):
        raise ConfigError(f"{index} is not empty; restore to another --index, or move it out of the way first")


def _is_cache(path: Path) -> bool:
    """Whether a file is what an evaluation leaves where there is no index; SQLite may have files beside its own."""
    return path.is_file() and path.name.startswith("cache.sqlite")


def _checked(file: Path, on_progress: OnProgress | None) -> Listing:
    """Return the listing of a file whose every byte is as it was written."""
    if not file.is_file():
        raise ConfigError(f"there is no file {file}; name one that rag snapshot create has written")
    check_seal(file, _ticks(on_progress, "checked", file.stat().st_size))
    listing = read_listing(file)
    strange = [member.name for member in listing.members if not _belongs(member)]
    if strange or not {_MANIFEST, _DESCRIPTION} <= {member.name for member in listing.members}:
        found = f"holds {strange[0]!r}" if strange else f"lacks {_MANIFEST} or {_DESCRIPTION}"
        raise InputError(f"{file} is no snapshot of an index: it {found}; name another file")
    if not _is_head(listing.head):
        raise InputError(f"{file} is no snapshot of an index: its listing says nothing of one; name another file")
    return listing


def _belongs(member: Member) -> bool:
    part, slash, _ = member.name.partition("/")
    return part in _FOLDERS if slash else part in (_MANIFEST, _CALIBRATION, _DESCRIPTION)


def _is_head(head: Mapping[str, Any]) -> bool:
    kinds = {"created": str, "rag_pipeline": str, "made_with": dict, "counts": dict}
    return all(isinstance(head.get(key), kind) for key, kind in kinds.items())


def _names(folder: Path, part: str) -> list[str]:
    """Return the files of one part of an index, sorted; ``*.partial`` are what a run that was cut off left.

    Raises:
        UnavailableError: there is something that is neither a file nor a folder.
    """
    found = []
    for path in (folder / part, *sorted((folder / part).rglob("*"))):
        if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
            raise UnavailableError(f"{path} is neither a file nor a folder; remove it, or copy in what it points to")
        if path.is_file() and path.suffix != ".partial":
            found.append(path.relative_to(folder).as_posix())
    return found


def _copy_manifest(source: Path, target: Path) -> dict[str, Any]:
    """Write the manifest, of which a part is in its log, as one file; return what it counts."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
    manifest = Manifest.open(target)
    try:
        summary = manifest.summary()
    finally:
        manifest.close()
    return {
        "files": {"indexed": summary.indexed, "quarantined": summary.quarantined},
        "documents": summary.documents,
        "chunks": summary.chunks,
        "figures": summary.figures,
    }


@contextmanager
def _held(index: Path) -> Iterator[None]:
    lock = IndexLock(index)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _room_beside(index: Path) -> Iterator[Path]:
    """Give an empty folder on the disk of ``index``, locked, and remove it unless it was renamed.

    Its lock becomes the lock of the index, so that nobody opens that before it is handed over.
    """
    aside = index.with_name(f"{index.name}.restoring")
    aside.mkdir(parents=True, exist_ok=True)
    lock = FileLock(aside / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as exc:
        raise UnavailableError(f"another process restores to {index}; wait for it, or use another --index") from exc
    try:
        left = [path for path in aside.iterdir() if path.name != "lock"]
        foreign = [path for path in left if path.name not in _PARTS and not _is_cache(path)]
        if foreign:
            raise UnavailableError(f"{foreign[0]} is in the way, and is not of rag snapshot; move it elsewhere")
        for path in left:  # a restoration that was killed
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        try:
            yield aside
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    finally:
        lock.release()


@contextmanager
def _working(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as exc:
        said = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise UnavailableError(f"cannot write {what}: {said}; check disk and permissions, run again") from exc


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot, and then need not
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _ticks(on_progress: OnProgress | None, stage: str, total: int) -> Tick:
    done = 0

    def tick(length: int) -> None:
        nonlocal done
        before, done = done, done + length
        if on_progress is not None and before >> 20 < done >> 20:
            on_progress(stage, done >> 20, total >> 20)

    return tick


def _report(file: Path, index: Path | None, listing: Listing, started: float) -> SnapshotReport:
    head = listing.head
    return SnapshotReport(
        snapshot=str(file.absolute()),
        index="" if index is None else str(index.absolute()),
        created=head["created"],
        rag_pipeline=head["rag_pipeline"],
        made_with=head["made_with"],
        counts=head["counts"],
        members=len(listing.members),
        bytes=file.stat().st_size,
        data=listing.data,
        seconds=time.monotonic() - started,
    )
