"""Judged sets whose gold is exact spans of text, as folders of files that an ingestion reads.

Enters: the name of a set, and the folder of data beside the project. Leaves: :class:`SpanSet`, whose gold places are
offsets into the text of each file as the product parses it. ``examples/library`` is a set too, under ``library``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quality import ROOT, open_set

from rag_pipeline.answering.citations import find_quote
from rag_pipeline.documents.chunk import document_text
from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.documents.parse import parse
from rag_pipeline.evaluation.spans import TextSpan
from rag_pipeline.types import Document


@dataclass(frozen=True)
class Question:
    """A question, and the characters that answer it; a place's document is a path relative to the set's folder."""

    id: str
    text: str
    gold: tuple[TextSpan, ...]


@dataclass(frozen=True)
class SpanSet:
    """Files, what the parser makes of each, and the questions."""

    name: str
    folder: Path
    documents: Mapping[str, Document]
    questions: tuple[Question, ...]


def load(name: str, data: Path, scratch: Path) -> SpanSet:
    """Write the files of a set below ``scratch``, where it has none of its own, and parse them."""
    if name == "library":
        return _library(ROOT / "examples")
    folder = scratch / f"{name}-files"
    folder.mkdir()
    write = _write_chunking_eval if name == "chunking-eval" else _write_xquad
    asked = write(open_set(data, name, scratch), folder)
    documents = _parsed(folder)
    written = {file: (folder / file).read_text(encoding="utf-8") for file in documents}
    offsets = {file: _offsets(written[file], documents[file]) for file in documents}

    def place(file: str, start: int, end: int) -> TextSpan:
        """Carry a span of a file, without the white space at its ends, over into the document's text."""
        end -= len(written[file][start:end]) - len(written[file][start:end].rstrip())
        start += len(written[file][start:end]) - len(written[file][start:end].lstrip())
        return TextSpan(file, offsets[file][start], offsets[file][end - 1] + 1)

    questions = (Question(id_, text, tuple(place(file, *span) for span in spans)) for id_, text, file, spans in asked)
    return SpanSet(name, folder, documents, tuple(questions))


Asked = tuple[str, str, str, list[tuple[int, int]]]
"""Id and text of a question, the file that answers it, and where in the file as it is written."""


def _write_chunking_eval(source: Path, folder: Path) -> list[Asked]:
    """Copy the texts as plain text: as Markdown, the ``<unk>`` in them would be a tag, which nobody sees."""
    for file in (source / "docs").glob("*.md"):
        (folder / f"{file.stem}.txt").write_bytes(file.read_bytes())
    return [
        (
            row["_id"],
            row["question"],
            f"{row['corpus_id']}.txt",
            [(one["start_index"], one["end_index"]) for one in row["references"]],
        )
        for row in _json_lines(source / "questions.jsonl")
    ]


def _write_xquad(source: Path, folder: Path) -> list[Asked]:
    """Write each article as one file: its title, then its paragraphs."""
    articles: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _json_lines(source / "corpus.jsonl"):
        articles[row["title"]].append(row)
    place: dict[str, tuple[str, int]] = {}
    for number, (title, rows) in enumerate(articles.items(), start=1):
        text = title.replace("_", " ")
        for row in rows:
            text += "\n\n"
            place[row["_id"]] = (f"{number:02d}.txt", len(text))
            text += row["text"]
        (folder / f"{number:02d}.txt").write_text(text, encoding="utf-8")
    asked = []
    for row in _json_lines(source / "answers.jsonl"):
        file, start = place[row["corpus_id"]]
        spans = [
            (start + one["answer_start"], start + one["answer_start"] + len(one["text"])) for one in row["answers"]
        ]
        asked.append((row["_id"], row["question"], file, spans))
    return asked


def _library(examples: Path) -> SpanSet:
    """The questions that the text of a file in their own language answers; one quote is the gold of each."""
    folder = examples / "library"
    documents = _parsed(folder)
    questions = []
    for row in _json_lines(examples / "questions.jsonl"):
        if row["answerable"] and row["language"] == row["file_language"]:
            span = find_quote(row["quote"], document_text(documents[row["file"]]))
            if span is not None:  # what a picture says is in no text
                questions.append(Question(row["id"], row["question"], (TextSpan(row["file"], *span),)))
    return SpanSet("library", folder, documents, tuple(questions))


def _parsed(folder: Path) -> dict[str, Document]:
    sources = (read_source(found) for found in discover([folder]).files)
    return {source.path.relative_to(folder.resolve()).as_posix(): parse(source) for source in sources}


def _offsets(raw: str, document: Document) -> list[int]:
    """Return, for each character of a file, where it is in the document's text; parsers change white space."""
    text = document_text(document)
    at = 0
    places = []
    for character in raw:
        if not character.isspace():
            while at < len(text) - 1 and text[at].isspace():
                at += 1
        places.append(at)
        at += not character.isspace() and text[at : at + 1] == character
    assert at >= len(text), f"{document.source.path}: its text is not that of the file"
    return places


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
