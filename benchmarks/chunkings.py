"""Ways to cut a document that ``benchmarks/spans.py`` compares: the product's own, and those it is weighed against.

Enters: a document and a function that counts tokens. Leaves: chunks in reading order, each an exact slice of the
document's text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from llama_index.core.node_parser import SentenceSplitter

from rag_pipeline.documents.chunk import CountTokens, chunk_document, document_text
from rag_pipeline.types import Chunk, Document


@dataclass(frozen=True)
class Chunking:
    """A name for the table, the most tokens of a chunk, and what cuts."""

    name: str
    max_tokens: int
    cut: Callable[[Document, CountTokens], list[Chunk]]


def by_title(max_tokens: int, heading_tokens: int = 48) -> Chunking:
    """The product's: elements packed up to ``max_tokens``, of which headings take ``heading_tokens`` at most."""
    name = f"by title, {max_tokens}" + ("" if heading_tokens else ", no headings")
    return Chunking(name, max_tokens, partial(chunk_document, max_tokens=max_tokens, heading_tokens=heading_tokens))


def elements_alone(max_tokens: int) -> Chunking:
    """Every element a chunk of its own: nothing is packed together; long ones are split as the product does."""

    def cut(document: Document, count_tokens: CountTokens) -> list[Chunk]:
        chunks: list[Chunk] = []
        start = 0
        for element in document.elements:
            alone = replace(document, elements=(element,), figures=())
            for chunk in chunk_document(alone, count_tokens, max_tokens=max_tokens, heading_tokens=48):
                chunks.append(replace(chunk, start=chunk.start + start, end=chunk.end + start, position=len(chunks)))
            start += len(element.text) + 2
        return chunks

    return Chunking(f"elements alone, {max_tokens}", max_tokens, cut)


def sentence_splitter(max_tokens: int, overlap: int = 0) -> Chunking:
    """LlamaIndex's: sentences up to ``max_tokens``, the last ``overlap`` tokens again in the next; no headings."""

    def cut(document: Document, count_tokens: CountTokens) -> list[Chunk]:
        empty = count_tokens([""])[0]

        def tokens(text: str) -> Sequence[None]:  # of which the splitter takes the length
            return [None] * (count_tokens([text])[0] - empty)

        splitter = SentenceSplitter(chunk_size=max_tokens - empty, chunk_overlap=overlap, tokenizer=tokens)
        text, chunks, start = document_text(document), [], 0
        for position, piece in enumerate(splitter.split_text(text)):
            start = text.index(piece, start)
            end = start + len(piece)
            chunks.append(Chunk(document.source.document_id, position, piece, start, end, language=document.language))
        return chunks

    name = f"SentenceSplitter, {max_tokens}" + (f", overlap {overlap}" if overlap else "")
    return Chunking(name, max_tokens, cut)


CHUNKINGS = (
    *(by_title(size) for size in (64, 96, 128, 192, 256, 384, 512)),
    by_title(256, heading_tokens=0),
    elements_alone(256),
    sentence_splitter(128),
    sentence_splitter(256),
    sentence_splitter(256, overlap=64),
    sentence_splitter(256, overlap=128),
)
