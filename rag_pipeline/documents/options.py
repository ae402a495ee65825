"""How files are parsed, as one value: it travels from the settings into every parsing process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag_pipeline.errors import InputError

__all__ = ["DEFAULTS", "PARSER_VERSION", "ParseOptions", "check_pages"]

# Here, since who asks for it need not load a single parser.
PARSER_VERSION = "3"
"""Changes whenever the same bytes would give another document."""


@dataclass(frozen=True, slots=True)
class ParseOptions:
    """What a reader may do with one file.

    ``max_pages`` counts pages, slides or sheets; ``max_expansion`` is how many times its size a zipped format may
    grow; ``ocr`` says whether scanned pages are read where Tesseract is installed; ``attachments`` whether the files
    in a mail are handed out.
    """

    max_pages: int = 5000
    max_expansion: float = 200.0
    ocr: Literal["auto", "off"] = "auto"
    attachments: bool = False


DEFAULTS = ParseOptions()


def check_pages(pages: int, limit: int, what: str) -> None:
    """Refuse a file of more pages, slides or sheets than the limit, before they are read.

    Raises:
        InputError: there are more than ``limit``.
    """
    if pages > limit:
        raise InputError(f"the file has {pages} {what}, {limit} are read; raise ingest.max_pages, or split the file")
