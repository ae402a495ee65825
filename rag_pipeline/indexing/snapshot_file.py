"""Files to one sealed archive and back: a compressed tar in which no byte can change unnoticed.

Enters: files, and JSON values that describe them as a whole. Leaves: one file that ``tar`` lists and unpacks, and from
it the same files with the same holes, or an InputError. Three gzip members in a row, which every tool reads as one:

    a mark   empty; its comment says whose file this is, and the format's version
    a tar    its first member is the listing: those values, and name, size and SHA-256 of every file
    a seal   empty; its comment is the SHA-256 of every byte before it

The seal is there because gzip's own CRC cannot see all damage: dates and flags in headers, unused bits, a distance in a
run of zeros. It protects against accidents and not against forgers, so nothing in an archive is trusted for being
sealed. This module knows nothing of what the files are.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from rag_pipeline.errors import InputError, RagError, UnavailableError
from rag_pipeline.indexing.members import LISTING, PIECE, Listing, Member, Tick, data_runs

__all__ = ["check_seal", "read_listing", "seal", "unpack", "write_archive"]

_FORMAT = 1
"""Raised when an older program could misread a newer archive."""
_MARK = f"rag_pipeline archive {_FORMAT}".encode("ascii")
_LONGEST_LISTING = 2**28
_LEVEL = 1
"""Of gzip. An index of 100,000 points, 682 MB long: 359 MB in 10.0 s; level 6 gives 353 MB in 18.8 s."""


def write_archive(stream: BinaryIO, listing: Listing, folders: Mapping[str, Path], tick: Tick) -> None:
    """Write an archive; ``folders`` tells below which folder each member lies, by the first part of its name.

    Raises:
        UnavailableError: a file is no longer what was measured.
        OSError: a file cannot be read, or the disk is full.
    """
    sealed = _Sealing(stream)
    sealed.write(_empty_member(_MARK))
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=sealed, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        values = {"format": _FORMAT, **listing.head, "members": [asdict(member) for member in listing.members]}
        text = json.dumps(values, indent=1)
        tar.addfile(_header(LISTING, len(text)), io.BytesIO(text.encode("ascii")))
        for member in listing.members:
            file = folders[member.name.partition("/")[0]] / member.name
            with file.open("rb") as opened:
                source = _Hashing(opened, tick)
                tar.addfile(_header(member.name, member.size), source)
            if source.digest.hexdigest() != member.sha256:
                raise UnavailableError(f"{file} changed while it was copied; end what writes there, and run again")
    stream.write(seal(sealed.digest.hexdigest()))


def seal(digest: str) -> bytes:
    """Return the last bytes of an archive, ``digest`` being the SHA-256 in hex of all bytes before."""
    return _empty_member(b"sha256 " + digest.encode("ascii"))


def check_seal(file: Path, tick: Tick) -> None:
    """Read an archive through, and see that every byte is as it was written.

    Raises:
        InputError: it is another kind of file, or is cut off or damaged.
        UnavailableError: it cannot be read.
    """
    mark, length = _empty_member(_MARK), len(seal("0" * 64))
    with _translated(file), file.open("rb") as stream:
        if stream.read(len(mark)) != mark:
            raise InputError(f"{file} is no snapshot that this version can read; name a file of rag snapshot create")
        left = os.fstat(stream.fileno()).st_size - length
        digest = hashlib.sha256(mark)
        left -= len(mark)
        while left > 0 and (piece := stream.read(min(left, PIECE))):
            digest.update(piece)
            left -= len(piece)
            tick(len(piece))
        if left != 0 or stream.read() != seal(digest.hexdigest()):
            raise _damaged(file, "it is cut off, or bytes have changed")


def read_listing(file: Path) -> Listing:
    """Return what an archive says of itself.

    Raises:
        InputError: it does not start as an archive does, or names impossible files.
        UnavailableError: it cannot be read.
    """
    with _opened(file) as (_, listing):
        return listing


def unpack(file: Path, listing: Listing, folder: Path | None, tick: Tick) -> None:
    """Read every file of an archive and check its length and SHA-256; write it below ``folder`` where one is given.

    ``listing`` is what was read of it before, and judged: another one is refused.

    Only regular files are written, under the names of the listing, and only where nothing is. Zeros become holes.

    Raises:
        InputError: the archive is damaged, or holds anything but what its listing names.
        UnavailableError: a file cannot be read or written.
    """
    with _opened(file) as (tar, found):
        if found != listing:
            raise _damaged(file, "it changed while it was read")
        for member in listing.members:
            info = tar.next()
            if info is None or (info.name, info.size) != (member.name, member.size) or not _is_plain(info):
                raise _damaged(file, f"{member.name!r} is not in its place")
            digest = hashlib.sha256()
            source = tar.extractfile(info)
            assert source is not None
            with source, _written(folder, member) as write:
                while piece := source.read(PIECE):
                    digest.update(piece)
                    write(piece)
                    tick(len(piece))
            if digest.hexdigest() != member.sha256:
                raise _damaged(file, f"{member.name!r} has not the listed SHA-256")
        if tar.next() is not None:
            raise _damaged(file, "it holds more than it lists")


class _Sealing:
    """A stream that keeps the SHA-256 of what is written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


