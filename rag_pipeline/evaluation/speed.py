"""How fast a model runs here: sides taken in turns on the same texts, and their medians.

Enters: texts and functions that encode or score them. Leaves: tokens and texts per second, milliseconds, FLOP. These
machines are noisy: only ratios of one run mean anything. This module knows no model.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag_pipeline.errors import InputError

__all__ = ["Speed", "compare", "latencies_ms", "model_flops", "peak_mb", "read_texts", "spread"]


@dataclass(frozen=True, slots=True)
class Speed:
    """What one side did: ``seconds`` is the median of its runs over ``texts`` texts of ``tokens`` tokens in all."""

    side: str
    seconds: float
    texts: int
    tokens: int

    @property
    def tokens_per_s(self) -> float:
        """Tokens of text, without padding."""
        return self.tokens / self.seconds

    @property
    def texts_per_s(self) -> float:
        """Texts, or pairs."""
        return self.texts / self.seconds


def compare(
    sides: Mapping[str, Callable[[], object]],
    *,
    texts: int,
    tokens: int,
    repeat: int = 3,
    on_run: Callable[[str, int, int], None] = lambda side, done, total: None,
) -> list[Speed]:
    """Run each side once uncounted, then ``repeat`` times in turns; return them in their order."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(repeat + 1):
        for side, work in sides.items():
            started = time.perf_counter()
            work()
            seconds[side].append(time.perf_counter() - started)
            on_run(side, number + 1, repeat + 1)
    return [Speed(side, statistics.median(runs[1:]), texts, tokens) for side, runs in seconds.items()]


def latencies_ms(work: Callable[[str], object], queries: Sequence[str], *, repeat: int = 3) -> tuple[float, float]:
    """Return p50 and p95 in milliseconds of ``work``, one query at a time, after one that is not counted."""
    work(queries[0])
    seconds = []
    for query in list(queries) * repeat:
        started = time.perf_counter()
        work(query)
        seconds.append(time.perf_counter() - started)
    ordered = sorted(seconds)
    p50, p95 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 for share in (0.5, 0.95))
    return p50, p95


def model_flops(config: Path, lengths: Sequence[int]) -> float:
    """Return the FLOP of one forward over texts of these lengths, by the ``config.json`` of a BERT or XLM-R.

    For each token and layer 8 w^2 for the projections, 4 w i for the two inner products, 4 w t for attention to t
    tokens (Kaplan et al. 2020, table 1, without the embeddings).
    """
    values = json.loads(config.read_text(encoding="utf-8"))
    width, inner, layers = values["hidden_size"], values["intermediate_size"], values["num_hidden_layers"]
    per_token = 8 * width**2 + 4 * width * inner
    return float(layers * sum(length * (per_token + 4 * width * length) for length in lengths))


def spread(texts: Sequence[str], count: int) -> list[str]:
    """Return ``count`` texts, evenly spread over all."""
    if len(texts) <= count:
        return list(texts)
    return [texts[number * len(texts) // count] for number in range(count)]


def read_texts(place: Path) -> list[str]:
    """Return the texts of a BEIR folder (its passages), of JSON lines (``title`` and ``text``), or a file's lines.

    Raises:
        InputError: there is no such file, or there is no text in it.
    """
    file = place / "corpus.jsonl" if place.is_dir() else place
    try:
        lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
        if file.suffix == ".jsonl":
            rows = [json.loads(line) for line in lines]
            lines = [f"{row.get('title') or ''} {row['text']}".strip() for row in rows]
    except OSError as exc:
        raise InputError(
            f"cannot read {file}: {exc.strerror}; give a file of texts, or a folder in BEIR layout"
        ) from exc
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise InputError(f"{file} has lines that are no JSON object with a text; correct them") from exc
    if not lines:
        raise InputError(f"{file} holds no text; give another")
    return lines


def peak_mb() -> float:
    """Return the most memory that this process has had, in MB."""
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
