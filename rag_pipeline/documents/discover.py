"""A folder in, the files to read out: what is there, what is refused and why.

Enters: folders or single files, patterns, a size limit. Leaves: :class:`Discovery`, in one order on every machine. This
module opens only sidecars, and files whose suffix says nothing; it knows nothing of what is inside documents, nor of
an index.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag_pipeline.documents.facts import SIDECAR, read_sidecar
from rag_pipeline.documents.ignore import Patterns
from rag_pipeline.documents.kinds import SUPPORTED_SUFFIXES, kind_of
from rag_pipeline.errors import InputError
from rag_pipeline.types import SourceFile

__all__ = ["Discovery", "Found", "Refused", "discover", "read_source"]

_DESKTOP_LITTER = frozenset({"thumbs.db", "desktop.ini"})
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A file worth reading. ``path`` is absolute; ``size`` in bytes; ``mtime_ns`` since 1970.

    ``unpacked`` is where its bytes lie, if it came out of another file; ``sidecar`` is the text of the file beside it
    that says something of it.
    """

    path: Path
    root: Path
    size: int
    mtime_ns: int
    unpacked: Path | None = None
    sidecar: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that will not be read, and why, in words that a person can act on."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """All that was met.

    ``complete_roots`` are those in which every folder could be listed: only there may a file that is no longer found
    be taken as deleted.
    """

    files: tuple[Found, ...]
    refused: tuple[Refused, ...]
    complete_roots: tuple[Path, ...]


def discover(
    roots: Sequence[Path], *, include: Sequence[str] = (), exclude: Sequence[str] = (), max_file_mb: float = 200.0
) -> Discovery:
    """Find the files of folders, sorted by path; a root may also be a single file, whatever its folder ignores.

    ``include``, ``exclude`` and every ``.ragignore`` hold gitignore patterns (see ``ignore.py``).
    Passed over in silence: hidden folders, hidden files that are not of a kind that is read, editors' lock files and
    desktop litter. Folders behind symbolic links are not entered.

    Raises:
        InputError: a root does not exist.
        ConfigError: a pattern is not one of gitignore's.
    """
    found: dict[Path, Found] = {}
    refused: dict[Path, Refused] = {}
    complete: list[Path] = []
    for given in roots:
        root = Path(os.path.abspath(given))
        if not root.exists():
            raise InputError(f"there is no file or folder {given}; check the path")
        listed = True
        patterns = Patterns.of(root if root.is_dir() else root.parent, include, exclude)
        for entry in _walk(root, patterns):
            outcome = entry if isinstance(entry, Refused) else _examine(entry, root, max_file_mb)
            listed = listed and not isinstance(entry, Refused)
            if isinstance(outcome, Found):
                found.setdefault(outcome.path, outcome)
            elif outcome is not None:
                refused.setdefault(outcome.path, outcome)
        if listed:
            complete.append(root)
    return Discovery(
        files=tuple(sorted(found.values(), key=lambda one: os.fsencode(one.path))),
        refused=tuple(sorted(refused.values(), key=lambda one: os.fsencode(one.path))),
        complete_roots=tuple(complete),
    )


def read_source(found: Found) -> SourceFile:
    """Hash a found file's content.

    Raises:
        InputError: the file cannot be read, or is gone.
    """
    try:
        with (found.unpacked or found.path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise InputError(f"the file cannot be read: {exc.strerror}; check its permissions") from exc
    return SourceFile(found.path, found.root, found.size, found.mtime_ns, digest, found.unpacked, found.sidecar)


def _walk(root: Path, patterns: Patterns) -> Iterator[Path | Refused]:
    """Yield what is not a folder and not passed over, and a Refused for each folder that cannot be listed."""
    if not root.is_dir():
        if not patterns.pass_over(root, folder=False):
            yield root
        return
    folders = [(root, patterns)]
    while folders:
        folder, above = folders.pop()
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
            here = above.within(folder)
        except InputError as exc:
            yield Refused(folder, str(exc))
            continue
        except OSError as exc:
            yield Refused(folder, f"the folder cannot be listed: {exc.strerror}; check its permissions")
            continue
        below = []
        for entry in entries:
            path = folder / entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if _is_litter(path, is_folder) or here.pass_over(path, folder=is_folder):
                continue
            if is_folder:
                below.append((path, here))
            else:
                yield path
        folders.extend(reversed(below))


def _is_litter(path: Path, is_folder: bool) -> bool:
    """Tell what programs leave behind: a hidden folder, or a hidden file that does not look like a document."""
    if path.name.startswith("."):
        return is_folder or path.name.startswith("._") or path.suffix.lower() not in SUPPORTED_SUFFIXES
    return path.name.startswith("~$") or path.name.lower() in _DESKTOP_LITTER


def _examine(path: Path, root: Path, max_file_mb: float) -> Found | Refused | None:
    if path.name.endswith(SIDECAR):
        return None
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) and path != root:
            return _refuse_link(path, root)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = _SPECIAL.get(stat.S_IFMT(status.st_mode), "no regular file")
            return Refused(path, f"it is {what}; only regular files are read")
        if status.st_size > max_file_mb * 1e6:
            return Refused(
                path,
                f"the file has {status.st_size / 1e6:.0f} MB, over the limit of {max_file_mb:g} MB; "
                "raise ingest.max_file_mb, or split it",
            )
        if path.suffix.lower() not in SUPPORTED_SUFFIXES:
            kind_of(path)
        sidecar = read_sidecar(path)
    except InputError as exc:
        return Refused(path, str(exc))
    except OSError as exc:
        return Refused(path, f"the file cannot be read: {exc.strerror}; check its permissions")
    return Found(path, root, status.st_size, status.st_mtime_ns, sidecar=sidecar)


def _refuse_link(path: Path, root: Path) -> Refused | None:
    """Refuse a link that leaves the root; one that stays inside names a file that is found by itself."""
    target = Path(os.path.realpath(path))
    if target.is_relative_to(os.path.realpath(root)) and target.exists():
        return None
    if not target.exists():
        return Refused(path, "the symbolic link points to nothing; remove or repair it")
    return Refused(path, "the symbolic link leaves the folder; ingest its target by its own path")