class _Hashing(io.RawIOBase):
    """A stream that keeps the SHA-256 of what is read from it."""

    def __init__(self, stream: BinaryIO, tick: Tick) -> None:
        self._stream = stream
        self._tick = tick
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self.digest.update(piece)
        self._tick(len(piece))
        return piece


class _Unpacked(gzip.GzipFile):
    """The tar of an archive. ``tarfile`` reads a header's extension at once, however long it says that it is."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= PIECE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


@contextmanager
def _opened(file: Path) -> Iterator[tuple[tarfile.TarFile, Listing]]:
    with (
        _translated(file),
        file.open("rb") as raw,
        _Unpacked(fileobj=raw, mode="rb") as packed,
        tarfile.open(fileobj=packed, mode="r:") as tar,
    ):
        info = tar.next()
        if info is None or info.name != LISTING or not _is_plain(info) or info.size > _LONGEST_LISTING:
            raise _damaged(file, f"it does not start with {LISTING}")
        source = tar.extractfile(info)
        assert source is not None
        try:
            values = json.loads(b"".join(iter(lambda: source.read(PIECE), b"")))
            members = tuple(Member(**member) for member in values.pop("members"))
            listing = Listing(values, members)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise _damaged(file, f"its {LISTING} is not one: {exc}") from exc
        yield tar, listing


@contextmanager
def _written(folder: Path | None, member: Member) -> Iterator[Callable[[bytes], object]]:
    """Give a function that takes a file piece by piece, and writes it, with its holes, where there is a folder."""
    if folder is None:
        yield len
        return
    file = folder / member.name
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("xb") as out:
        end = 0

        def write(piece: bytes) -> None:
            nonlocal end
            for offset, run in data_runs(piece):
                out.seek(end + offset)
                out.write(run)
            end += len(piece)

        yield write
        out.truncate(member.size)


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except RagError:
        raise
    except (gzip.BadGzipFile, tarfile.TarError, zlib.error, EOFError, ValueError, RecursionError) as exc:
        # The last two are what tarfile raises on headers that somebody made up.
        raise _damaged(file, str(exc)) from exc
    except OSError as exc:
        where = exc.filename or file
        said = exc.strerror or exc
        raise UnavailableError(f"cannot read or write {where}: {said}; check disk and permissions, run again") from exc


def _damaged(file: Path, what: str) -> InputError:
    return InputError(f"snapshot {file} is damaged ({what}); use another copy of it, or create it again")


def _is_plain(info: tarfile.TarInfo) -> bool:
    return info.type == tarfile.REGTYPE and not info.issparse()


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mtime = int(time.time())
    return info


def _empty_member(comment: bytes) -> bytes:
    """Return a gzip member (RFC 1952) without content.

    Magic, deflate, FCOMMENT, no date, an unknown system; the comment; an empty block; the CRC and length of nothing.
    """
    return b"\x1f\x8b\x08\x10\0\0\0\0\0\xff" + comment + b"\0" + b"\x03\0" + bytes(8)
