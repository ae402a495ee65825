"""No models: the gate knows none. What its numbers are worth is measured (benchmarks/gate.py) and written down in ADR
28."""

from __future__ import annotations

import math

import pytest

from rag_pipeline.answering.gate import ABSTAIN_BELOW, EvidenceGate, GateWeights
from rag_pipeline.config import AnswerSettings
from rag_pipeline.evidence import Evidence

WARRANTY = "The warranty of the Otter 2 lasts two years. Batteries are excluded."


def evidence_of(
    text: str, *heading: str, language: str = "en", path: str = "manual.pdf", logit: float | None = None
) -> Evidence:
    return Evidence("e1", 1, 1.0, path, text, 5, heading, (), {}, logit=logit, language=language)


def judged(question: str, *texts: str) -> tuple[float, str]:
    verdict = EvidenceGate().judge(question, [evidence_of(text) for text in texts])
    assert verdict.confidence is not None
    return verdict.confidence, verdict.refusal


def test_a_passage_with_all_words_passes() -> None:
    # covered 1, no name missing: 1 / (1 + exp(4.91 - 9.3))
    confidence, refusal = judged("Does the warranty of the Otter exclude batteries?", WARRANTY)
    assert math.isclose(confidence, 1 / (1 + math.exp(4.91 - 9.3)))
    assert refusal == ""


def test_a_missing_name_weighs_more_than_a_missing_word() -> None:
    # of warranty, telescope: half; of warranty, Ganymede: half, and a name
    word, _ = judged("Does the warranty have a telescope?", WARRANTY)
    name, _ = judged("Does the warranty have Ganymede?", WARRANTY)
    assert math.isclose(word, 1 / (1 + math.exp(4.91 - 9.3 / 2)))
    assert math.isclose(name, 1 / (1 + math.exp(4.91 - 9.3 / 2 + 1.77)))


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("Which telescope photographs Ganymede?", "no passage mentions 'Ganymede', 'telescope', 'photographs' (0.00, "),
        ("How long is the warranty of the Heron 9?", "no passage mentions 'Heron', '9', 'long' (0.01, below 0.09)"),
        # every word is somewhere, and the best passage has one of two
        ("Do receipts float?", "no passage that was found speaks of all this at once: the best lacks "),
    ],
)
def test_a_refusal_says_what_is_missing(question: str, reason: str) -> None:
    gate = EvidenceGate(abstain_below=0.5)
    evidence = [evidence_of("The buoy is yellow and floats."), evidence_of("Keep the receipt of the warranty.")]
    refusal = gate.judge(question, evidence).refusal
    assert refusal.startswith(reason.replace("0.09", "0.50"))


def test_words_count_in_headings_and_in_the_files_name() -> None:
    one = evidence_of("It lasts two years.", "Otter", "Warranty", path="/docs/heron-2024.pdf")
    confidence = EvidenceGate().judge("Warranty of the Heron and the Otter, 2024?", [one]).confidence
    assert confidence is not None
    assert confidence > 0.98


def test_only_the_best_passages_answer_and_the_rest_says_what_is_known() -> None:
    others = ["The buoy is yellow.", "The probe is wet.", "The cable is red."]
    behind, refusal = judged("When does the battery warranty end?", *others, WARRANTY)
    before, _ = judged("When does the battery warranty end?", WARRANTY, *others)
    assert behind < ABSTAIN_BELOW < before
    assert refusal.startswith("no passage mentions 'end'")


def test_a_question_that_nothing_can_be_looked_for_in_passes_unjudged() -> None:
    german = evidence_of("Die Garantie gilt zwei Jahre ab dem Tag der Lieferung.", language="de")
    gate = EvidenceGate(abstain_below=1.0)
    for question in ("How long does the warranty last after the delivery?", "Und was ist das?"):
        verdict = gate.judge(question, [german])
        assert (verdict.confidence, verdict.refusal) == (None, "")


@pytest.mark.parametrize(
    ("language", "question", "text"),
    [
        ("de", "Wie lange gelten die Garantien?", "Die Garantie gilt zwei Jahre."),
        ("es", "¿Cuánto duran las garantías?", "La garantía dura dos años."),
        ("ja", "保証期間は二年間ですか", "ポンプの保証期間は納品日から二年間です。"),
        ("", "How long does the warranty last?", "The warranty lasts two years."),
    ],
)
def test_in_the_languages_of_the_passages(language: str, question: str, text: str) -> None:
    gate = EvidenceGate()
    passes = gate.judge(question, [evidence_of(text, language=language)])
    assert passes.confidence is not None
    assert passes.refusal == ""


@pytest.mark.parametrize("texts", [[], ["  "]])
def test_without_text_there_is_nothing_to_judge(texts: list[str]) -> None:
    verdict = EvidenceGate(abstain_below=0.0).judge("How long?", [evidence_of(text) for text in texts])
    assert (verdict.confidence, verdict.refusal) == (0.0, "nothing was found that could answer")


def test_at_a_threshold_of_zero_everything_passes() -> None:
    assert EvidenceGate(abstain_below=0.0).judge("Which telescope?", [evidence_of(WARRANTY)]).refusal == ""


def test_the_setting_and_the_gate_have_one_default() -> None:
    assert AnswerSettings().abstain_below == ABSTAIN_BELOW


READ = GateWeights(bias=-1.0, covered=4.0, logit=0.5)


def test_a_logit_counts_where_weights_were_fitted_for_it() -> None:
    question = "Does the warranty have a telescope?"  # of warranty, telescope: half; nothing is a name
    read = EvidenceGate(read=READ).judge(question, [evidence_of(WARRANTY, logit=-3.0)])
    assert read.confidence == pytest.approx(1 / (1 + math.exp(1.0 - 4.0 / 2 + 0.5 * 3.0)))
    unread = EvidenceGate(read=READ).judge(question, [evidence_of(WARRANTY)])
    without = EvidenceGate().judge(question, [evidence_of(WARRANTY, logit=-3.0)])
    assert unread.confidence == without.confidence == pytest.approx(1 / (1 + math.exp(4.91 - 9.3 / 2)))


def test_the_best_of_the_passages_that_were_read_decides() -> None:
    gate = EvidenceGate(read=READ)
    evidence = [evidence_of(WARRANTY, logit=-8.0), evidence_of("The buoy is yellow.", logit=2.0), evidence_of(WARRANTY)]
    # all words and -8: -1 + 4 - 4; no word and 2: -1 + 0 + 1; the third was not read
    confidence = gate.judge("How long is the warranty?", evidence[:1]).confidence
    assert confidence == pytest.approx(1 / (1 + math.exp(1.0 - 4.0 / 2 + 4.0)))  # "long" is not there
    assert gate.judge("How long is the warranty?", evidence).confidence == pytest.approx(0.5)


def test_a_refusal_of_the_reranker_alone_says_so() -> None:
    refusal = EvidenceGate(read=READ).judge("Are batteries excluded?", [evidence_of(WARRANTY, logit=-11.0)]).refusal
    # -1 + 4 - 5.5
    assert refusal == "a passage has all the words, and the reranker finds no answer in it (0.08, below 0.09)"
