"""Token weights to term weights: ours beside the function that FlagEmbedding ships, on the token ids of real texts.

    python benchmarks/sparse.py FOLDER --texts CORPUS.jsonl [--limit 256] [--repeats 9]

FOLDER holds BGE-M3's tokenizer, or that of ``make_checkpoint.py``. Weights are random: all above 0, then half 0.
Both sides get what the model's forward hands over, outside of the time: FlagEmbedding lists of ids, ours arrays. Each
time both run one after the other; the ratio is that of the medians, and both must give the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import CellType, CodeType, FunctionType, SimpleNamespace
from typing import Any

import numpy as np

from rag_pipeline.encoders.bge_m3 import max_weights
from rag_pipeline.encoders.checkpoint import load_tokenizer


def flagembeddings_function(folder: Path) -> Callable[..., dict[str, float]]:
    """Return FlagEmbedding's own ``_process_token_weights``, which is local to one of its methods."""
    from FlagEmbedding.inference.embedder.encoder_only import m3
    from transformers import AutoTokenizer

    method = m3.M3Embedder.encode_single_device
    method = getattr(method, "__wrapped__", method)
    [code] = [
        part
        for part in method.__code__.co_consts
        if isinstance(part, CodeType) and part.co_name == "_process_token_weights"
    ]
    embedder = SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained(folder))
    return FunctionType(code, vars(m3), closure=tuple(CellType(embedder) for _ in code.co_freevars))


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what it returns, and its milliseconds."""
    started = time.perf_counter()
    made = run()
    return made, (time.perf_counter() - started) * 1000


def main() -> None:
    """Measure, compare, and print a line for each kind of weights."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=Path, required=True, help="JSON lines with text, and perhaps title")
    parser.add_argument("--limit", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    chosen = parser.parse_args()
    with chosen.texts.open(encoding="utf-8") as lines:
        texts = [f"{one.get('title', '')} {one['text']}" for one in map(json.loads, islice(lines, chosen.limit))]
    tokenizer = load_tokenizer(chosen.folder)
    special = np.array([tokenizer.token_to_id(token) for token in ("<s>", "</s>", "<pad>", "<unk>")])
    lists = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
    rows = [np.array(ids, dtype=np.int64) for ids in lists]
    loop = flagembeddings_function(chosen.folder)
    source = np.random.default_rng(0)
    for kind, kept in (("all above 0", 1.0), ("half of them 0", 0.5)):
        weights = [((source.random(len(r)) + 1e-3) * (source.random(len(r)) < kept)).astype(np.float32) for r in rows]
        theirs, ours = [], []
        for _ in range(chosen.repeats):
            expected, took = timed(lambda weights=weights: list(map(loop, weights, lists)))  # type: ignore[misc]
            theirs.append(took)
            found, took = timed(lambda weights=weights: max_weights(rows, weights, special))  # type: ignore[misc]
            ours.append(took)
        for vector, one in zip(found, expected, strict=True):
            made = dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))
            assert made == {int(token): float(weight) for token, weight in one.items()}
        before, now = statistics.median(theirs), statistics.median(ours)
        print(f"{sum(map(len, rows))} tokens, weights {kind}: {before:.1f} -> {now:.1f} ms, {before / now:.1f} times")


if __name__ == "__main__":
    main()
