"""How files are parsed, as one value: it travels from the settings into every parsing process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ParseOptions"]


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
