"""The files that came out of mails, unpacked beside the index: the next run finds them without reading the mails.

Enters: mails and what was in them. Leaves: found files, whose path is the mail's with their own name behind it. A
folder is named by the content hash of its mail and appears there whole or not at all. This module knows nothing of
mail formats and of the engine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from rag_pipeline.documents.discover import Found
from rag_pipeline.errors import UnavailableError
from rag_pipeline.types import Attachment, SourceFile

__all__ = ["AttachmentFolder"]


class AttachmentFolder:
    """``folder/<content hash of the mail>/<name>``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, mail: SourceFile, attachments: Sequence[Attachment]) -> None:
        """Write what was in a mail.

        Raises:
            UnavailableError: the disk is full or cannot be written.
        """
        place = self._folder / mail.content_hash
        aside = place.with_suffix(".partial")
        try:
            for leftover in (aside, place):
                if leftover.exists():
                    shutil.rmtree(leftover)
            aside.mkdir(parents=True)
            for attachment in attachments:
                (aside / attachment.name).write_bytes(attachment.content)
            aside.rename(place)
        except OSError as exc:
            raise UnavailableError(f"cannot write {place}: {exc.strerror}; check disk and permissions") from exc

    def found_in(self, mail: SourceFile) -> Iterator[Found]:
        """Yield the files of a mail that was unpacked, by name."""
        try:
            entries = sorted(os.scandir(self._folder / mail.content_hash), key=lambda entry: os.fsencode(entry.name))
        except FileNotFoundError:
            return
        for entry in entries:
            status = entry.stat()
            yield Found(mail.path / entry.name, mail.root, status.st_size, status.st_mtime_ns, Path(entry.path))

    def hashes(self) -> set[str]:
        """Return the content hashes of the mails that were unpacked."""
        return {entry.name for entry in os.scandir(self._folder)} if self._folder.exists() else set()

    def sweep(self, hashes: Collection[str | None]) -> None:
        """Remove the files of mails whose content is no longer among ``hashes``."""
        for name in self.hashes().difference(one for one in hashes if one is not None):
            shutil.rmtree(self._folder / name)
