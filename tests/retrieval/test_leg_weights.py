"""How much a leg counts: by the languages of question, documents and model."""

import pytest

from rag_pipeline.retrieval.leg_weights import LegWeights, knows, leg_shares, question_language, sparse_evidence
from rag_pipeline.types import Hit

BOTH: dict[str, list[Hit]] = {"dense": [], "sparse": []}
WARRANTY = "Wie lange gilt die Garantie für die Boje im See?"


def dense(weights: LegWeights, question: str) -> float:
    return round(weights.weigh(question, BOTH, 100).weights["dense"], 2)


@pytest.mark.parametrize(
    ("documents", "model", "question", "expected"),
    [
        (["en"], ["en"], "how long is the warranty?", 0.5),
        (["de"], ["en"], WARRANTY, 0.3),
        (["de", "en"], ["en"], WARRANTY, 0.3),
        (["de", "en"], ["en"], "how long is the warranty of the buoy?", 0.5),
        (["de", "en"], ["en"], "404", 0.4),  # in either
        (["de", "fr"], ["en"], "404", 0.3),
        (["de", "en"], ["de", "en"], "404", 0.5),
        (["de"], None, WARRANTY, 0.4),
        ([], ["en"], WARRANTY, 0.3),
        ([], ["de"], WARRANTY, 0.5),
        (["en"], ["en"], WARRANTY, 0.5),  # one language of documents and model: which else it is makes no difference
        (["de"], ["en"], "how long is the warranty of the buoy?", 0.7),  # few words in common; the model reads it
        (["fr"], ["de", "en"], WARRANTY, 0.7),
        (["en"], ["de", "en"], "Garantie", 0.5),  # one word is not enough to call a question foreign
    ],
)
def test_the_rule(documents: list[str], model: list[str] | None, question: str, expected: float) -> None:
    assert dense(LegWeights(documents, model), question) == expected


def test_what_was_tuned_goes_before_the_rule() -> None:
    weights = LegWeights(["de", "en"], ["en"], tuned={"de": 0.8})
    assert dense(weights, WARRANTY) == 0.8
    assert dense(weights, "how long is the warranty of the buoy?") == 0.5
    assert weights.weigh(WARRANTY, BOTH, 100).why == "as rag tune found for de"


def test_the_reason_is_told() -> None:
    assert LegWeights(["de"], ["en"]).weigh("Garantie", BOTH, 100).why == "the dense model was not trained on de"
    assert "nobody says" in LegWeights(["de"]).weigh("Garantie", BOTH, 100).why


def test_weights_add_up_to_one_over_the_legs_there_are() -> None:
    """Odds of 3 to 7 for each leg of the dense model: 3 : 3 : 7 of 13."""
    assert leg_shares(["dense", "late", "sparse"], 0.3) == pytest.approx(
        {"dense": 3 / 13, "late": 3 / 13, "sparse": 7 / 13}
    )
    assert leg_shares(["sparse"], 0.3) == {"sparse": 1.0}
    assert leg_shares([], 0.5) == {}
    assert leg_shares(["sparse"], 1.0) == {"sparse": 0.0}, "who wants the dense leg alone gets nothing from the other"


def test_a_question_is_foreign_only_where_no_language_of_the_documents_is_plausible() -> None:
    assert question_language(WARRANTY, ["en"], ["de", "en"]) == "de"
    assert question_language(WARRANTY, ["en"], ["en"]) == "en", "one language of documents and model: nothing is asked"
    assert question_language("Garantie", ["en"], ["de", "en"]) == "en"


def test_a_foreign_question_that_the_model_does_not_know_either() -> None:
    assert LegWeights(["fr"], ["en"]).share("de")[0] == 0.5


def test_knows() -> None:
    assert knows(None, ["de"]) is None
    assert knows(["en"], []) is None
    assert knows(["en", "de"], ["en", "de"]) is True


class TestEvidence:
    """Of n candidates one is apart from equals: it is sqrt(n - 1) standard deviations above the mean."""

    @staticmethod
    def of(*sparse: float, depth: int = 100) -> float:
        hits = [Hit(f"p{n:02}", n, score) for n, score in enumerate(sorted(sparse, reverse=True), start=1)]
        return sparse_evidence({"sparse": hits}, depth)

    def test_a_best_hit_far_apart_counts_fully(self) -> None:
        # n = 10: 3 / sqrt(2 ln 10) = 3 / 2.146 = 1.398, just below 1.4. n = 17: 4 / 2.380 = 1.68.
        assert self.of(9, *[1] * 9) == pytest.approx(0.996, abs=1e-3)
        assert self.of(9, *[1] * 16) == 1.0

    def test_an_even_spread_counts_nothing(self) -> None:
        # 1 to 20: mean 10.5, sd 5.766, so 1.648 for the best; sqrt(2 ln 20) = 2.448: .673 of it.
        assert self.of(*range(1, 21)) == 0.0

    def test_between_them_a_line(self) -> None:
        # 16 ones, two twos, one three: mean 22/19 = 1.158, sd .488, so 3.773 / 2.427 = 1.555 for one above all;
        # with four threes, mean 1.421, sd .815: 1.937 / 2.427 = .798; with one three and six twos, mean 1.421, sd .591:
        # 2.672 / 2.427 = 1.101, and (1.101 - .9) / .5 = .402.
        assert self.of(3, *[2] * 6, *[1] * 12) == pytest.approx(0.402, abs=2e-3)

    def test_what_the_leg_did_not_find_has_no_term_in_common(self) -> None:
        dense = [Hit(f"d{n}", n, 1.0) for n in range(1, 17)]
        assert sparse_evidence({"dense": dense, "sparse": [Hit("s", 1, 5.0)]}, 100) == 1.0

    def test_of_few_or_equal_candidates_nothing_is_told(self) -> None:
        assert self.of(9, *[1] * 8) == 1.0
        assert self.of(*[1] * 20) == 1.0
        assert sparse_evidence({}, 100) == 1.0

    def test_what_lies_beyond_the_depth_does_not_count(self) -> None:
        assert self.of(*range(1, 21), *[0.0] * 500, depth=20) == 0.0

    def test_it_takes_from_the_sparse_share_and_is_told(self) -> None:
        hits = [Hit(f"p{n:02}", n, float(21 - n)) for n in range(1, 21)]
        weighing = LegWeights(["en"], ["en"]).weigh("how long?", {"dense": hits, "sparse": hits}, 100)
        assert weighing.weights == {"dense": 1.0, "sparse": 0.0}
        assert weighing.why.endswith("stands out little: that leg counts 0.00 of its share")
