"""Texts -> token ids -> what a model makes of them, some at a time: the tokenizer works ahead of the model.

Enters: texts, a tokenizer and a :class:`~rag_pipeline.encoders.runner.Runner`. Leaves: token ids and outputs. This
module knows neither what the outputs mean nor where the model runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from rag_pipeline.errors import InputError, OutOfMemoryError
from rag_pipeline.types import FloatMatrix, TokenIds

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rag_pipeline.encoders.runner import Runner

__all__ = ["run_texts"]

_AT_ONCE = 1024
"""Texts: batches by length need many to choose from, and a call with a whole corpus should not wait for all of it."""


def run_texts(
    runner: Runner,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    outputs: Collection[str],
    *,
    max_tokens: int,
    truncate: bool = False,
    at_once: int = _AT_ONCE,
    name: str = "the model",
) -> Iterator[tuple[list[TokenIds], dict[str, list[FloatMatrix]]]]:
    """Yield, for ``at_once`` texts after the other, their token ids and the outputs; the next are tokenized meanwhile.

    Args:
        runner: the model.
        tokenizer: neither truncates nor pads.
        texts: in their order.
        outputs: see :meth:`~rag_pipeline.encoders.runner.Runner.run`.
        max_tokens: what the model reads, special tokens included.
        truncate: cut the end of a text that is longer; its last special token is kept.
        at_once: how many texts are run, and sorted by length, together.
        name: of the model, for the error.

    Raises:
        InputError: a text is longer than ``max_tokens`` and ``truncate`` is false.
        OutOfMemoryError: the device has no memory for one text.
    """

    def tokenized(start: int) -> list[TokenIds]:
        some = list(texts[start : start + at_once])
        rows = [np.array(encoding.ids, dtype=np.int64) for encoding in tokenizer.encode_batch_fast(some)]
        for number, ids in enumerate(rows):
            if len(ids) <= max_tokens:
                continue
            if not truncate:
                raise InputError(
                    f"text {start + number + 1} of {len(texts)} has {len(ids)} tokens, {name} reads {max_tokens}; "
                    "split it, or allow truncation"
                )
            rows[number] = np.append(ids[: max_tokens - 1], ids[-1])
        return rows

    with ThreadPoolExecutor(1) as ahead:  # starts no thread for a single question
        rows = tokenized(0) if texts else []
        for start in range(0, len(texts), at_once):
            following = start + at_once
            coming = ahead.submit(tokenized, following) if following < len(texts) else None
            try:
                found = runner.run(rows, outputs)
            except OutOfMemoryError as exc:
                if len(texts) <= at_once:
                    raise
                raise OutOfMemoryError(f"from text {start + 1} of {len(texts)} on: {exc}") from exc
            yield rows, found
            if coming is not None:
                rows = coming.result()
