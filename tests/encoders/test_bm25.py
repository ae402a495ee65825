import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.encoders.bm25 import LANGUAGES, Bm25Encoder
from rag_pipeline.errors import ConfigError
from rag_pipeline.types import SparseVector
from tests.shared_data import read_records, read_text

BM25 = Bm25Encoder()


def passage(text: str, language: str = "") -> SparseVector:
    return BM25.encode_passages([text], [language])[0]


def query(text: str, language: str = "") -> SparseVector:
    return BM25.encode_queries([text], [language] if language else None)[0]


def tokens(vector: SparseVector) -> set[int]:
    return {int(index) for index in vector.indices}


def dot(left: SparseVector, right: SparseVector) -> float:
    weights = dict(zip(left.indices.tolist(), left.values.tolist(), strict=True))
    return sum(
        weights.get(index, 0.0) * value
        for index, value in zip(right.indices.tolist(), right.values.tolist(), strict=True)
    )


class TestWeights:
    def test_of_a_passage_are_the_term_frequency_part_of_bm25(self) -> None:
        # tf (k1 + 1) / (tf + k1 (1 - b + b length / average)): 3 tokens, "pump" twice, "valve" once.
        bm25 = Bm25Encoder("en", k1=1.5, b=0.5, average_length=6)
        (vector,) = bm25.encode_passages(["pump pump valve"])
        norm = 1.5 * (1 - 0.5 + 0.5 * 3 / 6)
        expected = sorted([2 * 2.5 / (2 + norm), 1 * 2.5 / (1 + norm)])
        assert sorted(vector.values.tolist()) == pytest.approx(expected, rel=1e-6)

    def test_of_a_query_are_one(self) -> None:
        assert query("pump pump valve", "en").values.tolist() == [1.0, 1.0]

    @pytest.mark.parametrize("text", ["", " ", "?!", "the of and"])
    def test_of_no_words_are_none(self, text: str) -> None:
        assert len(passage(text, "en").indices) == len(query(text, "en").indices) == 0

    def test_nothing_in_nothing_out(self) -> None:
        assert BM25.encode_passages([]) == BM25.encode_queries([]) == []


