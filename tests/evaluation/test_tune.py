"""Tuning on questions whose best weight is known by construction, with hashed words as the dense leg."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rag_pipeline.evaluation.tune import Asked, Question, tune_fusion, tune_reranking
from rag_pipeline.retrieval.calibration import Reranking
from rag_pipeline.retrieval.leg_weights import LegWeights
from rag_pipeline.store.payload import payload_of
from rag_pipeline.types import Chunk, Point, SparseVector, TextVectors, document_id
from tests.fakes import MemoryStore

COUNT = 60


class Leaning:
    """A TextEncoder whose legs know the answers or not: text ``n`` is about number n; a wrong leg is off by one."""

    fingerprint = "leaning"
    dim = COUNT
    max_tokens = 512
    sparse_needs_idf = False
    late = False

    def __init__(self, *, dense_right: bool, sparse_right: bool) -> None:
        self._right = (dense_right, sparse_right)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1] * len(texts)

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[str] | None = None, *, truncate: bool = False
    ) -> TextVectors:
        return self._encoded([int(text) for text in texts], (0, 0))

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> TextVectors:
        dense, sparse = (0 if right else 1 for right in self._right)
        return self._encoded([int(text) for text in texts], (dense, sparse))

    def _encoded(self, numbers: Sequence[int], off: tuple[int, int]) -> TextVectors:
        dense = np.eye(COUNT, dtype=np.float32)[[(number + off[0]) % COUNT for number in numbers]]
        terms = [SparseVector.from_weights({(number + off[1]) % COUNT: 1.0}) for number in numbers]
        return TextVectors(dense, tuple(terms))


class Reader:
    """A Reranker that is right, or wrong, about which passage has the question's number."""

    def __init__(self, *, right: bool) -> None:
        self.fingerprint = f"reader {right}"
        self._right = right

    def score(self, query: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.array([(passage == query) == self._right for passage in passages], dtype=np.float32)


def built(*, dense_right: bool, sparse_right: bool) -> tuple[MemoryStore, Leaning, list[Question]]:
    encoder, store, questions = Leaning(dense_right=dense_right, sparse_right=sparse_right), MemoryStore(), []
    for number in range(COUNT):
        chunk = Chunk(document_id(f"{number}"), 0, str(number), 0, len(str(number)), language="en")
        payload = payload_of(chunk, paths=[Path(f"/d/{number}.md")], media_type="text/plain", title="")
        store.upsert([Point(chunk.id, encoder.encode_passages([str(number)]).legs(0), payload)])
        questions.append(Question(str(number), "en", {chunk.id: 1}))
    return store, encoder, questions


def share(asked_made: bool, **right: bool) -> float | None:
    store, encoder, questions = built(**right)
    rule = LegWeights(["en"], ["en"])
    tuned = tune_fusion(store, encoder, Asked(questions, made=asked_made), rule, depth=10, exact=True)
    assert len(tuned.trials) == 7
    assert [len(hits) >= 10 for hits in tuned.candidates] == [True] * COUNT
    return tuned.dense.get("en")


class TestFusion:
    def test_the_leg_that_is_right_gets_more(self) -> None:
        assert share(False, dense_right=True, sparse_right=False) == 0.6
        assert share(False, dense_right=False, sparse_right=True) == 0.4

    def test_made_questions_move_the_sparse_leg_by_one_step_at_most(self) -> None:
        # At .4 the right leg already wins every question here; what matters is that .2 and .3 are not allowed.
        store, encoder, questions = built(dense_right=False, sparse_right=True)
        tuned = tune_fusion(
            store, encoder, Asked(questions, made=True), LegWeights(["en"], tuned={"en": 0.8}), depth=10, exact=True
        )
        assert tuned.dense == {}, "from .8 the one step to .7 gives nothing"
        judged = tune_fusion(
            store, encoder, Asked(questions), LegWeights(["en"], tuned={"en": 0.8}), depth=10, exact=True
        )
        assert judged.dense == {"en": 0.4}

    def test_where_both_are_right_the_default_stays(self) -> None:
        assert share(False, dense_right=True, sparse_right=True) is None

    def test_too_few_questions_prove_nothing(self) -> None:
        store, encoder, questions = built(dense_right=True, sparse_right=False)
        asked = Asked(questions[:39])
        tuned = tune_fusion(store, encoder, asked, LegWeights(["en"], ["en"]), depth=10, exact=True)
        assert tuned.dense == {}
        assert {trial.verdict for trial in tuned.trials} == {"", "default; too few questions"}

    def test_answers_are_found_by_their_names(self) -> None:
        """Judged by file name: the point of each number is called after its file, and a name counts once."""
        store, encoder, questions = built(dense_right=True, sparse_right=True)
        names = {next(iter(question.grades)): f"{question.text}.md" for question in questions}
        asked = Asked([Question(question.text, "en", {f"{question.text}.md": 2}) for question in questions], names)
        tuned = tune_fusion(store, encoder, asked, LegWeights(["en"], ["en"]), depth=10, exact=True)
        assert {trial.ndcg for trial in tuned.trials} == {1.0}


@pytest.mark.parametrize(
    ("dense_right", "reader_right", "chosen"),
    [
        (False, True, True),  # fusion puts the wrong one first, and the reader knows better
        (True, False, False),  # fusion is right, and the reader spoils it
        (True, True, False),  # nothing to gain
    ],
)
def test_reranking_is_chosen_where_it_pays(dense_right: bool, reader_right: bool, chosen: bool) -> None:
    store, encoder, questions = built(dense_right=dense_right, sparse_right=dense_right)
    asked = Asked(questions)
    tuned = tune_fusion(store, encoder, asked, LegWeights(["en"], ["en"]), depth=COUNT, exact=True)
    readers = {512: Reader(right=reader_right)}
    way, trials = tune_reranking(store, asked, tuned.candidates, readers, Reranking(20, 512, 0.1))
    assert bool(way.depth) == chosen, trials
    assert sum("chosen" in trial.verdict or "default;" in trial.verdict for trial in trials) == 1


def test_progress_is_told() -> None:
    store, encoder, questions = built(dense_right=True, sparse_right=True)
    seen: list[tuple[str, int, int]] = []
    tune_fusion(
        store,
        encoder,
        Asked(questions),
        LegWeights(),
        depth=10,
        exact=True,
        on_progress=lambda *state: seen.append(state),
    )
    assert seen == [("search", 32, 60), ("search", 60, 60)]
