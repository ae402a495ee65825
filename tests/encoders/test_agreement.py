from pathlib import Path

import numpy as np
import pytest

from rag_pipeline.encoders.agreement import built_in_sample, compare, read_sample, sample_of, shortcomings
from rag_pipeline.errors import ConfigError


def unit(*degrees: float) -> list[np.ndarray]:
    """Vectors in the plane, at these angles."""
    return [np.array([np.cos(np.radians(one)), np.sin(np.radians(one))], dtype=np.float32) for one in degrees]


def test_equal_runs_agree() -> None:
    rows = unit(0, *range(10, 130, 10))
    measures = compare({"dense": rows}, {"dense": rows}, questions=1)
    assert measures == {"dense": pytest.approx({"cosine_mean": 1, "cosine_min": 1, "top10_overlap": 1})}
    assert shortcomings(measures) == []


def test_cosines_are_those_of_each_text() -> None:
    # Thirteen vectors; the last is turned by 60 degrees, whose cosine is a half.
    measures = compare({"dense": unit(*[0] * 13)}, {"dense": unit(*[0] * 12, 60)}, questions=1)["dense"]
    assert measures["cosine_min"] == pytest.approx(0.5)
    assert measures["cosine_mean"] == pytest.approx(12.5 / 13)


def test_the_overlap_is_the_share_of_the_first_ten_that_stayed() -> None:
    # The question lies at 0, the passages at 10, 20, ... 120. In the other run the first two are the last.
    trusted = unit(0, *range(10, 130, 10))
    found = unit(0, 130, 140, *range(30, 130, 10))
    measures = compare({"dense": trusted}, {"dense": found}, questions=1)
    assert measures["dense"]["top10_overlap"] == pytest.approx(0.8)
    assert any("dense top10_overlap 0.8000 is below 0.95" in one for one in shortcomings(measures))


def test_logits_are_compared_by_rank_within_each_question() -> None:
    trusted = [np.array([one], dtype=np.float32) for one in [1, 2, 3, 10, 20, 30]]
    found = [np.array([one], dtype=np.float32) for one in [5, 6, 7, 30, 20, 10]]
    measures = compare({"logit": trusted}, {"logit": found}, questions=2)["logit"]
    # The first question's order is the same (1), the second's is turned round (-1).
    assert measures["spearman"] == pytest.approx(0)
    assert measures["difference_max"] == pytest.approx(20)


def test_what_is_no_number_is_too_low() -> None:
    broken = unit(*[0] * 13)
    broken[3] = np.array([np.nan, 0], dtype=np.float32)
    measures = compare({"multi": unit(*[0] * 13)}, {"multi": broken}, questions=1)
    assert measures["multi"]["cosine_min"] == 0
    assert shortcomings(measures) == ["multi cosine_mean 0.9231 is below 0.99"]  # 12 / 13


def test_two_outputs_of_zeros_are_alike_and_one_is_not() -> None:
    zero, other = np.zeros(3, dtype=np.float32), np.ones(3, dtype=np.float32)
    measures = compare({"sparse": [zero, zero]}, {"sparse": [zero, other]}, questions=1)["sparse"]
    assert measures == {"cosine_mean": 0.5, "cosine_min": 0.0}


def test_the_built_in_sample_has_texts_of_all_lengths() -> None:
    sample = built_in_sample()
    assert (len(sample.questions), len(sample.passages)) == (16, 65)
    lengths = sorted(map(len, sample.passages))
    assert lengths[0] < 10
    assert lengths[-1] > 800


def test_a_sample_of_a_users_own_texts(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, start in (("a.txt", 0), ("deep/b.txt", 40)):
        text = "\n\n".join(f"Passage {number} has some words." for number in range(start, start + 40))
        (tmp_path / name).write_text(text, encoding="utf-8")
    sample = read_sample(tmp_path)
    assert (len(sample.questions), len(sample.passages)) == (16, 80)
    assert sample.questions[:2] == ("Passage 0 has some words.", "Passage 5 has some words.")
    assert str(tmp_path) in sample.source


def test_too_few_texts_are_no_sample(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 2 passages, too few to rank; give at least 64"):
        sample_of(["one", " ", "two"], "here")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(ConfigError, match="give a file or folder of UTF-8 text"):
        read_sample(tmp_path)
