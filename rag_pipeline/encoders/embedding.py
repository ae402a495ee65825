"""Our encoders as LlamaIndex's own embeddings, for code that knows only those.

Enters: an encoder, then texts or pictures as LlamaIndex passes them. Leaves: lists of floats. This module knows
nothing of the models behind the encoders. What it saves is the encoder's fingerprint, never its weights.
"""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import Field
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.schema import ImageType

from rag_pipeline.errors import ConfigError, InputError, MismatchError
from rag_pipeline.protocols import ImageEncoder, TextEncoder
from rag_pipeline.types import FloatMatrix

__all__ = ["ImageTextEmbedding", "TextEmbedding"]


class TextEmbedding(BaseEmbedding):
    """The dense vectors of a :class:`~rag_pipeline.protocols.TextEncoder`. Too long texts are refused, not cut.

    ``to_dict`` keeps the encoder's fingerprint as ``model_name``; ``from_dict(data, encoder=...)`` brings it back.
    """

    encoder: TextEncoder = Field(exclude=True, repr=False, description="Makes the vectors.")
    # The encoder cuts its own batches to a token budget; LlamaIndex's default of 10 would starve it.
    embed_batch_size: int = Field(default=256, gt=0, le=2048)

    def model_post_init(self, context: Any) -> None:
        """Name the model by its fingerprint."""
        super().model_post_init(context)
        self.model_name = self.encoder.fingerprint

    @classmethod
    def class_name(cls) -> str:
        """Return the name that marks the class in serialised form."""
        return "RagTextEmbedding"

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> TextEmbedding:
        """Rebuild from ``to_dict``; pass the encoder again as ``encoder``.

        Raises:
            ConfigError: ``encoder`` was not passed.
            MismatchError: it is another encoder than the saved one.
        """
        _check_encoder(cls.class_name(), data, kwargs.get("encoder"))
        embedding: TextEmbedding = super().from_dict(dict(data), **kwargs)
        return embedding

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return _lists(self.encoder.encode_passages(texts).dense)

    def _get_query_embedding(self, query: str) -> Embedding:
        return _lists(self.encoder.encode_queries([query]).dense)[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)


class ImageTextEmbedding(MultiModalEmbedding):
    """Pictures and texts in one space by an :class:`~rag_pipeline.types.ImageEncoder`; takes ClipEmbedding's place.

    A picture is a path or a ``BytesIO``, whatever its position. ``to_dict`` keeps the encoder's fingerprint as
    ``model_name``; ``from_dict(data, encoder=...)`` brings it back.
    """

    encoder: ImageEncoder = Field(exclude=True, repr=False, description="Makes the vectors.")
    embed_batch_size: int = Field(default=32, gt=0, le=2048)

    def model_post_init(self, context: Any) -> None:
        """Name the model by its fingerprint."""
        super().model_post_init(context)
        self.model_name = self.encoder.fingerprint

    @classmethod
    def class_name(cls) -> str:
        """Return the name that marks the class in serialised form."""
        return "RagImageTextEmbedding"

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> ImageTextEmbedding:
        """Rebuild from ``to_dict``; pass the encoder again as ``encoder``.

        Raises:
            ConfigError: ``encoder`` was not passed.
            MismatchError: it is another encoder than the saved one.
        """
        _check_encoder(cls.class_name(), data, kwargs.get("encoder"))
        embedding: ImageTextEmbedding = super().from_dict(dict(data), **kwargs)
        return embedding

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        return _lists(self.encoder.encode_images([_read(picture) for picture in img_file_paths]))

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return _lists(self.encoder.encode_queries(texts))

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embedding(query)

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)

    async def _aget_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)


def _check_encoder(name: str, data: dict[str, Any], encoder: TextEncoder | ImageEncoder | None) -> None:
    saved = data.get("model_name")
    if encoder is None:
        raise ConfigError(f"a saved {name} holds no weights, it names {saved!r}; pass encoder=")
    if saved != encoder.fingerprint:
        raise MismatchError(f"saved with encoder {saved!r}, got {encoder.fingerprint!r}; pass the saved one")


def _lists(rows: FloatMatrix) -> list[Embedding]:
    lists: list[Embedding] = rows.tolist()
    return lists


def _read(picture: ImageType) -> bytes:
    if isinstance(picture, BytesIO):
        return picture.getvalue()
    try:
        return Path(picture).read_bytes()
    except OSError as exc:
        raise InputError(f"cannot read picture {picture}: {exc.strerror}; pass a file that can be read") from exc
