from __future__ import annotations

import asyncio

import pytest
from llama_index.core.base.response.schema import Response
from llama_index.core.schema import NodeWithScore, TextNode

from rag_pipeline.answering.extractive import ExtractiveSynthesizer
from rag_pipeline.answering.gate import EvidenceGate
from rag_pipeline.evidence import Evidence
from tests.fakes import HashEncoder, OverlapReranker


def evidence_of(text: str, id_: str = "e1", heading: tuple[str, ...] = ()) -> Evidence:
    return Evidence(id_, 1, 1.0, "manual.pdf", text, page=2, heading=heading, boxes=(), legs={}, start=1000)


OPEN = EvidenceGate(abstain_below=0.0)
"""Lets everything pass, so that the choice of sentences is seen alone."""


def synthesizer(**changes: object) -> ExtractiveSynthesizer:
    return ExtractiveSynthesizer(**{"encoder": HashEncoder(), "reranker": OverlapReranker(), "gate": OPEN, **changes})  # type: ignore[arg-type]


# OverlapReranker: 16 x (share of the question's words) - 8, so a share of 1, 1/2, 1/4 is a logit of 8, 0, -4.


def test_the_best_sentence_is_quoted_and_cited() -> None:
    text = "Keep the probe dry. The warranty\nlasts two years. Write to us."
    answer = synthesizer().answer("warranty two years", [evidence_of("Call us."), evidence_of(text, "e2")])
    assert answer.text == "The warranty lasts two years. [1]"
    (citation,) = answer.citations
    assert citation.quote == "The warranty\nlasts two years."
    assert (citation.start, citation.end, citation.page, citation.chunk_id) == (1020, 1049, 2, "e2")
    assert not answer.abstained


def test_near_sentences_follow_best_evidence_first_in_document_order() -> None:
    first = evidence_of("It lasts two years here. Red fish swim. It lasts two years there, maybe.", "e1")
    second = evidence_of("It lasts two years, registered or not.", "e2")
    answer = synthesizer(max_sentences=3).answer("lasts two years", [first, second])
    assert answer.text == (
        "It lasts two years here. [1] It lasts two years there, maybe. [2] It lasts two years, registered or not. [3]"
    )
    assert [citation.chunk_id for citation in answer.citations] == ["e1", "e1", "e2"]


def test_no_more_sentences_than_asked_for_and_none_far_below_the_best() -> None:
    evidence = evidence_of("Green probes float. Green probes sink, too. Green is a colour here.")
    assert len(synthesizer(max_sentences=1).answer("green probes", [evidence]).citations) == 1
    # shares 1, 1 and 1/2: logits 8, 8 and 0
    assert len(synthesizer(max_sentences=3).answer("green probes", [evidence]).citations) == 2


def test_the_same_sentence_elsewhere_is_said_once() -> None:
    copies = [evidence_of("The warranty lasts two years.", id_) for id_ in ("e1", "e2")]
    assert synthesizer().answer("warranty two years", copies).text == "The warranty lasts two years. [1]"


def test_a_heading_is_quoted_with_what_it_stands_over() -> None:
    evidence = evidence_of("Warranty\n\nIt lasts two years.")
    assert synthesizer().answer("warranty", [evidence]).citations[0].quote == "Warranty\n\nIt lasts two years."
    long = evidence_of("What the warranty covers\n\nParts only.", heading=("Manual", "What the warranty covers"))
    assert synthesizer().answer("warranty covers", [long]).citations[0].quote == long.text


def test_headings_and_columns_count_but_only_the_row_is_quoted() -> None:
    table = "Country\tFull day\tHalf day\nSweden\t66\t44\nNorway\t75\t50"
    other = evidence_of("Sweden is a country. One day we go.", "e2")
    answer = synthesizer(max_sentences=1).answer(
        "allowance full day Sweden",
        [evidence_of(table, heading=("Daily allowance",)), other],
    )
    assert answer.citations[0].quote == "Sweden\t66\t44"
    assert answer.text == "Country: Sweden; Full day: 66; Half day: 44 [1]"


def test_columns_are_those_of_the_rows_own_table() -> None:
    tables = "Country\tFull day\nSweden\t66\n\nPart\tPrice\nCable\t40"
    answer = synthesizer(max_sentences=1).answer("cable price", [evidence_of(tables)])
    assert answer.citations[0].quote == "Cable\t40"
    assert (
        synthesizer(max_sentences=1).answer("cable full day", [evidence_of(tables)]).citations[0].quote != "Cable\t40"
    )


@pytest.mark.parametrize("reranker", [OverlapReranker(), None])
def test_the_gate_is_before_the_quotes(reranker: OverlapReranker | None) -> None:
    evidence = [evidence_of("The probe is new here. It floats.")]
    answer = synthesizer(reranker=reranker, gate=None).answer("Which telescope photographs Ganymede?", evidence)
    assert (answer.text, answer.citations, answer.abstained) == ("The documents do not answer this.", (), True)
    assert "'Ganymede'" in answer.reason
    assert answer.confidence is not None
    assert answer.confidence < 0.5
    assert not synthesizer(reranker=reranker).answer("Which telescope photographs Ganymede?", evidence).abstained


@pytest.mark.parametrize("evidence", [[], [evidence_of(" \n ")]])
def test_without_evidence_it_abstains(evidence: list[Evidence]) -> None:
    answer = synthesizer().answer("warranty", evidence)
    assert (answer.abstained, answer.reason) == (True, "nothing was found that could answer")


def test_without_a_reranker_the_encoder_chooses() -> None:
    evidence = evidence_of("Keep the probe dry. The warranty lasts two years. Write to us soon.")
    answer = synthesizer(reranker=None, max_sentences=1).answer("two years warranty", [evidence])
    assert answer.text == "The warranty lasts two years. [1]"


def test_as_a_llama_index_synthesizer() -> None:
    nodes = [
        NodeWithScore(
            node=TextNode(id_="n1", text="The warranty lasts two years.", metadata={"path": "a.md"}), score=1
        ),
        NodeWithScore(node=TextNode(id_="n2", text="Warranty: two years, always."), score=0.5),
    ]
    one = synthesizer(evidence=1)
    response = one.synthesize("warranty two years", nodes)
    assert isinstance(response, Response)
    assert str(response) == "The warranty lasts two years. [1]"
    assert [node.node.node_id for node in response.source_nodes] == ["n1", "n2"]
    assert response.metadata is not None
    assert response.metadata["n1"] == {"path": "a.md"}
    answer = response.metadata["answer"]
    assert [citation.path for citation in answer.citations] == ["a.md"]
    assert list(answer.timings_ms) == ["answer"]
    assert str(asyncio.run(one.asynthesize("warranty two years", nodes))) == str(response)


def test_from_bare_texts_as_llama_index_passes_them() -> None:
    texts = ["Keep dry.", "The warranty lasts two years."]
    assert synthesizer().get_response("warranty two years", texts) == "The warranty lasts two years. [1]"
    found = asyncio.run(synthesizer().aget_response("warranty two years", texts))
    assert found == "The warranty lasts two years. [1]"


def test_no_nodes_is_an_abstention_and_not_llama_indexs_empty_response() -> None:
    assert str(synthesizer().synthesize("warranty", [])) == "The documents do not answer this."
