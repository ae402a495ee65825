"""An open index and its settings -> its :class:`Calibration`: the machinery behind ``rag tune``.

Enters: settings, engine, encoder, and a folder of judged queries or nothing. Leaves: a calibration, not yet written.
This module knows nothing of how a choice is made (``evaluation/tune.py``) or used (``retrieval/``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rag_pipeline.config import RerankerSettings, Settings
from rag_pipeline.encoders.languages import trained_languages
from rag_pipeline.errors import InputError
from rag_pipeline.evaluation.beir import read_judgements
from rag_pipeline.evaluation.known_items import known_items
from rag_pipeline.evaluation.tune import Asked, Question, Trial, tune_fusion, tune_reranking
from rag_pipeline.parts import make_cross_encoder
from rag_pipeline.protocols import Reranker, Store, TextEncoder
from rag_pipeline.retrieval.calibration import Calibration, Reranking, made_with
from rag_pipeline.retrieval.leg_weights import LegWeights, question_language
from rag_pipeline.retrieval.rerank import lacking
from rag_pipeline.types import Record

__all__ = ["calibrate"]

_READ = 100
"""Questions for which candidates are reranked: reading 20 of each in two windows takes minutes on two cores."""
_WINDOWS = (192, 512)

Progress = Callable[[str, int, int], None]


def calibrate(
    settings: Settings,
    store: Store,
    encoder: TextEncoder,
    documents: Collection[str],
    *,
    queries: Path | None = None,
    sample: int = 200,
    on_progress: Progress = lambda stage, done, total: None,
) -> Calibration:
    """Try weights and ways to rerank on judged queries, or on questions made of ``sample`` chunks.

    Args:
        settings: What stands where nothing better is found.
        store: The engine.
        encoder: The one that made the index.
        documents: Languages of the documents.
        queries: A folder with ``queries.jsonl`` and ``qrels/test.tsv``, whose corpus ids are paths, file names,
            document ids or point ids of the index.
        sample: How many chunks questions are made of, where there are no queries.
        on_progress: Hears of (stage, done, total).

    Raises:
        InputError: the judgements name nothing in the index, or it has too little text to make questions of.
    """
    rule = LegWeights(documents, trained_languages(settings.text.model, settings.text.path))
    asked = _made(store, sample) if queries is None else _judged(store, queries, rule)
    search = settings.search
    tuned = tune_fusion(
        store, encoder, asked, rule, depth=search.leg_depth, exact=store.count() <= search.exact_below,
        on_progress=on_progress,
    )  # fmt: skip
    trials, reranking = list(tuned.trials), None
    chosen = settings.reranker
    if chosen is not None:
        default = Reranking(chosen.depth, chosen.window, chosen.blend)
        read = _readable(asked, chosen, documents)
        if read:
            best, more = tune_reranking(
                store,
                Asked([asked.questions[number] for number in read], asked.names, made=asked.made),
                [tuned.candidates[number] for number in read],
                _readers(settings, chosen),
                default,
                on_progress,
            )
            reranking = None if best == default else best
            trials += more
    return Calibration(
        made_with=made_with(settings.index, chosen.model if chosen else ""),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        dense=tuned.dense,
        reranking=reranking,
        evidence=_evidence(asked, queries, trials),
    )


def _made(store: Store, sample: int) -> Asked:
    found = known_items(store.scroll(), sample)
    if not found:
        raise InputError("the index has no sentences to make questions of; give judged ones with --queries DIR")
    return Asked([Question(item.question, item.language, {item.id: 1}) for item in found], made=True)


def _judged(store: Store, folder: Path, rule: LegWeights) -> Asked:
    queries, qrels = read_judgements(folder)
    wanted = {
        place: name for grades in qrels.values() for name in grades for place in (name, str(Path(name).absolute()))
    }
    names = {}
    for record in store.scroll():
        name = next((wanted[place] for place in _places(record) if place in wanted), None)
        if name is not None:
            names[record.id] = name
    if not names:
        raise InputError(
            f"{folder} judges nothing that is in the index; its corpus ids must be paths, file names, document ids or "
            "point ids (rag export lists them)"
        )
    return Asked(
        [
            Question(text, question_language(text, rule.documents, rule.model), qrels[id_])
            for id_, text in queries.items()
        ],
        names,
    )


def _places(record: Record) -> Iterator[str]:
    yield record.id
    payload = record.payload
    paths = payload.get("paths")
    yield from (str(path) for path in (paths if isinstance(paths, list) else []))
    yield from (str(payload[key]) for key in ("path", "file_name", "document_id") if payload.get(key))


def _readable(asked: Asked, chosen: RerankerSettings, documents: Collection[str]) -> list[int]:
    """Return the numbers of at most 100 questions in languages that the reranker does not lack."""
    trained = trained_languages(chosen.model, chosen.path)
    numbers: Sequence[int] = range(len(asked.questions))
    if trained is not None:
        numbers = [n for n in numbers if not lacking(trained, asked.questions[n].language, documents)]
    return list(numbers[:_READ])


def _readers(settings: Settings, chosen: RerankerSettings) -> dict[int, Reranker]:
    readers = {}
    for window in sorted({*_WINDOWS, chosen.window}):
        reader = make_cross_encoder(
            settings.model_copy(update={"reranker": chosen.model_copy(update={"window": window})})
        )
        assert reader is not None
        readers[window] = reader
    return readers


def _evidence(asked: Asked, queries: Path | None, trials: list[Trial]) -> dict[str, object]:
    return {
        "questions": len(asked.questions),
        "source": "made of chunks" if queries is None else str(queries.absolute()),
        "measure": "nDCG@10",
        "trials": [asdict(trial) for trial in trials],
    }
