from concurrent.futures import ThreadPoolExecutor

import pytest

from rag_pipeline.language import detect_language, plausible_languages
from tests.shared_data import read_records

TEXTS = {
    "en": "The sensor must be cleaned every two weeks in summer.",
    "de": "Der Sensor muss im Sommer alle zwei Wochen gereinigt werden.",
    "es": "El sensor debe limpiarse cada dos semanas en verano.",
    "fr": "Le capteur doit être nettoyé toutes les deux semaines en été.",
    "ru": "Летом датчик необходимо чистить каждые две недели.",
    "ja": "夏にはセンサーを二週間ごとに掃除してください。",
    "zh": "夏季传感器必须每两周清洁一次。",
    "ko": "여름에는 센서를 2주마다 청소해야 합니다.",
    "pl": "Latem czujnik należy czyścić co dwa tygodnie.",
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence_is_recognised_among_all_languages(language: str) -> None:
    assert detect_language(TEXTS[language]) == language


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence_is_recognised_among_candidates(language: str) -> None:
    assert detect_language(TEXTS[language], list(TEXTS)) == language


@pytest.mark.parametrize("text", ["", "   ", "404", "3.14 2,718", "ok", "Garantie"])
def test_what_nobody_could_tell_is_not_told(text: str) -> None:
    assert detect_language(text) == ""


@pytest.mark.parametrize(("text", "language"), [("你好", "zh"), ("こんにちは", "ja"), ("안녕", "ko"), ("สวัสดี", "th")])
def test_some_scripts_tell_in_two_letters(text: str, language: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize("candidates", [["de"], ["de", ""], {"de"}])
def test_with_one_candidate_there_is_nothing_to_guess(candidates: list[str]) -> None:
    assert detect_language("", candidates) == "de"
    assert plausible_languages("", candidates) == ("de",)


@pytest.mark.parametrize("candidates", [[], [""], ["qq", "xx"]])
def test_without_a_known_candidate_there_is_no_answer(candidates: list[str]) -> None:
    assert detect_language(TEXTS["en"], candidates) == ""
    assert plausible_languages(TEXTS["en"], candidates) == ()


def test_a_sentence_has_one_plausible_language_and_a_word_has_several() -> None:
    candidates = ["en", "de", "es"]
    assert plausible_languages(TEXTS["de"], candidates) == ("de",)
    assert set(plausible_languages("Garantie", candidates)) == {"en", "de", "es"}


def test_threads_with_other_candidates_do_not_disturb_each_other() -> None:
    pairs = [(language, [language, other]) for language in TEXTS for other in TEXTS if other != language] * 3
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: detect_language(TEXTS[pair[0]], pair[1]), pairs))
    assert found == [language for language, _ in pairs]


@pytest.mark.shared
@pytest.mark.parametrize(("language", "floor"), [("en", 0.997), ("de", 0.999), ("es", 0.999)])
def test_questions_of_xquad_among_three_languages(language: str, floor: float) -> None:
    questions = [record["text"] for record in read_records(f"xquad-{language}", "queries.jsonl")]
    found = [detect_language(question, ["en", "de", "es"]) for question in questions]
    assert len(found) == 1190
    decided = [one for one in found if one]
    assert len(decided) / len(found) > 0.985
    assert decided.count(language) / len(decided) >= floor
