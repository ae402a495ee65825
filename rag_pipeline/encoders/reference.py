"""The libraries that these models were published with, on the same weights: what ours is compared with.

Enters: checked weights. Leaves: functions that encode texts or score pairs their own way, in batches of the size that
serves them best of those tried, longest texts first as both libraries do. They are development dependencies: one
that is not installed is left out. This module is for measuring; nothing else uses it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence

from rag_pipeline.encoders.weights import Weights

__all__ = ["Encode", "Score", "reference_encoders", "reference_rerankers"]

Encode = Callable[[Sequence[str]], object]
Score = Callable[[str, Sequence[str]], object]

_LONGEST = 8192


def reference_encoders(weights: Weights, device: str, batch_size: int) -> Iterator[tuple[str, Encode]]:
    """Yield (name, encode) for each library that can run these weights; ONNX files have none."""
    if weights.loader == "bge-m3" and _installed("FlagEmbedding"):
        from FlagEmbedding import BGEM3FlagModel

        flag = BGEM3FlagModel(str(weights.folder), use_fp16=device != "cpu", devices=device)
        yield (
            f"FlagEmbedding, {batch_size} a batch",
            lambda texts: flag.encode(list(texts), batch_size=batch_size, max_length=_LONGEST, return_sparse=True),
        )
    if weights.loader in ("bge-m3", "sentence") and _installed("sentence_transformers"):
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

        if weights.loader == "bge-m3":
            body = Transformer(str(weights.folder), max_seq_length=_LONGEST)
            modules = [body, Pooling(body.get_embedding_dimension(), "cls"), Normalize()]
            model = SentenceTransformer(modules=modules, device=device)
        else:
            model = SentenceTransformer(str(weights.folder), device=device, local_files_only=True)
        yield (
            f"sentence-transformers, {batch_size} a batch",
            lambda texts: model.encode(list(texts), batch_size=batch_size, show_progress_bar=False),
        )


def reference_rerankers(weights: Weights, device: str, batch_size: int) -> Iterator[tuple[str, Score]]:
    """Yield (name, score) for each library that can run these weights; ONNX files have none."""
    if weights.loader == "torch-reranker" and _installed("FlagEmbedding"):
        from FlagEmbedding import FlagReranker

        flag = FlagReranker(str(weights.folder), use_fp16=device != "cpu", devices=device)
        yield (
            f"FlagReranker, {batch_size} a batch",
            lambda query, passages: flag.compute_score(
                [(query, passage) for passage in passages], batch_size=batch_size, max_length=512
            ),
        )


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
