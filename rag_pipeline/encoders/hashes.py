"""SHA-256 of files, remembered: a file is read again only where its size or its time has changed.

Enters: a folder, names of files in it, and a note (a JSON file) of what was read before. Leaves: hashes in lower-case
hex. This module does not know which hash is right. Reading 34 MB takes longer than a search; a note that cannot be
written only means that the files are read again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["file_hashes", "remembered_hashes", "sha256_of"]

_log = logging.getLogger(__name__)


def sha256_of(path: Path) -> str:
    """Read a file and return its SHA-256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remembered_hashes(folder: Path, names: Iterable[str], note: Path) -> dict[str, str]:
    """Return the hashes in ``note`` of those files that have not changed since."""
    known = _read(note)
    return {
        name: known[name]["sha256"]
        for name in names
        if name in known and known[name] == _entry(folder / name, known[name].get("sha256", ""))
    }


def file_hashes(folder: Path, names: Iterable[str], note: Path) -> dict[str, str]:
    """Return the hash of each file, reading those that ``note`` does not answer for, and renew the note."""
    names = list(names)
    known = remembered_hashes(folder, names, note)
    hashes = {name: known[name] if name in known else sha256_of(folder / name) for name in names}
    if hashes != known:
        entries = {name: _entry(folder / name, sha256) for name, sha256 in hashes.items()}
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            temporary = note.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(entries, indent=1), encoding="utf-8")
            os.replace(temporary, note)
        except OSError as exc:
            _log.debug("cannot note the hashes of %s in %s: %s", folder, note, exc)
    return hashes


def _entry(path: Path, sha256: str) -> dict[str, str]:
    stat = path.stat()
    return {"size": str(stat.st_size), "mtime_ns": str(stat.st_mtime_ns), "sha256": sha256}


def _read(note: Path) -> dict[str, dict[str, str]]:
    try:
        entries = json.loads(note.read_text(encoding="utf-8"))
        return {str(name): {str(key): str(value) for key, value in entry.items()} for name, entry in entries.items()}
    except (OSError, ValueError, AttributeError):  # none yet, or not one of ours
        return {}
