"""A folder in BEIR layout -> :class:`JudgedSet`. Knows nothing of encoders or engines.

The layout: ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``), and
``qrels/test.tsv`` (query-id, corpus-id, score, with a header line).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rag_pipeline.errors import InputError

__all__ = ["JudgedSet", "read_beir", "read_judgements"]


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """Passages and queries by id, and the judged relevance of pairs.

    ``passages`` joins title and text by a space, as BEIR's own dense baselines do. ``queries`` holds the judged ones
    only; ``qrels`` maps query id to {passage id: grade}.
    """

    name: str
    passages: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def read_beir(folder: Path, split: str = "test") -> JudgedSet:
    """Read a judged set.

    Raises:
        InputError: a file is missing, a line cannot be read, or no query is judged.
    """
    passages = {row["_id"]: _joined(row) for row in _json_lines(folder / "corpus.jsonl")}
    queries, qrels = read_judgements(folder, split)
    return JudgedSet(folder.resolve().name, passages, queries, qrels)


def read_judgements(folder: Path, split: str = "test") -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Read the judged queries by id, and their qrels, of a folder that needs no ``corpus.jsonl``.

    Raises:
        InputError: a file is missing, a line cannot be read, or no query is judged.
    """
    texts = {row["_id"]: row["text"] for row in _json_lines(folder / "queries.jsonl")}
    qrels = _read_qrels(folder / "qrels" / f"{split}.tsv")
    queries = {query: texts[query] for query in qrels if query in texts}
    if not queries:
        raise InputError(f"{folder} judges none of its {len(texts)} queries; check the ids in qrels/{split}.tsv")
    return queries, qrels


def _joined(row: Mapping[str, str]) -> str:
    return f"{row.get('title') or ''} {row.get('text') or ''}".strip()


def _json_lines(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path} is missing; give a folder in BEIR layout (corpus.jsonl, queries.jsonl, qrels/)")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                row["_id"] = str(row["_id"])
            except (ValueError, KeyError, TypeError) as exc:
                raise InputError(f"{path}:{number} is not a JSON object with an _id; correct the line") from exc
            yield row


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    if not path.is_file():
        raise InputError(f"{path} is missing; give a folder in BEIR layout (corpus.jsonl, queries.jsonl, qrels/)")
    qrels: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t")
        next(rows, None)
        for row in rows:
            try:
                query, passage, grade = row
                qrels.setdefault(query, {})[passage] = int(grade)
            except ValueError as exc:
                raise InputError(f"{path}:{rows.line_num} is not 'query-id<tab>corpus-id<tab>score'; fix it") from exc
    return qrels
