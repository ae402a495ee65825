"""The example library and its questions: gold quotes are verbatim, and the right file is found."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline import RagPipeline
from rag_pipeline.evidence import Answer

EXAMPLES = Path(__file__).parent.parent / "examples"
LIBRARY = (EXAMPLES / "library").resolve()
QUESTIONS = [json.loads(line) for line in (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
ANSWERABLE = [question for question in QUESTIONS if question["answerable"]]
SAME_LANGUAGE = [question for question in ANSWERABLE if question["language"] == question["file_language"]]


@pytest.fixture(scope="module")
def rag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RagPipeline]:
    index = tmp_path_factory.mktemp("library") / "index"
    with pytest.MonkeyPatch.context() as patch:
        # Four hundred pairs are scored here, each with the same logit on any number of threads; two threads that share
        # the cores with another test spin while they wait for each other.
        patch.setenv("RAG_RERANKER__THREADS", "1")
        made = RagPipeline.from_config(EXAMPLES.parent / "configs" / "compact.yaml", index=index)
    with made as pipeline:
        report = pipeline.ingest(LIBRARY)
        assert report.files["added"] == 16
        assert not report.quarantine
        yield pipeline


def squeezed(text: str) -> str:
    return " ".join(text.split())


def ranked_files(rag: RagPipeline, question: str) -> list[str]:
    """Return the files of the hits, best first, each once."""
    hits = rag.search(question, top_k=20)
    return list(dict.fromkeys(Path(hit.path).relative_to(LIBRARY).as_posix() for hit in hits))


def test_there_are_questions_enough() -> None:
    assert len(QUESTIONS) >= 25
    assert len(QUESTIONS) - len(ANSWERABLE) >= 5
    files = {path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*") if path.is_file()}
    assert len(files) >= 12
    assert len({Path(name).suffix for name in files}) >= 8
    assert files == {question["file"] for question in ANSWERABLE}


def test_every_gold_quote_is_verbatim_on_its_page(rag: RagPipeline) -> None:
    texts: dict[str, dict[int | None, str]] = {}
    for row in rag.export():
        payload: Any = row["payload"]
        pages = texts.setdefault(Path(payload["path"]).relative_to(LIBRARY).as_posix(), {})
        for page in {None, *payload["pages"]}:
            pages[page] = pages.get(page, "") + " " + squeezed(payload["text"])
    for question in ANSWERABLE:
        assert squeezed(question["quote"]) in texts[question["file"]][question["page"]], question["id"]


def test_the_right_file_is_found(rag: RagPipeline) -> None:
    """Of the answerable questions: the right file first for 16 in 20 at least, in the top 3 for 19 in 20.

    The one question asked in English of a German file is left out: the compact profile's dense model reads English
    only, and BM25 shares no words across languages. README says so.
    """
    assert len(ANSWERABLE) - len(SAME_LANGUAGE) == 1
    ranks = {}
    for question in SAME_LANGUAGE:
        files = ranked_files(rag, question["question"])
        ranks[question["id"]] = files.index(question["file"]) + 1 if question["file"] in files else None
    first = sum(rank == 1 for rank in ranks.values())
    top3 = sum(rank is not None and rank <= 3 for rank in ranks.values())
    missed = {name: rank for name, rank in ranks.items() if rank != 1}
    print(f"first {first} of {len(ranks)}, top 3 {top3} of {len(ranks)}; not first: {missed}")
    assert first >= 16 / 20 * len(ranks), missed
    assert top3 >= 19 / 20 * len(ranks), missed


def assert_verbatim(rag: RagPipeline, answers: Collection[Answer]) -> None:
    texts = [str(row["payload"]["text"]) for row in rag.export()]  # type: ignore[index]
    for answer in answers:
        assert answer.abstained != bool(answer.citations)
        assert bool(answer.reason) == answer.abstained
        for citation in answer.citations:
            assert any(citation.quote in text for text in texts), citation


def test_answers_are_verbatim_and_off_topic_questions_abstain(rag: RagPipeline) -> None:
    off_topic = [question for question in QUESTIONS if question["id"] in ("q50", "q51")]  # a telescope, sourdough bread
    assert all(rag.ask(question["question"]).abstained for question in off_topic)
    answers = [rag.ask(question["question"]) for question in ANSWERABLE[::8]]
    assert_verbatim(rag, answers)
    assert any(not answer.abstained for answer in answers)


@pytest.mark.soak
def test_questions_without_an_answer_abstain(rag: RagPipeline) -> None:
    """Of the questions that the library answers, nine in ten are answered; of the others, four in ten are refused."""
    answers = {question["id"]: rag.ask(question["question"]) for question in QUESTIONS}
    assert_verbatim(rag, answers.values())
    wrongly_refused = {q["id"]: answers[q["id"]].reason for q in ANSWERABLE if answers[q["id"]].abstained}
    wrongly_answered = {
        q["id"]: answers[q["id"]].confidence
        for q in QUESTIONS
        if not q["answerable"] and not answers[q["id"]].abstained
    }
    unanswerable = len(QUESTIONS) - len(ANSWERABLE)
    refused = unanswerable - len(wrongly_answered)
    print(f"refused {refused} of the {unanswerable} without an answer, {wrongly_answered=}")
    print(f"refused {len(wrongly_refused)} of the {len(ANSWERABLE)} with an answer, {wrongly_refused=}")
    # Not all, which is what one would want: the others speak of things that the library names (ADR 28).
    assert refused >= 4
    assert len(wrongly_refused) <= len(ANSWERABLE) / 10
