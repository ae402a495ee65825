"""A text -> what another text can be held against: content words by their stems, and numbers in one spelling.

Enters: texts and their languages. Leaves: terms, stems and numbers. This module knows no model: stems and stop words
are those of BM25, spelled numbers those of English, German and Spanish.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rag_pipeline.encoders.bm25 import Bm25Encoder
from rag_pipeline.language import detect_language, plausible_languages

__all__ = ["Term", "languages_of", "numbers", "stems", "terms"]

_bm25 = Bm25Encoder()
_CJK = "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Texts without spaces are taken in overlapping pairs, as BM25 takes them.
_PIECE = re.compile(rf"(?=([{_CJK}]{{2}}))|[^\W_{_CJK}]+")
# A capital says nothing at the beginning, nor behind these; in languages that write every noun with one, nowhere.
_OPENING = re.compile(r"(?:^|[:\n•*–-])[\s\"'“‘«([*_]*\Z")
_CAPITALISED_NOUNS = frozenset({"de", "lb"})

_NUMBER = re.compile(r"\d+(?:[.,'’\u00a0\u202f]\d+)*")
_GROUPING = re.compile(r"\D")
# From two on: "one", "ein" and "un" are articles more often than numbers; "once" is eleven in Spanish alone.
_SPELLED = {
    word: value
    for value, *spelled in map(
        str.split,
        ("2 two zwei dos", "3 three drei tres", "4 four vier cuatro", "5 five fünf cinco", "6 six sechs seis",
         "7 seven sieben siete", "8 eight acht ocho", "9 nine neun nueve", "10 ten zehn diez", "11 eleven elf",
         "12 twelve zwölf doce", "20 twenty zwanzig veinte", "30 thirty dreißig treinta", "40 forty vierzig cuarenta",
         "50 fifty fünfzig cincuenta", "60 sixty sechzig sesenta"),
    )
    for word in spelled
}  # fmt: skip
_LETTERS = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Term:
    """A content word: as it was written, its stem in each language that it may be in, and whether it is a name."""

    text: str
    stems: frozenset[int]
    name: bool = False


def languages_of(text: str, candidates: Collection[str] | None = None) -> tuple[str, ...]:
    """Return the language (ISO 639-1) of a text; where that is not certain all likely ones, and "" for none of them."""
    certain = detect_language(text, candidates)
    return (certain,) if certain else (*plausible_languages(text, candidates), "")


def terms(text: str, languages: Sequence[str]) -> tuple[Term, ...]:
    """Return the content words of a text, in order, each once; a stop word of any of ``languages`` is none.

    >>> [term.text for term in terms("Is the probe of Ganymede wet? The probe!", ["en"])]
    ['probe', 'Ganymede', 'wet']
    """
    found: dict[frozenset[int], Term] = {}
    for match in _PIECE.finditer(text):
        piece = match[1] or match[0]
        stemmed = [_stems_of_word(piece, language) for language in languages]
        if all(stemmed):
            key = frozenset[int]().union(*stemmed)
            name = _is_name(text, match.start(), piece, languages)
            if key not in found or (name and not found[key].name):
                found[key] = Term(piece, key, name)
    return tuple(found.values())


def stems(text: str, language: str) -> frozenset[int]:
    """Return the stems of the content words of a passage; where ``language`` is "" it is looked for."""
    (vector,) = _bm25.encode_passages([text], [language])
    return frozenset(vector.indices.tolist())


def numbers(text: str) -> tuple[str, ...]:
    """Return the numbers of a text, in order, each once: grouping, trailing zeros and spelling left out.

    A date or a version is its parts, since those are what another spelling of it shares.

    >>> numbers("1,577.50 euros in two years, 03.11.2024")
    ('1577.5', '2', '3', '11', '2024')
    """
    found: list[str] = []
    for match in re.finditer(rf"{_NUMBER.pattern}|{_LETTERS.pattern}", text):
        if match[0][0].isdigit():
            found += _canonical(match[0])
        elif match[0].lower() in _SPELLED:
            found.append(_SPELLED[match[0].lower()])
    return tuple(dict.fromkeys(found))


def _canonical(number: str) -> list[str]:
    first, *rest = _GROUPING.split(number)
    if all(len(group) == 3 for group in rest):  # 12,345 and 12.345: which of the two means a fraction, nobody can tell
        return [_plain(first + "".join(rest))]
    if all(len(group) == 3 for group in rest[:-1]):
        fraction = rest[-1].rstrip("0")
        return [_plain(first + "".join(rest[:-1])) + (f".{fraction}" if fraction else "")]
    return [_plain(part) for part in (first, *rest)]


def _plain(digits: str) -> str:
    return digits.lstrip("0") or "0"


def _stems_of_word(word: str, language: str) -> frozenset[int]:
    (vector,) = _bm25.encode_queries([word], {language})
    return frozenset(vector.indices.tolist())


def _is_name(text: str, start: int, word: str, languages: Sequence[str]) -> bool:
    return word[0].isupper() and not _CAPITALISED_NOUNS & set(languages) and not _OPENING.search(text, 0, start)
