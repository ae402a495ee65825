"""A document in, chunks within a token budget out: by title, and every one an exact slice of the document's text.

This module knows tokens only as numbers that a function returns; it knows neither tokenizers nor files. A chunk begins
at a heading unless the one before it is very small; elements that are too long are split between rows or sentences,
then words, then characters. Nothing is lost and nothing overlaps.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from rag_pipeline.types import Chunk, Document, Figure, Place

__all__ = ["CHUNKER_VERSION", "chunk_document", "document_text"]

CHUNKER_VERSION = "3"
"""Changes whenever the same document would give other chunks."""

CountTokens = Callable[[Sequence[str]], list[int]]

_BETWEEN = "\n\n"
_SMALL = 4
"""A chunk under a fourth of the budget takes in the next section too: a heading alone finds nothing."""
_LINES = re.compile(r"\n+")
_SENTENCES = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")
_WORDS = re.compile(r"\s+")
_IN_LINES = frozenset({"Table", "CodeSnippet"})


@dataclass(frozen=True, slots=True)
class _Piece:
    """A slice of one element, ``first`` if it begins it. ``tokens`` counts its text alone, without special tokens."""

    start: int
    end: int
    element: int
    path: tuple[str, ...]
    heading: bool
    tokens: int = 0
    first: bool = True


def document_text(document: Document) -> str:
    """Return the text that all offsets refer to: the elements' texts with a blank line between them."""
    return _BETWEEN.join(element.text for element in document.elements)