class TestLanguages:
    @pytest.mark.parametrize(
        ("language", "one", "other"),
        [
            ("en", "warranty claims", "the warranties claimed"),
            ("de", "Garantien der Häuser", "Garantie Haus"),
            ("es", "las garantías", "garantía"),
            ("ru", "датчики", "датчик"),
            ("tr", "kitaplar", "kitap"),
        ],
    )
    def test_inflections_meet(self, language: str, one: str, other: str) -> None:
        assert tokens(passage(one, language)) == tokens(query(other, language))

    def test_each_is_known_to_the_engine(self) -> None:
        assert len(LANGUAGES) == 29
        for language in LANGUAGES:
            assert len(passage("123 456", language).indices) == 2

    def test_of_others_words_are_kept_as_they_are(self) -> None:
        assert len(passage("czujniki i czujnik", "pl").indices) == 3

    def test_each_text_has_its_own(self) -> None:
        vectors = BM25.encode_passages(["die Häuser", "die houses"], ["de", "en"])
        assert [len(vector.indices) for vector in vectors] == [1, 2]  # "die" is a stop word in one of them

    def test_are_detected(self) -> None:
        german = "Die Häuser in den Bergen sind im Winter ohne Heizung."
        assert tokens(passage(german)) == tokens(passage(german, "de"))
        english = "The houses in the mountains are without heating in winter."
        assert tokens(query(english)) == tokens(query(english, "en"))

    def test_a_setting_overrides(self) -> None:
        english = Bm25Encoder("en")
        text = "Die Häuser in den Bergen sind im Winter ohne Heizung."
        assert tokens(english.encode_passages([text], ["de"])[0]) == tokens(passage(text, "en"))
        assert tokens(english.encode_queries([text], candidates=["de"])[0]) == tokens(query(text, "en"))

    def test_counts_of_texts_and_languages_must_agree(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            BM25.encode_passages(["a", "b"], ["en"])


class TestDoubt:
    """A word that several languages have is stemmed in each that it may be in."""

    def test_a_word_finds_passages_of_each_language(self) -> None:
        vector = query("Garantien")
        assert dot(vector, passage("Die Garantie gilt zwei Jahre.", "de")) > 0

    def test_the_union_is_of_the_plausible_candidates_and_the_word_itself(self) -> None:
        (vector,) = BM25.encode_queries(["Garantien"], candidates=["en", "de", "es"])
        each = [tokens(query("Garantien", language)) for language in ("en", "de", "es", "pl")]
        assert tokens(vector) == set().union(*each)
        assert len(tokens(vector)) > 1
        assert set(vector.values.tolist()) == {1.0}

    def test_one_candidate_leaves_no_doubt(self) -> None:
        (vector,) = BM25.encode_queries(["Garantien"], candidates=["de"])
        assert tokens(vector) == tokens(query("Garantien", "de"))

    def test_a_passage_in_doubt_is_found_by_a_question_that_is_not(self) -> None:
        label = passage("Garantien: 24")
        assert dot(query("Wie lange gelten die Garantien für die Sonde?"), label) > 0


class TestUnspacedScripts:
    @pytest.mark.parametrize(
        ("text", "language", "word"),
        [
            ("夏季传感器必须每两周清洁一次", "zh", "传感器"),
            ("センサーを掃除してください", "ja", "掃除"),
            ("ภาษาไทยค้นหาเอกสาร", "th", "เอกสาร"),
        ],
    )
    def test_a_word_inside_a_sentence_is_found(self, text: str, language: str, word: str) -> None:
        assert dot(passage(text, language), query(word, language)) > 0
        assert dot(passage(text, language), query(word)) > 0

    def test_a_question_without_kana_finds_japanese(self) -> None:
        assert dot(passage("センサーを二週間ごとに掃除してください", "ja"), query("掃除")) > 0

    def test_a_character_alone_is_a_word(self) -> None:
        assert dot(passage("水 24 °C", "zh"), query("水", "ja")) > 0

    def test_pairs_overlap(self) -> None:
        assert len(passage("传感器", "pl").indices) == 2

    def test_numbers_and_names_between_are_found(self) -> None:
        vector = passage("型号 OTTER-2 的保修期为 24 个月", "zh")
        assert dot(vector, query("OTTER", "en")) > 0
        assert dot(vector, query("24", "zh")) > 0

    def test_a_quotation_in_another_language_is_found(self) -> None:
        assert dot(passage("The label reads 保修期 in red.", "en"), query("保修期", "zh")) > 0


def test_ligatures_and_full_width_forms_are_undone() -> None:
    assert tokens(passage("eﬃcient ＡＢＣ １２", "en")) == tokens(query("efficient ABC 12", "en"))


class TestSettings:
    def test_are_all_in_the_fingerprint(self) -> None:
        variants = [
            Bm25Encoder(), Bm25Encoder("de"), Bm25Encoder(k1=0.9), Bm25Encoder(b=0.4), Bm25Encoder(average_length=100),
        ]  # fmt: skip
        assert len({variant.fingerprint for variant in variants}) == 5
        assert Bm25Encoder().fingerprint == "bm25/1 language=auto k1=1.2 b=0.75 average_length=256"

    def test_unknown_language(self) -> None:
        with pytest.raises(ConfigError, match="no BM25 for language 'english'; use 'auto' or one of ar, "):
            Bm25Encoder("english")

    def test_number_out_of_range(self) -> None:
        with pytest.raises(ConfigError, match=r"no BM25 with these settings: .*b must be finite and in"):
            Bm25Encoder(b=2)


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_text_gives_a_valid_vector_that_its_own_query_finds(texts: list[str]) -> None:
    passages = BM25.encode_passages(texts, ["en"] * len(texts))
    for vector, asked in zip(passages, BM25.encode_queries(texts, ["en"]), strict=True):
        assert tokens(vector) == tokens(asked)
        assert bool(np.all(vector.values > 0))


@pytest.mark.shared
def test_scifact_is_as_good_as_published() -> None:
    corpus = read_records("scifact", "corpus.jsonl")
    texts = {record["_id"]: record["text"] for record in read_records("scifact", "queries.jsonl")}
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in read_text("scifact", "qrels/test.tsv").splitlines()[1:]:
        query_id, document_id, grade = line.split("\t")
        judged[query_id][document_id] = int(grade)

    postings: dict[int, list[tuple[int, float]]] = defaultdict(list)
    passages = BM25.encode_passages([f"{r['title']} {r['text']}" for r in corpus], ["en"] * len(corpus))
    for row, vector in enumerate(passages):
        for index, value in zip(vector.indices.tolist(), vector.values.tolist(), strict=True):
            postings[index].append((row, value))

    measured = []
    for query_id, grades in judged.items():
        scores = np.zeros(len(corpus))
        for index in tokens(query(texts[query_id], "en")) & postings.keys():
            rows, weights = zip(*postings[index], strict=True)
            scores[list(rows)] += math.log((len(corpus) - len(rows) + 0.5) / (len(rows) + 0.5) + 1) * np.array(weights)
        best = np.argsort(-scores, kind="stable")[:10]
        gains = [grades.get(corpus[row]["_id"], 0) / math.log2(rank + 2) for rank, row in enumerate(best)]
        ideal = [grade / math.log2(rank + 2) for rank, grade in enumerate(sorted(grades.values(), reverse=True)[:10])]
        measured.append(sum(gains) / sum(ideal))
    assert len(measured) == 300
    assert sum(measured) / 300 == pytest.approx(0.683, abs=0.002)  # Anserini's BM25: .679
