"""A question, in words or as a picture -> its vector for each leg.

Enters: questions, and which legs are wanted. Leaves: vectors by the names of legs. LlamaIndex's instrumentation hears
of it as from its own embeddings: one forward pass gives several legs, so that it cannot go through ``BaseEmbedding``.
This module knows neither the engine nor how legs become one list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index_instrumentation import get_dispatcher

from rag_pipeline.errors import ConfigError, InputError
from rag_pipeline.protocols import ImageEncoder, TextEncoder
from rag_pipeline.types import FloatMatrix, Mode, VectorValue

__all__ = ["QuestionEncoder", "mode_with"]

dispatcher = get_dispatcher(__name__)


def mode_with(image: bytes | None, query: str, mode: Mode) -> Mode:
    """Return the mode that is searched where a picture may be given too: without words, the image leg alone.

    Raises:
        ConfigError: the mode has no place for a picture, or none for words beside it.
    """
    if image is None:
        return mode
    if mode in ("dense", "sparse"):
        raise ConfigError(f"mode {mode!r} has no place for a picture; search in mode hybrid or image")
    if not query.strip():
        return "image"
    if mode == "image":
        raise ConfigError("mode 'image' looks for words or for a picture, not both; search in mode hybrid")
    return mode


@dataclass(frozen=True, slots=True)
class QuestionEncoder:
    """The encoders, as questions need them.

    Args:
        text: Makes the vectors of the legs of text.
        image: Makes those of the image leg; None: there is no such leg.
        languages: ISO 639-1 codes among which a question's language is looked for; empty: the encoder decides.
    """

    text: TextEncoder
    image: ImageEncoder | None = None
    languages: frozenset[str] = frozenset()

    def vectors(self, queries: Sequence[str], mode: Mode, image: bytes | None = None) -> list[dict[str, VectorValue]]:
        """Return the vectors of each query by leg; with ``image``, the image leg looks for that picture.

        Raises:
            InputError: a query is blank, or longer than the encoder takes.
            ConfigError: pictures are asked for and there is no image encoder.
        """
        models = [model.fingerprint for model in (self.text, self.image) if model is not None]
        dispatcher.event(EmbeddingStartEvent(model_dict={"model_name": ", ".join(models)}))
        vectors = self._encode(queries, mode, image)
        rows = [
            (query, value.tolist())
            for query, legs in zip(queries, vectors, strict=True)
            for value in legs.values()
            if isinstance(value, np.ndarray) and value.ndim == 1
        ]
        dispatcher.event(EmbeddingEndEvent(chunks=[query for query, _ in rows], embeddings=[row for _, row in rows]))
        return vectors

    def _encode(self, queries: Sequence[str], mode: Mode, image: bytes | None) -> list[dict[str, VectorValue]]:
        if mode == "image":
            return [{"image": row} for row in self._image_rows(queries, image)]
        _refuse_blank(queries)
        encoded = self.text.encode_queries(queries, self.languages)
        vectors = [encoded.legs(number) for number in range(len(queries))]
        if mode != "hybrid":
            vectors = [{mode: legs[mode]} for legs in vectors]
        elif image is not None or self.image is not None:
            for legs, row in zip(vectors, self._image_rows(queries, image), strict=True):
                legs["image"] = row
        for legs, terms in zip(vectors, encoded.sparse, strict=True):
            if not len(terms.indices):  # a question of stop words alone has none, and engines refuse such a query
                legs.pop("sparse", None)
        return vectors

    def _image_rows(self, queries: Sequence[str], image: bytes | None) -> FloatMatrix:
        if self.image is None:
            raise ConfigError(
                "mode 'image' needs an image encoder and this profile has none: pictures are found by caption and "
                "context only; search in mode hybrid, or choose a profile with an image model (configs/bge-m3.yaml)"
            )
        if image is not None:
            return self.image.encode_images([image])
        _refuse_blank(queries)
        return self.image.encode_queries(queries)


def _refuse_blank(queries: Sequence[str]) -> None:
    for query in queries:
        if not query.strip():
            raise InputError(f"the query is blank ({query!r}); write what to look for")
