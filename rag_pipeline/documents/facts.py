"""What is said of a document in YAML, in front of its text or in a file beside it, in; :class:`Facts` out.

Nothing of it is embedded: it is for filters. YAML is data from anybody: no tags, no aliases, bounded in size; what is
not understood is left out. This module knows no document format but front matter.
"""

from __future__ import annotations

import email.utils
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml

from rag_pipeline.documents.partition import Parts, clean
from rag_pipeline.errors import InputError
from rag_pipeline.filters import period
from rag_pipeline.types import Facts, Scalar

__all__ = ["SIDECAR", "day_of", "facts_of", "read_facts", "read_sidecar", "with_front_matter"]

SIDECAR = ".meta.yaml"
"""Behind the whole name of a file: ``report.pdf.meta.yaml`` says something of ``report.pdf`` and is no document."""

_LONGEST = 16_384
"""Characters of YAML."""
_MOST_KEYS = 64
_MOST_VALUES = 64
_LONGEST_KEY = 64
_LONGEST_TEXT = 500
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_PAIR = re.compile(r"\s*(?:#.*\n\s*)*[\w \"'-]+:(?:\s|\Z)")
_TAGS = ("tags", "tag", "keywords")
_PDF_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)")


class _Loader(yaml.SafeLoader):
    """Refuses aliases, with which a line can stand for a billion."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def read_facts(text: str) -> Facts:
    """Read what keys and values say: ``tags``, ``date``, and anything else under its own key.

    Keys become lower-case words joined by ``_``; true and false become text; what is nested deeper than a list is left
    out.

    Raises:
        InputError: it is no YAML, has aliases, is too long, or holds no keys and values.
    """
    if len(text) > _LONGEST:
        raise InputError(f"it is longer than {_LONGEST} characters; shorten it")
    try:
        values = yaml.load(text, _Loader)  # noqa: S506 - a safe one, and stricter
    except Exception as exc:  # dates that are none, numbers without end, nesting without end: each raises its own
        mark = getattr(exc, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"it is not YAML that is read{place}; write KEY: VALUE, without aliases") from exc
    if values is None:
        return Facts()
    if not isinstance(values, Mapping):
        raise InputError(f"it holds a {type(values).__name__}; write KEY: VALUE")
    meta: dict[str, Scalar | tuple[Scalar, ...]] = {}
    tags: dict[str, None] = {}
    day = ""
    for key, value in [(_key(key), value) for key, value in values.items()][:_MOST_KEYS]:
        if key in _TAGS:
            tags |= dict.fromkeys(_tags(value))
        elif key == "date" and (day := day_of(value)):
            continue
        elif key and (kept := _kept(value)) is not None:
            meta[key] = kept
    return Facts(day, tuple(tags), meta)


def facts_of(own: Facts, sidecars: Iterable[str]) -> Facts:
    """Return what holds of a document: its sidecars' word comes first, in their order, where they can be read."""
    said = Facts()
    for text in sidecars:
        try:
            said = said.before(read_facts(text))
        except InputError:
            continue
    return said.before(own)


def with_front_matter(text: str, read: Callable[[str], Parts]) -> Parts:
    """Read a text without its front matter, and keep what that says. What only looks like it is text."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return read(text)
    try:
        facts = read_facts(found[1])
    except InputError as exc:
        parts = read(text)
        if _PAIR.match(found[1]):
            parts.notes.append(f"its front matter is taken as text: {exc}")
        return parts
    parts = read(text[found.end() :])
    parts.facts = facts
    title = facts.meta.get("title")
    parts.title = title if isinstance(title, str) else parts.title
    return parts


def read_sidecar(path: Path) -> str:
    """Return the text of the sidecar of the file at ``path``, of one that is too long the start; "" without one.

    Raises:
        InputError: there is one that cannot be read.
    """
    file = path.with_name(path.name + SIDECAR)
    try:
        if not stat.S_ISREG(os.lstat(file).st_mode):
            return ""
    except OSError:
        return ""
    try:
        with file.open("rb") as stream:
            return stream.read(_LONGEST * 4 + 4).decode("utf-8-sig", "replace")
    except OSError as exc:
        raise InputError(f"its {file.name} cannot be read: {exc.strerror}; check its permissions") from exc


def day_of(value: object) -> str:
    """Return the day that a value names, as ISO 8601 and in its own zone; "" where it names none.

    >>> day_of("Fri, 01 Mar 2024 00:30:00 +0200"), day_of("D:20240301003000+02'00'"), day_of(2024), day_of("soon")
    ('2024-03-01', '2024-03-01', '2024-01-01', '')
    """
    if isinstance(value, date):
        return value.isoformat()[:10]
    text = str(value).strip() if isinstance(value, str) or (isinstance(value, int) and 0 < value < 10_000) else ""
    if pdf := _PDF_DATE.match(text):
        text = "-".join(pdf.groups())
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        pass
    if begins := period(text):
        return begins[0].date().isoformat()
    try:
        return email.utils.parsedate_to_datetime(text).date().isoformat()
    except (ValueError, TypeError, IndexError):
        return ""


def _key(key: object) -> str:
    word = _scalar(key)
    return "" if word is None else re.sub(r"\W+", "_", str(word).lower()).strip("_")[:_LONGEST_KEY]


def _tags(value: object) -> list[str]:
    listed = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    return [str(tag) for one in listed[:_MOST_VALUES] if (tag := _scalar(one)) not in (None, "")]


def _kept(value: object) -> Scalar | tuple[Scalar, ...] | None:
    if isinstance(value, list):
        return tuple(kept for one in value[:_MOST_VALUES] if (kept := _scalar(one)) is not None) or None
    return _scalar(value)


def _scalar(value: object) -> Scalar | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date):
        return value.isoformat()
    return clean(value)[:_LONGEST_TEXT] or None if isinstance(value, str) else None
