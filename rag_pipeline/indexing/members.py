"""What an archive says of its files, and how a file is read with its holes.

Enters: files. Leaves: name, length and SHA-256 of each, and the runs of bytes in them that are no holes. This module
knows nothing of compression and of indexes.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["LISTING", "PIECE", "Listing", "Member", "Tick", "data_runs", "measure"]

Tick = Callable[[int], None]
"""Hears of every piece that was read, in bytes."""

LISTING = "snapshot.json"
"""The name of the listing in its archive."""
PIECE = 2**20
"""Bytes read at once."""
_BLOCK = 4096
"""Bytes of a hole at least: what file systems allocate."""
_ZEROS = bytes(PIECE)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its place below the folder, its length, the bytes of it that are no holes, its SHA-256."""

    name: str
    size: int
    data: int
    sha256: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or "\0" in self.name or set(self.name.split("/")) & {"", ".", ".."}:
            raise ValueError(f"Member.name must be a relative path without '..', got {self.name!r}")
        if not (type(self.size) is type(self.data) is int and 0 <= self.data <= self.size):
            raise ValueError(f"Member.size and data must be whole and in order, got {self.size!r} and {self.data!r}")
        if not isinstance(self.sha256, str) or not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"Member.sha256 must be 64 hex digits, got {self.sha256!r}")


@dataclass(frozen=True, slots=True)
class Listing:
    """What an archive says of itself: ``head``, any JSON values, and its files in their order."""

    head: Mapping[str, Any]
    members: tuple[Member, ...] = field(repr=False)

    def __post_init__(self) -> None:
        names = {member.name for member in self.members}
        parents = {str(parent) for name in names for parent in Path(name).parents}
        if len(names) < len(self.members) or names & (parents | {LISTING}):
            raise ValueError("Listing names a file twice, or a file and a folder alike")

    @property
    def data(self) -> int:
        """Bytes that the files take on a disk."""
        return sum(member.data for member in self.members)

    @property
    def size(self) -> int:
        """Length of the files together, holes included."""
        return sum(member.size for member in self.members)


def measure(file: Path, name: str, tick: Tick) -> Member:
    """Read a file through and say what there is of it.

    Raises:
        OSError: it cannot be read.
    """
    digest, size, data = hashlib.sha256(), 0, 0
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
            size += len(piece)
            data += sum(len(run) for _, run in data_runs(piece))
            tick(len(piece))
    return Member(name, size, data, digest.hexdigest())


def data_runs(piece: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of a piece, ``PIECE`` bytes at most, that are not whole blocks of zeros, with their offsets."""
    if piece == _ZEROS[: len(piece)]:
        return
    blocks = range(0, len(piece), _BLOCK)
    for empty, run in itertools.groupby(blocks, lambda at: _ZEROS.startswith(piece[at : at + _BLOCK])):
        if not empty:
            starts = list(run)
            yield starts[0], piece[starts[0] : starts[-1] + _BLOCK]
