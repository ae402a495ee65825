"""Bytes of a text file in, the text out: marks, declarations and guesses, in this order.

This module knows nothing of files or formats beyond where HTML and XML declare their character set.
"""

from __future__ import annotations

import codecs
import re

__all__ = ["decode"]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(
    rb"""(?:<meta[^>]{0,200}charset|<\?xml[^>]{0,200}encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.I
)
_SAMPLE = 65_536
"""Bytes on which the character set is guessed: more changes no answer and costs seconds."""

_TOO_FEW = 32
"""Bytes beyond ASCII from which a guess is better than the commonest answer: five umlauts pass for Arabic."""


def decode(data: bytes, *, markup: bool = False) -> str:
    r"""Decode the bytes of a text file; ``markup`` lets HTML and XML declare their own character set.

    Undecodable bytes become U+FFFD, line ends become ``\n``, and NUL is dropped.

    >>> decode(b"\xff\xfeh\x00i\x00"), decode("Grüße an Jörg".encode("cp1252"))
    ('hi', 'Grüße an Jörg')
    """
    return _decoded(data, markup).replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")


def _decoded(data: bytes, markup: bool) -> str:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, "replace")
    if wide := _wide_encoding(data[:4096]):
        return data.decode(wide, "replace")
    declared = _DECLARED.search(data[:4096]) if markup else None
    for encoding in ("utf-8", declared.group(1).decode("ascii") if declared else ""):
        try:
            # ISO-2022-JP and HZ are pure ASCII bytes: a valid UTF-8 that must not be believed.
            if encoding and not (encoding == "utf-8" and b"\x1b$" in data[:_SAMPLE]):
                return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    text = data.decode("utf-8", "replace")
    # A few broken bytes in good UTF-8 do not make it another encoding.
    if text.count("\ufffd") * 20 < sum(char > "\x7f" for char in text):
        return text
    return data.decode(_guess(data[:_SAMPLE]), "replace")


def _wide_encoding(head: bytes) -> str:
    """Name UTF-16 or UTF-32 written without a mark, by where its NUL bytes stand."""
    quarter = len(head) // 4
    if quarter < 2:
        return ""
    nul = [head[place::4].count(0) / quarter for place in range(4)]
    for encoding, pattern in (
        ("utf-32-le", (0, 1, 1, 1)),
        ("utf-32-be", (1, 1, 1, 0)),
        ("utf-16-le", (0, 1, 0, 1)),
        ("utf-16-be", (1, 0, 1, 0)),
    ):
        if all(share > 0.6 if wanted else share < 0.2 for share, wanted in zip(nul, pattern, strict=True)):
            return encoding
    return ""


def _guess(sample: bytes) -> str:
    import charset_normalizer

    foreign = sum(byte > 127 for byte in sample)
    if 0 < foreign < _TOO_FEW and foreign * 4 < len(sample):
        return "cp1252"
    best = charset_normalizer.from_bytes(sample).best()
    return best.encoding if best is not None else "cp1252"
