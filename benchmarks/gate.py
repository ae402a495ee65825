"""Questions that files answer and questions that they do not: what is answered, what is refused, and by which weights.

    python benchmarks/gate.py                                   # the product, over all sets
    python benchmarks/gate.py pool vets --config my-llm.yaml    # the same with a language model
    python benchmarks/gate.py pool vets bikes --fit             # the gate's weights for the configured reranker

The sets are folders in ``benchmarks/answerability``, and ``library`` is ``examples/library``, which is a test: nothing
is fitted to it. A set's unanswerable questions are ``near`` (of what the files speak of, but not that), ``topic`` (of
what such an organisation has, and no file speaks of) or ``off`` (of something else).

``--fit`` is a logistic regression over the best passage of each question: the share of the question's words that it
has, and the reranker's logit. The ``topic`` and ``off`` questions are what is to be refused. The ``near`` ones are left
out: they have more of the words than those that are answered, and would only teach that words speak against. The bias
is set so that the default threshold refuses ``--refused`` of the answerable questions.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from quality import ROOT
from sklearn.linear_model import LogisticRegression

from rag_pipeline import RagPipeline
from rag_pipeline.answering.gate import ABSTAIN_BELOW, READ, GateWeights, Signals, signals
from rag_pipeline.answering.sentences import words
from rag_pipeline.evidence import Answer

SETS = ("pool", "vets", "bikes", "bahn", "library")


@dataclass(frozen=True)
class Question:
    """A judged question; ``kind`` is how it is unanswerable, "answerable" where it is not."""

    text: str
    kind: str
    file: str
    quote: str


def load(name: str) -> tuple[list[Path], list[Question]]:
    """Return the folders of a set, and its questions."""
    folder = ROOT / "benchmarks" / "answerability" / name
    listed = folder / "questions.jsonl"
    if name == "library":
        folder, listed = ROOT / "examples" / "library", ROOT / "examples" / "questions.jsonl"
    rows = [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines()]
    questions = [
        Question(
            row["question"],
            "answerable" if row["answerable"] else row.get("kind", "unanswerable"),
            row["file"] or "",
            row["quote"] or "",
        )
        for row in rows
    ]
    return sorted(path for path in folder.iterdir() if path.is_dir()), questions


def is_right(answer: Answer, question: Question) -> bool:
    """Whether a citation is from the file that answers, and has half of the words of the quote that does."""
    gold = set(words(question.quote))
    return any(
        citation.path.endswith(question.file) and 2 * len(gold & set(words(citation.quote))) >= len(gold)
        for citation in answer.citations
    )


def measure(rag: RagPipeline, name: str, questions: Sequence[Question]) -> str:
    """Ask everything; return a row of the table."""
    asked, kept, right = Counter[str](), Counter[str](), 0
    started = time.perf_counter()
    for question in questions:
        answer = rag.ask(question.text)
        asked[question.kind] += 1
        kept[question.kind] += not answer.abstained
        right += question.kind == "answerable" and is_right(answer, question)
    seconds = (time.perf_counter() - started) / len(questions)
    refused = {kind: count - kept[kind] for kind, count in asked.items() if kind != "answerable"}
    of_kinds = (f"{refused[kind]} of {asked[kind]}" if asked[kind] else "" for kind in ("near", "topic", "off"))
    return (
        f"| {name} | {kept['answerable']} of {asked['answerable']} | {right} "
        f"| {sum(refused.values())} of {asked.total() - asked['answerable']} | {' | '.join(of_kinds)} | {seconds:.2f} |"
    )


# ---------------------------------------------------------------------------------------------------------- the fit


@dataclass(frozen=True)
class Seen:
    """The best passages of a question, as the gate sees them."""

    kind: str
    passages: tuple[Signals, ...]


def look(rag: RagPipeline, questions: Iterable[Question]) -> list[Seen]:
    """Return what the gate sees of every question that it judges, of passages that a reranker has read."""
    found = []
    for question in questions:
        hits = [hit for hit in rag.search(question.text, top_k=rag.settings.answer.evidence) if hit.text.strip()]
        read = tuple(one for one in signals(question.text, hits)[:READ] if one.logit is not None)
        if read:
            found.append(Seen(question.kind, read))
    return found


def fit(seen: Sequence[Seen], refused: float) -> GateWeights:
    """Return the regression over the best passage of each question, which is the one that the weights rate highest."""
    used = [one for one in seen if one.kind != "near"]
    answerable = np.array([one.kind == "answerable" for one in used])
    weights = GateWeights(bias=0.0, covered=1.0, logit=0.1)
    for _ in range(20):
        best = [max(one.passages, key=weights.probability) for one in used]
        rows = np.array([(passage.covered, passage.logit) for passage in best], dtype=np.float64)
        scale = rows.std(axis=0)
        ridge = 0.01 * len(used)
        found = LogisticRegression(C=1 / ridge, class_weight="balanced").fit(rows / scale, answerable)
        covered, logit = (found.coef_[0] / scale).tolist()
        weights = GateWeights(bias=float(found.intercept_[0]), covered=covered, logit=logit)
    rated = [max(map(weights.probability, one.passages)) for one in used if one.kind == "answerable"]
    shift = _log_odds(ABSTAIN_BELOW) - _log_odds(float(np.quantile(rated, refused)))
    return GateWeights(*(round(value, 2) for value in astuple(replace(weights, bias=weights.bias + shift))))


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def refused_by(weights: GateWeights, seen: Iterable[Seen]) -> dict[str, str]:
    """Return by kind how many of the questions these weights refuse."""
    asked, refused = Counter[str](), Counter[str]()
    for one in seen:
        asked[one.kind] += 1
        refused[one.kind] += max(map(weights.probability, one.passages)) < ABSTAIN_BELOW
    return {kind: f"{refused[kind]} of {count}" for kind, count in sorted(asked.items())}


def main() -> None:
    """Print the table, or the weights with what they refuse of sets that they were not fitted to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "compact.yaml")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--refused", type=float, default=0.02)
    chosen = parser.parse_args()
    if not chosen.fit:
        print("| set | answerable: answered | at the right place | unanswerable: refused | near | topic | off | s |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
    seen: dict[str, list[Seen]] = {}
    for name in chosen.sets:
        folders, questions = load(name)
        with tempfile.TemporaryDirectory() as scratch, RagPipeline.from_config(chosen.config, index=scratch) as rag:
            rag.ingest(*folders)
            if chosen.fit:
                seen[name] = look(rag, questions)
            else:
                print(measure(rag, name, questions), flush=True)
    for name, own in seen.items():
        others = [one for other, found in seen.items() if other != name for one in found]
        weights = fit(others, chosen.refused)
        print(f"{name}, by weights of the others: refused {refused_by(weights, own)}; {weights}")
    if seen:
        every = [one for found in seen.values() for one in found]
        weights = fit(every, chosen.refused)
        print(f"all: refused {refused_by(weights, every)}; {weights}")


if __name__ == "__main__":
    main()
