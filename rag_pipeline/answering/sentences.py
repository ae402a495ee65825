"""A text -> its sentences, as offsets: what a citation quotes.

Enters: any text. Leaves: ordered, disjoint (start, end) offsets that cover every character but white space. This
module knows no language: it goes by punctuation, case and line breaks, and by a short list of abbreviations.
"""

from __future__ import annotations

import re

__all__ = ["Span", "sentences", "words"]

Span = tuple[int, int]

# A line at least this long that ends without punctuation was wrapped, not ended.
_WRAPPED = 60
_BULLET = re.compile(r"[-*•‣▪◦–—·]\s|\(?(?:\d{1,3}|[A-Za-z])[.)]\s")
_CELLS = re.compile(r"\t|\|.*\|")
_REFERENCES = r"(?:\s*\[\d+(?:\s*,\s*\d+)*\])*"
_CLOSERS = r"[\"'”’»)\]」』）】]*"
# A full stop ends a sentence before white space; an ideographic one needs none. References such as [1] that follow
# belong to the sentence they support.
_STOP = re.compile(rf"(?:[.!?…؟।۔]+{_CLOSERS}{_REFERENCES}(?=\s)|[。！？｡]+{_CLOSERS}{_REFERENCES})")
_BEFORE = re.compile(r"[^\s(\[\"'“‘«]+$")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_QUANTITY = re.compile(r"\d\s?$")
_NEXT = re.compile(r"\S")
_MONTH = re.compile(
    r"\s*(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz]|ene|abr|ago|dic|janv|fév|avr|juin|août|déc)",
    re.IGNORECASE,
)
# Never the last word of a sentence ...
_ALWAYS_SHORT = frozenset({
    "approx", "bzw", "ca", "capt", "cf", "dipl", "dr", "dra", "evtl", "gen", "ggf", "inkl", "mme", "mr", "mrs", "prof",
    "sog", "sr", "sra", "st", "vgl", "vs", "zzgl",
})  # fmt: skip
# ... and these not before a number: "No. 5" goes on, "It said no. Then" does not.
_SHORT_BEFORE_NUMBER = frozenset({
    "abb", "abs", "art", "cap", "ch", "eq", "ext", "fig", "figs", "kap", "no", "nos", "nr", "núm", "p", "par", "pp",
    "pág", "ref", "sec", "str", "tab", "tel", "vol",
})  # fmt: skip
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def words(text: str) -> list[str]:
    """Return the case-folded words of a text; each ideograph, kana and hangul syllable is one.

    >>> words("Slope: 54 mV, 東京")
    ['slope', '54', 'mv', '東', '京']
    """
    return _WORD.findall(text.casefold())


def sentences(text: str) -> list[Span]:
    """Split a text into sentences; a bullet, a heading and a table's row are one each.

    ``text[start:end]`` of each span is verbatim and without white space at its ends.

    >>> text = "Dr. Ott measured 3.5 NTU. Was that e.g. rain? See fig. 2."
    >>> [text[start:end] for start, end in sentences(text)]
    ['Dr. Ott measured 3.5 NTU.', 'Was that e.g. rain?', 'See fig. 2.']
    """
    spans: list[Span] = []
    for start, end in _blocks(text):
        spans.extend(_split_block(text, start, end))
    return spans


def _blocks(text: str) -> list[Span]:
    """Group lines: each is a block of its own unless the next one continues it."""
    blocks: list[Span] = []
    previous: Span | None = None
    for line in re.finditer(r"[^\n]+", text):
        span = _stripped(text, *line.span())
        if span is None:
            continue
        if previous is not None and _continues(text, previous, span):
            blocks[-1] = (blocks[-1][0], span[1])
        else:
            blocks.append(span)
        previous = span
    return blocks


def _continues(text: str, previous: Span, current: Span) -> bool:
    """Whether a line goes on where the one before it stopped."""
    between = text[previous[1] : current[0]]
    line, following = text[slice(*previous)], text[slice(*current)]
    if between.count("\n") > 1 or _BULLET.match(following) or _CELLS.search(line) or _CELLS.search(following):
        return False
    if line[-1] in ".!?…:;。！？":
        return False
    return following[0].islower() or line[-1] in ",-–" or len(line) >= _WRAPPED


def _split_block(text: str, start: int, end: int) -> list[Span]:
    if _CELLS.search(text, start, end):
        return [(start, end)]
    spans: list[Span] = []
    begin = start
    for stop in _STOP.finditer(text, start, end):
        if _ends_sentence(text, begin, stop, end):
            spans.append((begin, stop.end()))
            following = _NEXT.search(text, stop.end(), end)
            begin = following.start() if following else end
    if begin < end:
        spans.append((begin, end))
    return spans


def _ends_sentence(text: str, begin: int, stop: re.Match[str], end: int) -> bool:
    """Whether this full stop ends the sentence that began at ``begin``, or an abbreviation, a number, an initial."""
    if stop.group()[0] in "。！？｡":
        return True
    following = text[stop.end() : min(end, stop.end() + 20)].lstrip()
    if following[:1].islower():
        return False
    if not stop.group().startswith(".") or stop.group().startswith(".."):
        return True
    before = _BEFORE.search(text, begin, stop.start())
    if before is None:
        return True
    token = before.group().casefold()
    if token.isdigit():
        # "1. Open the lid" is a list's number, "15. November" a date; anything else ends a sentence.
        return before.start() > begin and not (len(token) <= 2 and _MONTH.match(following))
    if _INITIALS.fullmatch(token):
        # "J. Ott" and "U.S. Navy" go on; "it weighs 5 g." and "at 5 p.m." are quantities, which end.
        return _QUANTITY.search(text, begin, before.start()) is not None
    return token not in _ALWAYS_SHORT and not (token in _SHORT_BEFORE_NUMBER and following[:1].isdigit())


def _stripped(text: str, start: int, end: int) -> Span | None:
    """Return the span without white space at its ends, or None where nothing is left."""
    inner = text[start:end]
    left = len(inner) - len(inner.lstrip())
    kept = len(inner.strip())
    return (start + left, start + left + kept) if kept else None