def chunk_document(
    document: Document, count_tokens: CountTokens, *, max_tokens: int, heading_tokens: int
) -> list[Chunk]:
    """Cut a document into chunks, those of text first, then its figures; positions count from 0.

    ``count_tokens`` counts special tokens too. No chunk's ``embed_text`` has more than ``max_tokens``, of which the
    heading path takes ``heading_tokens`` at most (and half of the budget), its deepest headings first. Rows of a table
    that is split have its first row, which names the columns, as their deepest heading.
    """
    text = document_text(document)
    empty = count_tokens([""])[0]
    pieces = _elements_as_pieces(document, count_tokens, empty)
    paths = itertools.chain.from_iterable((piece.path, _below_header(piece, text)) for piece in pieces)
    headings = _Headings(count_tokens, min(heading_tokens, max_tokens // 2), empty, paths)
    pieces = _split_long(pieces, document, text, count_tokens, empty, max_tokens - empty - headings.most)
    groups = _packed(pieces, headings, max_tokens - empty)
    chunks = _within_budget(groups, document, text, headings, count_tokens, max_tokens)
    ends = [0, *(chunk.end for chunk in chunks)]
    chunks = [replace(chunk, gap=text[end : chunk.start]) for end, chunk in zip(ends, chunks, strict=False)]
    figures = (_figure_chunk(figure, document, text, headings, pieces) for figure in document.figures)
    chunks += _shortened(list(figures), count_tokens, max_tokens)
    return [replace(chunk, position=position) for position, chunk in enumerate(chunks)]


class _Headings:
    """Heading paths cut to their budget: counted together, once."""

    def __init__(self, count_tokens: CountTokens, budget: int, empty: int, paths: Iterable[tuple[str, ...]]) -> None:
        wanted = {path[:end] for path in paths for end in range(1, len(path) + 1)}
        tails = sorted({path[start:] for path in wanted for start in range(len(path))})
        counts = count_tokens([" > ".join(tail) for tail in tails])
        self._tokens = {tail: count - empty for tail, count in zip(tails, counts, strict=True)}
        self._budget = budget
        self.most = max((self.tokens(path) for path in wanted), default=0)

    def cut(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return the deepest headings of a path that fit together; one that is too long by itself is left out."""
        kept = path
        while kept and self._tokens[kept] > self._budget:
            kept = kept[1:]
        return kept if kept or not path else self.cut(path[:-1])

    def tokens(self, path: tuple[str, ...]) -> int:
        """Tokens of a path after the cut, with one for the line end behind it."""
        kept = self.cut(path)
        return self._tokens[kept] + 1 if kept else 0


def _elements_as_pieces(document: Document, count_tokens: CountTokens, empty: int) -> list[_Piece]:
    pieces = []
    counts = count_tokens([element.text for element in document.elements]) if document.elements else []
    title = (document.title,) if document.title.strip() else ()
    stack: list[tuple[int, str]] = []
    start = 0
    for index, (element, count) in enumerate(zip(document.elements, counts, strict=True)):
        if element.depth is not None:
            while stack and stack[-1][0] >= element.depth:
                stack.pop()
            stack.append((element.depth, " ".join(element.text.split())))
        path = tuple(heading for _, heading in stack)
        if title and (not path or path[0].casefold() != title[0].casefold()):
            path = title + path
        heading = element.depth is not None
        pieces.append(_Piece(start, start + len(element.text), index, path, heading, count - empty))
        start += len(element.text) + len(_BETWEEN)
    return pieces


def _split_long(
    pieces: list[_Piece], document: Document, text: str, count_tokens: CountTokens, empty: int, limit: int
) -> list[_Piece]:
    """Split pieces over the limit, ever finer, until each fits behind its own headings."""
    splitters: list[Callable[[_Piece], list[_Piece]]] = [
        lambda piece: _split_rows(piece, text) if document.elements[piece.element].category in _IN_LINES else [piece],
        lambda piece: _split(piece, text, _SENTENCES),
        lambda piece: _split(piece, text, _WORDS),
    ]
    done = pieces
    limits = _limits(done, limit)
    for split in itertools.chain(splitters, itertools.repeat(_halves)):
        finer = {
            piece: split(piece)
            for piece in done
            if piece.tokens > limits[piece.element] and piece.end - piece.start > 1
        }
        if not finer:
            break
        counted = iter(_counted([part for parts in finer.values() for part in parts], text, count_tokens, empty))
        done = [
            part
            for piece in done
            for part in (itertools.islice(counted, len(finer[piece])) if piece in finer else (piece,))
        ]
    return done


def _limits(pieces: list[_Piece], limit: int) -> list[int]:
    """Leave room for the headings right before an element, so that they never fill a chunk by themselves."""
    limits = []
    before = 0
    for piece in pieces:
        limits.append(limit - min(before, limit // 2))
        before = before + piece.tokens if piece.heading else 0
    return limits


def _counted(pieces: list[_Piece], text: str, count_tokens: CountTokens, empty: int) -> list[_Piece]:
    counts = count_tokens([text[piece.start : piece.end] for piece in pieces]) if pieces else []
    return [replace(piece, tokens=count - empty) for piece, count in zip(pieces, counts, strict=True)]


def _split(piece: _Piece, text: str, border: re.Pattern[str]) -> list[_Piece]:
    """Split a piece where a border matches; white space there belongs to no part, closing quotes to the one before."""
    parts = []
    start = piece.start
    for match in border.finditer(text, piece.start, piece.end):
        parts.append((start, match.start() + len(match.group().rstrip())))
        start = match.end()
    parts.append((start, piece.end))
    parts = [(a, b) for a, b in parts if text[a:b].strip()]
    return [replace(piece, start=a, end=b, first=piece.first and n == 0) for n, (a, b) in enumerate(parts)]


def _split_rows(piece: _Piece, text: str) -> list[_Piece]:
    below = _below_header(piece, text)
    return [part if part.first else replace(part, path=below) for part in _split(piece, text, _LINES)]


def _below_header(piece: _Piece, text: str) -> tuple[str, ...]:
    """Return the headings of a table's later rows: its first row says what their cells are."""
    row = _LINES.split(text[piece.start : piece.end], maxsplit=1)[0]
    return (*piece.path, ", ".join(row.split("\t"))) if "\t" in row else piece.path


def _halves(piece: _Piece) -> list[_Piece]:
    middle = (piece.start + piece.end) // 2
    return [replace(piece, end=middle), replace(piece, start=middle, first=False)]


def _packed(pieces: list[_Piece], headings: _Headings, limit: int) -> list[list[_Piece]]:
    """Fill chunks in reading order, beginning a new one at headings and where the next piece does not fit."""
    groups: list[list[_Piece]] = []
    tokens = 0
    shared: tuple[str, ...] = ()
    has_body = False
    for piece in pieces:
        path = piece.path if not has_body else (shared if piece.heading else _common(shared, piece.path))
        closed = piece.heading and piece.first and has_body and tokens * _SMALL >= limit
        if groups and not closed and tokens + piece.tokens + headings.tokens(path) <= limit:
            groups[-1].append(piece)
            tokens += piece.tokens
        else:
            groups.append([piece])
            tokens, path, has_body = piece.tokens, piece.path, False
        shared = path
        has_body = has_body or not piece.heading
    return groups


def _path_of(group: list[_Piece]) -> tuple[str, ...]:
    """Return the headings that all text of a chunk stands under; those of its last heading, if it has nothing else."""
    paths = [piece.path for piece in group if not piece.heading] or [group[-1].path]
    return functools.reduce(_common, paths)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return tuple(heading for heading, _ in same)


def _within_budget(
    groups: list[list[_Piece]],
    document: Document,
    text: str,
    headings: _Headings,
    count_tokens: CountTokens,
    max_tokens: int,
) -> list[Chunk]:
    """Make the chunks and count them as they will be encoded; the few that sums had judged too small are halved."""
    chunks: dict[int, Chunk] = {}
    open_groups = groups
    while open_groups:
        made = [_text_chunk(group, document, text, headings) for group in open_groups]
        counts = count_tokens([chunk.embed_text for chunk in made])
        again = []
        for group, chunk, count in zip(open_groups, made, counts, strict=True):
            if count <= max_tokens or (len(group) == 1 and group[0].end - group[0].start == 1):
                chunks[chunk.start] = replace(chunk, tokens=count)
            elif len(group) > 1:
                again += [group[: len(group) // 2], group[len(group) // 2 :]]
            else:
                again += [[part] for part in _halves(group[0]) if text[part.start : part.end].strip()]
        open_groups = again
    return [chunks[start] for start in sorted(chunks)]


def _text_chunk(group: list[_Piece], document: Document, text: str, headings: _Headings) -> Chunk:
    elements = [document.elements[index] for index in dict.fromkeys(piece.element for piece in group)]
    start, end = group[0].start, group[-1].end
    # A table that is split shows its rows as HTML once, with its first part.
    first = {piece.element for piece in group if piece.first}
    return Chunk(
        document_id=document.source.document_id,
        position=0,
        text=text[start:end],
        start=start,
        end=end,
        heading=headings.cut(_path_of(group)),
        places=_places(group, document),
        categories=tuple(dict.fromkeys(element.category for element in elements)),
        tables=tuple(html for index in sorted(first) if (html := document.elements[index].html) is not None),
        language=document.language,
    )


def _places(group: list[_Piece], document: Document) -> tuple[Place, ...]:
    """Return where the elements stand; those of one page without boxes are one place."""
    places: list[Place] = []
    for piece in group:
        element = document.elements[piece.element]
        page = element.page if element.box is None else element.box.page
        if page is None:
            continue
        if places and (places[-1].page, places[-1].box) == (page, element.box):
            places[-1] = replace(places[-1], end=piece.end)
        else:
            places.append(Place(piece.start, piece.end, page, element.box))
    return tuple(places)


def _figure_chunk(figure: Figure, document: Document, text: str, headings: _Headings, pieces: list[_Piece]) -> Chunk:
    before = [piece for piece in pieces if piece.element <= figure.after]
    place = before[-1].end if before else 0
    path = before[-1].path if before else ((document.title,) if document.title.strip() else ())
    said = "\n".join(part for part in (figure.caption, figure.context) if part.strip())
    return Chunk(
        document_id=document.source.document_id,
        position=0,
        text=said or document.title or document.source.path.name,
        start=place,
        end=place,
        heading=headings.cut(path) if before else (),
        places=() if figure.page is None else (Place(place, place, figure.page, figure.box),),
        categories=("Image",),
        language=document.language,
        figure=hashlib.sha256(figure.image).hexdigest(),
    )


def _shortened(chunks: list[Chunk], count_tokens: CountTokens, max_tokens: int) -> list[Chunk]:
    """Cut the text of figures at words until they fit: their caption comes first and stays."""
    while True:
        counts = count_tokens([chunk.embed_text for chunk in chunks]) if chunks else []
        long = {place: count for place, count in enumerate(counts) if count > max_tokens}
        if not any(len(chunks[place].text) > 1 for place in long):
            return [replace(chunk, tokens=count) for chunk, count in zip(chunks, counts, strict=True)]
        for place, count in long.items():
            chunk = chunks[place]
            kept = chunk.text[: min(len(chunk.text) - 1, len(chunk.text) * max_tokens // count)].rstrip()
            chunks[place] = replace(chunk, text=kept.rpartition(" ")[0].strip() or kept or chunk.text[:1])
