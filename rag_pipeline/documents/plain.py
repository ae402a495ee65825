"""Text, tables of text, JSON and XML in, elements out.

This module decides what is a paragraph, a row or a heading where the format does not say; characters are decoded by
``decode.py``.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

from rag_pipeline.documents.decode import decode
from rag_pipeline.documents.facts import with_front_matter
from rag_pipeline.documents.partition import NO_DETECTION, Parts, clean, gather, html_table
from rag_pipeline.types import Element

__all__ = ["read_delimited", "read_json", "read_txt", "read_xml", "text_parts"]

# In plain text any short line may look like a title: only these are believed.
_HEADING = re.compile(
    r"(?:chapter|part|section|article|appendix|annex|kapitel|teil|abschnitt|anhang|chapitre|capítulo|sección)"
    r"\s+[0-9IVXLC]+\b|[0-9]+(?:\.[0-9]+)*\.?\s+[^\W\d]",
    re.IGNORECASE,
)
_ITEM = re.compile(r"\s*(?:[-*+•·–—]|\(?[0-9A-Za-z]{1,3}[.)])\s")
_FULL = 0.7
"""Share of the usual width from which a line counts as full: the word that follows had no room."""
_DELIMITERS = ",;\t|"
_LINES_OF_TEXT = 60
"""A JSON or YAML file is cut into elements of this many lines, so that a chunk is found without reading all of it."""


def read_txt(path: Path) -> Parts:
    """Read plain text: paragraphs between blank lines."""
    return with_front_matter(decode(path.read_bytes()), text_parts)


def text_parts(text: str) -> Parts:
    """Partition plain text."""
    from unstructured.nlp.patterns import PARAGRAPH_PATTERN
    from unstructured.partition.text import _is_empty_bullet, element_from_text

    # What ``partition_text`` does, without its decorators: ids, hierarchies and copies of metadata for every line.
    blocks = (block.strip() for block in re.split(PARAGRAPH_PATTERN, _unwrapped(text).strip()))
    raws = (element_from_text(block) for block in blocks if block and not _is_empty_bullet(block))
    parts = gather(raws, lambda raw: 1 if _is_heading(clean(raw.text)) else None)
    if parts.elements and parts.elements[0].depth is not None and parts.elements[0].text.isupper():
        parts.elements[0] = replace(parts.elements[0], depth=0)
    return parts


def _unwrapped(text: str) -> str:
    """Join lines that were broken to fit a width: those after a line that is nearly as long as the longest.

    Unstructured joins all lines between two blank ones, headings and lists with them.
    """
    lines = [line.rstrip() for line in text.split("\n")]
    lengths = sorted(len(line) for line in lines if line)
    width = lengths[len(lengths) * 9 // 10] if lengths else 0
    if not 40 <= width <= 200:
        return text
    joined: list[str] = []
    previous = ""
    for line in lines:
        if line.strip() and len(previous) >= width * _FULL and not _ITEM.match(line):
            joined[-1] += " " + line.lstrip()
        else:
            joined.append(line)
        previous = line
    return "\n".join(joined)


def read_delimited(path: Path, kind: str) -> Parts:
    """Read CSV or TSV as one table, by Python's own parser.

    Unstructured's goes through pandas, which takes ``007`` for 7 and ``NA`` for nothing, and refuses rows of unequal
    length.
    """
    text = decode(path.read_bytes())
    csv.field_size_limit(2**31 - 1)
    delimiter = "\t" if kind == "tsv" else _delimiter(text)
    rows = [
        [re.sub(r"\s+", " ", clean(cell)) for cell in row]
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        if any(cell.strip() for cell in row)
    ]
    lines = [line for row in rows if (line := "\t".join(row).strip())]
    return Parts([Element("\n".join(lines), "Table", html=html_table(rows))] if lines else [])


def read_json(path: Path) -> Parts:
    """Read JSON, JSON lines or YAML as indented text, so that keys stay beside their values."""
    text = clean(decode(path.read_bytes()))
    if text.startswith(("{", "[")) and "\n" not in text:
        with contextlib.suppress(ValueError, RecursionError):  # a broken or bottomless one is still text
            text = json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    lines = text.split("\n")
    blocks = ("\n".join(lines[at : at + _LINES_OF_TEXT]) for at in range(0, len(lines), _LINES_OF_TEXT))
    return Parts([Element(clean(block), "CodeSnippet") for block in blocks if block.strip()])


def read_xml(path: Path) -> Parts:
    """Read the text of an XML file, without its tags; entities are not resolved."""
    from unstructured.partition.xml import partition_xml

    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", decode(path.read_bytes(), markup=True))
    return gather(partition_xml(text=text, languages=NO_DETECTION), lambda _: None)


def _is_heading(text: str) -> bool:
    return bool(_HEADING.match(text)) or (text.isupper() and len(text) > 3)


def _delimiter(text: str) -> str:
    """Return the delimiter that splits the first lines most evenly, or else most often."""
    lines = [line for line in text[:65_536].split("\n")[:20] if line.strip()]
    counts = {mark: [line.count(mark) for line in lines] for mark in _DELIMITERS}
    return max(_DELIMITERS, key=lambda mark: (min(counts[mark], default=0) > 0, sum(counts[mark])))
