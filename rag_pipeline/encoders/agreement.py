"""How alike two runs of a model are: by cosine, and by what they rank first.

Enters: a sample of questions and passages, and what each run made of them. Leaves: measures by name, and what is too
low among them. This module knows no engine and loads no model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rag_pipeline.errors import ConfigError
from rag_pipeline.types import FloatMatrix

__all__ = [
    "ENOUGH", "LEAST", "MOST", "Sample", "built_in_sample", "compare", "read_sample", "sample_of", "shortcomings",
]  # fmt: skip

LEAST: Mapping[str, float] = {"cosine_mean": 0.99, "top10_overlap": 0.95, "spearman": 0.95}
"""Below this a run may not stand in for the other. ``spearman`` is for rerankers, whose logits have no direction."""

ENOUGH = 64
"""Passages: among fewer, the first ten are no ranking."""
MOST = 256
"""Passages: torch in float32 reads a few hundred tokens a second of a large model."""
_QUESTIONS = 16
_QUESTION_WORDS = 16
_TOP = 10
_WORST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Sample:
    """Texts on which runs are compared, and what they are, in words for the report."""

    source: str
    questions: tuple[str, ...]
    passages: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.questions or len(self.passages) <= _TOP:
            raise ValueError(f"a Sample needs questions, and more than {_TOP} passages to rank")


def built_in_sample() -> Sample:
    """Return the sample that comes with the package: short and long passages in 22 languages, and questions."""
    texts = json.loads(Path(__file__).with_name("sample.json").read_text(encoding="utf-8"))
    passages, questions = tuple(texts["passages"]), tuple(texts["questions"])
    return Sample(f"built in, {len(passages)} passages", questions, passages)


def sample_of(texts: Sequence[str], source: str) -> Sample:
    """Make a sample of a user's own texts; the opening words of some are the questions.

    Raises:
        ConfigError: there are too few to rank.
    """
    kept = [text for text in texts if text.strip()][:MOST]
    if len(kept) < ENOUGH:
        raise ConfigError(f"{source} has {len(kept)} passages, too few to rank; give at least {ENOUGH}")
    asked = kept[:: len(kept) // _QUESTIONS][:_QUESTIONS]
    questions = tuple(" ".join(text.split()[:_QUESTION_WORDS]) for text in asked)
    return Sample(f"{source}, {len(kept)} passages", questions, tuple(kept))


def read_sample(path: Path) -> Sample:
    """Make a sample of a text file, or of those in a folder, cut into passages at empty lines.

    Raises:
        ConfigError: there is no such file, it is no UTF-8 text, or it holds too few passages.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    try:
        texts = [part for file in files for part in file.read_text(encoding="utf-8").split("\n\n")]
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read the sample {path} ({exc}); give a file or folder of UTF-8 text") from exc
    return sample_of(texts, str(path))


def compare(
    reference: Mapping[str, Sequence[FloatMatrix]], found: Mapping[str, Sequence[FloatMatrix]], questions: int
) -> dict[str, dict[str, float]]:
    """Return the measures of each output.

    Args:
        reference: what the trusted run made of every text: first ``questions`` questions, then the passages. Of
            pairs (output ``logit``): all passages with the first question, then with the second, and so on.
        found: what the other run made of them.
        questions: how many there are.
    """
    measures: dict[str, dict[str, float]] = {}
    for name, trusted in reference.items():
        other = found[name]
        if name == "logit":
            measures[name] = _of_logits(np.reshape(trusted, (questions, -1)), np.reshape(other, (questions, -1)))
            continue
        cosines = [_cosine(one, two) for one, two in zip(trusted, other, strict=True)]
        measures[name] = {"cosine_mean": float(np.mean(cosines)), "cosine_min": float(np.min(cosines))}
        if name == "dense":
            one, two = np.stack(trusted), np.stack(other)
            scores = one[:questions] @ one[questions:].T, two[:questions] @ two[questions:].T
            measures[name]["top10_overlap"] = _overlap(*scores)
    return measures


def shortcomings(measures: Mapping[str, Mapping[str, float]], least: Mapping[str, float] = LEAST) -> list[str]:
    """Return a phrase for each measure that is below what ``least`` has for its name."""
    return [
        f"{output} {name} {value:.4f} is below {least[name]}"
        for output, values in measures.items()
        for name, value in values.items()
        if value < least.get(name, value)
    ]


def _of_logits(one: FloatMatrix, two: FloatMatrix) -> dict[str, float]:
    """Return how alike the rows, one for each question, are ranked, and how far a logit moved at most."""
    ranks = (np.argsort(np.argsort(logits, axis=1, kind="stable"), axis=1) for logits in (one, two))
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)]
    return {
        "spearman": float(np.mean(correlations)),
        "top10_overlap": _overlap(one, two),
        "difference_max": float(np.nan_to_num(np.abs(one - two).max(), nan=_WORST)),
    }


def _cosine(one: FloatMatrix, two: FloatMatrix) -> float:
    """Return the cosine of two outputs of one text, all its numbers in a row.

    It is 1 where both are zero, and 0 where it is no number, as after an overflow: JSON has no NaN.
    """
    lengths = float(np.linalg.norm(one) * np.linalg.norm(two))
    cosine = float(np.vdot(one, two)) / lengths if lengths else float(not one.any() and not two.any())
    return float(np.nan_to_num(cosine))


def _overlap(one: FloatMatrix, two: FloatMatrix) -> float:
    """Return the mean share of the first ten columns of each row that are the same, in whatever order."""

    def first(scores: FloatMatrix) -> npt.NDArray[np.intp]:
        return np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]

    return float(np.mean([np.isin(a, b).mean() for a, b in zip(first(one), first(two), strict=True)]))
