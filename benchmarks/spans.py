"""Exact spans: whether answers quote what stands in the files, and what chunkings make of retrieval.

    python benchmarks/spans.py answers xquad-en xquad-de xquad-es chunking-eval
    python benchmarks/spans.py chunks chunking-eval xquad-en library --modes hybrid

``answers`` ingests the files of a set with the product and asks it. An answer is verbatim if each of its quotes is,
character for character, at the offsets that it names in the text of the file parsed anew, and stands in the file as it
is written too, white space aside.

``chunks`` cuts the same files in different ways and looks, with the product's encoder and retriever, for the characters
that answer: measures of the first five chunks, alone and with their neighbours, and the recall of the best characters
up to a budget, which compares chunks of different sizes. Formulas: ``rag_pipeline/evaluation/spans.py``.

Prints Markdown tables. Sets are archives or folders in ``--data`` (by default ``../shared/data``); vectors of chunks
are kept in ``--cache``, where a folder is given.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from chunkings import CHUNKINGS, Chunking
from quality import ROOT
from span_sets import Question, SpanSet, load

from rag_pipeline import RagPipeline
from rag_pipeline.config import Settings, load_settings
from rag_pipeline.documents.chunk import document_text
from rag_pipeline.encoders.cache import EmbeddingCache
from rag_pipeline.evaluation.beir import JudgedSet
from rag_pipeline.evaluation.evaluate import EvalMode, evaluate, parse_modes
from rag_pipeline.evaluation.spans import TextSpan, first_characters, measure_spans
from rag_pipeline.evidence import Answer
from rag_pipeline.parts import make_cross_encoder, make_text_encoder
from rag_pipeline.protocols import Reranker, TextEncoder

BEST = 5
BUDGETS = (1000, 2000, 4000)
Found = Mapping[str, Sequence[Sequence[TextSpan]]]
"""By question, best first: the places of each hit."""


# ----------------------------------------------------------------------------------------------------------- answers


@dataclass(frozen=True)
class Judged:
    """What became of a question: whether it was answered, whether every quote holds, and what was quoted."""

    question: Question
    answered: bool
    verbatim: bool
    quoted: tuple[TextSpan, ...]


def compare_answers(chosen: argparse.Namespace, sets: Sequence[SpanSet], scratch: Path) -> None:
    """Print a row for each set and profile; shares after the second are of the questions that were answered."""
    print("| set | profile | asked | answered | verbatim | share | meets the gold | holds it | characters quoted |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for profile in chosen.profiles:
        for span_set in sets:
            index = scratch / f"{span_set.name}-{profile}"
            settings = load_settings(ROOT / "configs" / f"{profile}.yaml", index=index)
            judged = list(ask(span_set, settings, chosen.questions))
            answered = [one for one in judged if one.answered]
            recall = [measure_spans(one.question.gold, one.quoted).recall for one in answered]
            cells = [
                f"{len(judged)} | {len(answered)} | {sum(one.verbatim for one in answered)}",
                f"{share(one.verbatim for one in answered)} | {share(value > 0 for value in recall)}",
                f"{share(value == 1 for value in recall)} | {mean(sum(map(len, one.quoted)) for one in answered):.0f}",
            ]
            print(f"| {span_set.name} | {profile} | {' | '.join(cells)} |", flush=True)


def ask(span_set: SpanSet, settings: Settings, limit: int) -> Iterator[Judged]:
    """Ingest the set's files and ask ``limit`` of its questions, evenly spread."""
    texts = {file: document_text(document) for file, document in span_set.documents.items()}
    written = {file: squeezed((span_set.folder / file).read_text(encoding="utf-8")) for file in texts}
    asked = span_set.questions
    if len(asked) > limit:
        asked = tuple(asked[number * len(asked) // limit] for number in range(limit))
    with RagPipeline(settings) as rag:
        rag.ingest(span_set.folder)
        for question in asked:
            answer = rag.ask(question.text)
            quoted = quoted_places(answer, span_set.folder)
            verbatim = all(
                texts[at.document][at.start : at.end] == one.quote and squeezed(one.quote) in written[at.document]
                for one, at in zip(answer.citations, quoted, strict=True)
            )
            yield Judged(question, not answer.abstained, verbatim, quoted)


def quoted_places(answer: Answer, folder: Path) -> tuple[TextSpan, ...]:
    """Return where an answer says that its quotes stand."""
    home = folder.resolve()
    return tuple(TextSpan(Path(one.path).relative_to(home).as_posix(), one.start, one.end) for one in answer.citations)


def squeezed(text: str) -> str:
    """Leave out all white space, which parsers change."""
    return "".join(text.split())


# ------------------------------------------------------------------------------------------------------------ chunks


def compare_chunks(chosen: argparse.Namespace, sets: Sequence[SpanSet], scratch: Path) -> None:
    """Print a table for each profile, with two rows for each set, chunking and mode."""
    for profile in chosen.profiles:
        settings = load_settings(ROOT / "configs" / f"{profile}.yaml")
        with closing(EmbeddingCache((chosen.cache or scratch) / f"{profile}.sqlite", 2**30)) as cache:
            encoder, reranker = make_text_encoder(settings, cache), make_cross_encoder(settings)
            modes = parse_modes(chosen.modes, can_rerank=reranker is not None)
            budgets = " | ".join(f"R in {budget:,}" for budget in BUDGETS)
            measured = f"R@{BEST} | P@{BEST} | IoU@{BEST} | {budgets}"
            print(f"\n{profile}\n\n| set | mode | chunking | chunks | characters | {measured} |")
            print("|---" * (8 + len(BUDGETS)) + "|", flush=True)
            for span_set in sets:
                for chunking in CHUNKINGS:
                    if chunking.max_tokens <= encoder.max_tokens and (chosen.only or "") in chunking.name:
                        compare_chunking(span_set, chunking, settings, encoder, reranker, modes)


def compare_chunking(
    span_set: SpanSet,
    chunking: Chunking,
    settings: Settings,
    encoder: TextEncoder,
    reranker: Reranker | None,
    modes: Sequence[EvalMode],
) -> None:
    """Cut, retrieve, and print the rows of one chunking."""
    chunks = [
        (file, chunk)
        for file, document in span_set.documents.items()
        for chunk in chunking.cut(document, encoder.count_tokens)
    ]
    places = [TextSpan(file, chunk.start, chunk.end) for file, chunk in chunks]
    judged = JudgedSet(
        span_set.name,
        passages={str(number): chunk.embed_text for number, (_, chunk) in enumerate(chunks)},
        queries={question.id: question.text for question in span_set.questions},
        qrels={question.id: holding(question.gold, places) for question in span_set.questions},
    )
    with tempfile.TemporaryDirectory() as runs:
        evaluate(judged, settings, encoder, reranker, modes, run_dir=Path(runs))
        for mode in modes:
            run = read_run(Path(runs) / f"{judged.name}.{mode}.trec")
            row = f"| {span_set.name} | {mode} | {chunking.name}"
            size = f"{len(places)} | {mean(map(len, places)):.0f}"
            alone = {id_: [[places[number]] for number in numbers] for id_, numbers in run.items()}
            print(f"{row} | {size} | {measures(span_set, alone)} |", flush=True)
            wider = {id_: with_neighbours(numbers, places) for id_, numbers in run.items()}
            print(f"{row}, with neighbours | {size} | {measures(span_set, wider)} |", flush=True)


def holding(gold: Sequence[TextSpan], places: Sequence[TextSpan]) -> dict[str, int]:
    """Return the numbers of the chunks that hold some of the gold, as judgements."""
    return {
        str(number): 1
        for number, place in enumerate(places)
        for one in gold
        if place.document == one.document and place.start < one.end and one.start < place.end
    }


def read_run(path: Path) -> dict[str, list[int]]:
    """Read a TREC run: numbers of chunks, best first, by question."""
    run: dict[str, list[int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        question, _, number, *_ = line.split()
        run.setdefault(question, []).append(int(number))
    return run


def with_neighbours(numbers: Sequence[int], places: Sequence[TextSpan]) -> list[list[TextSpan]]:
    """Add to each hit the chunks before and after it in its document; none is shown twice."""
    shown: set[int] = set()
    hits = []
    for number in numbers:
        near = [one for one in (number, number - 1, number + 1) if 0 <= one < len(places) and one not in shown]
        near = [one for one in near if places[one].document == places[number].document]
        shown.update(near)
        hits.append([places[one] for one in near])
    return hits


def measures(span_set: SpanSet, found: Found) -> str:
    """Return cells of means over all questions; one for which nothing is found counts as zero."""
    best, within = [], []
    for question in span_set.questions:
        hits = found.get(question.id, [])
        best.append(measure_spans(question.gold, [place for hit in hits[:BEST] for place in hit]))
        ranked = [place for hit in hits for place in hit]
        within.append([measure_spans(question.gold, first_characters(ranked, budget)).recall for budget in BUDGETS])
    figures = [mean(one.recall for one in best), mean(one.precision for one in best), mean(one.iou for one in best)]
    figures += [mean(column) for column in zip(*within, strict=True)]
    return " | ".join(f"{figure:.3f}" for figure in figures)


# --------------------------------------------------------------------------------------------------------------- both


def mean(values: Iterable[float]) -> float:
    """Return the mean, 0 of none."""
    listed = list(values)
    return statistics.fmean(listed) if listed else 0.0


def share(held: Iterable[bool]) -> str:
    """Return how many of these hold, in per cent."""
    return f"{mean(map(float, held)):.1%}"


def main() -> None:
    """Print the tables as they grow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["answers", "chunks"])
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--profiles", nargs="+", default=["compact"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--questions", type=int, default=200, help="of each set, for answers")
    parser.add_argument("--modes", default="dense,sparse,hybrid", help="for chunks")
    parser.add_argument("--only", help="for chunks: those whose name holds this")
    parser.add_argument("--cache", type=Path, help="for chunks: a folder that keeps their vectors")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sets = [load(name, chosen.data, Path(scratch)) for name in chosen.sets]
        compare = compare_answers if chosen.what == "answers" else compare_chunks
        compare(chosen, sets, Path(scratch))


if __name__ == "__main__":
    main()
