"""The path of a PDF in, the document open in pdfium out, or an InputError that says what is wrong with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag_pipeline.errors import InputError

__all__ = ["opened"]


@contextmanager
def opened(path: Path) -> Iterator[tuple[Path, Any]]:
    """Open a PDF in pdfium for the length of a block, and yield it with the path that it was read from.

    One that is encrypted and asks for no password is read from a copy that is not: pdfium does not try the empty
    password as that of its owner.

    Raises:
        InputError: it is under a password, or damaged.
    """
    import pypdfium2 as pdfium

    with tempfile.TemporaryDirectory(prefix="rag-pdf-") as folder:
        try:
            try:
                pdf = pdfium.PdfDocument(str(path))
            except pdfium.PdfiumError as exc:
                if "password" not in str(exc).lower():
                    raise
                path = _decrypted(path, Path(folder))
                pdf = pdfium.PdfDocument(str(path))
        except pdfium.PdfiumError as exc:
            raise InputError("the PDF is damaged and cannot be opened; save it again, or export it anew") from exc
        try:
            yield path, pdf
        finally:
            pdf.close()


def _decrypted(path: Path, folder: Path) -> Path:
    """Write a PDF anew that opens without a password.

    Raises:
        InputError: it does not open without one.
    """
    import pikepdf

    try:
        with pikepdf.open(path) as pdf:
            pdf.save(folder / "open.pdf", encryption=False)
    except (pikepdf.PdfError, pikepdf.PasswordError) as exc:
        raise InputError("the PDF is encrypted; remove its password and save it again") from exc
    return folder / "open.pdf"
