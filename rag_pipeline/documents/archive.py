"""Zipped formats before any reader opens them: a path in, and an InputError where unpacking it would do harm.

Only the zip's directory is read: what it says each member unpacks to, where each lies, and whether it is encrypted.
Python's zipfile unpacks no more of a member than is said there. This module knows nothing of what is inside.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rag_pipeline.errors import InputError

__all__ = ["ENCRYPTED", "check_archive", "is_encrypted", "open_archive"]

ENCRYPTED = "the file is encrypted; remove its password and save it again"

_ALWAYS_FINE = 100 * 10**6
"""Bytes that any archive may unpack to."""
_MOST_MEMBERS = 50_000
_MOST_DIRECTORY_BYTES = 8 * 2**20
"""zipfile takes half a kilobyte and more for each entry of 46 bytes and a name."""
_LOCAL_HEADER_BYTES = 30

# Members that list which others are encrypted, and what they then contain. EPUB readers may scramble fonts by another
# algorithm, which hides no text.
_ENCRYPTION_LISTS = {"META-INF/manifest.xml": b"encryption-data", "META-INF/encryption.xml": b"xmlenc#aes"}
_LIST_BYTES = 2**20


class _Wary(io.BufferedReader):
    """A file that zipfile opens without being led to read a huge directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_DIRECTORY_BYTES:
            raise InputError(_TOO_MANY)
        return super().read(size)


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose directory is small enough to be read.

    Raises:
        InputError: it is too large.
        zipfile.BadZipFile: there is none.
        OSError: the file cannot be read.
    """
    with _Wary(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        yield archive


def is_encrypted(member: zipfile.ZipInfo) -> bool:
    """Tell whether a member needs a password."""
    return bool(member.flag_bits & 0x1)


def check_archive(path: Path, max_expansion: float) -> None:
    """Refuse a zip that is a bomb by its own account, is encrypted, or whose members lie in each other.

    Raises:
        InputError: for these reasons.
        zipfile.BadZipFile: it is no zip, or a cut one.
        OSError: the file cannot be read.
    """
    with open_archive(path) as archive:
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise InputError(_TOO_MANY)
        size, unpacked = path.stat().st_size, sum(member.file_size for member in members)
        if unpacked > _ALWAYS_FINE and unpacked > max_expansion * size:
            raise InputError(
                f"the file would unpack to {unpacked / 1e6:,.0f} MB, {unpacked / size:,.0f} times its size; if it is "
                "to be trusted, raise ingest.max_expansion"
            )
        ordered = sorted(members, key=lambda member: member.header_offset)
        for one, following in itertools.pairwise(ordered):
            if one.header_offset + _LOCAL_HEADER_BYTES + one.compress_size > following.header_offset:
                raise InputError("the file's parts overlap, as only a zip bomb's do; save it again, or exclude it")
        if any(map(is_encrypted, members)) or _lists_encrypted(archive):
            raise InputError(ENCRYPTED)


def _lists_encrypted(archive: zipfile.ZipFile) -> bool:
    for name, sign in _ENCRYPTION_LISTS.items():
        if name in archive.NameToInfo:
            with archive.open(name) as listed:
                if sign in listed.read(_LIST_BYTES):
                    return True
    return False


_TOO_MANY = f"the file has more than {_MOST_MEMBERS:,} parts; unpack it, or exclude it"
