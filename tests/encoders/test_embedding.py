"""LlamaIndex's methods, sync and async, lead to the encoder's and give its numbers."""

import asyncio
import base64
import json
from collections.abc import Collection, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.indices.utils import embed_image_nodes
from llama_index.core.schema import ImageNode, TextNode
from PIL import Image

from rag_pipeline.encoders.embedding import ImageTextEmbedding, TextEmbedding
from rag_pipeline.errors import ConfigError, InputError, MismatchError
from rag_pipeline.types import FloatMatrix, SparseVector, TextVectors


class LengthEncoder:
    """A TextEncoder and ImageEncoder of 2 dimensions: the first axis for a query, the second for what is found.

    The length of the text is the sparse weight of term 0. Texts of more than 9 characters are too long.
    """

    fingerprint = "length@1"
    dim = 2
    max_tokens = 9
    sparse_needs_idf = late = False

    def __init__(self) -> None:
        self.calls: list[int] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def encode_passages(
        self, texts: Sequence[str], languages: Sequence[str] | None = None, *, truncate: bool = False
    ) -> TextVectors:
        if any(len(text) > 9 for text in texts) and not truncate:
            raise InputError("too long")
        return self._vectors(texts, [0, 1])

    def encode_queries(self, texts: Sequence[str], candidates: Collection[str] | None = None) -> TextVectors:
        return self._vectors(texts, [1, 0])

    def _vectors(self, texts: Sequence[str], row: list[float]) -> TextVectors:
        self.calls.append(len(texts))
        sparse = tuple(SparseVector.from_weights({0: float(len(text))}) for text in texts)
        return TextVectors(np.array([row] * len(texts), dtype=np.float32).reshape(-1, 2), sparse)


class FirstByteEncoder:
    """An ImageEncoder: (first byte / 255, rest of the unit) for a picture, (1, 0) for a text."""

    fingerprint = "first-byte@1"
    dim = 2

    def encode_images(self, images: Sequence[bytes]) -> FloatMatrix:
        first = np.array([image[0] for image in images], dtype=np.float32) / 255
        return np.stack([first, np.sqrt(1 - first**2)], axis=1)

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        return np.array([[1, 0]] * len(texts), dtype=np.float32)


def test_texts_and_questions_are_encoded_by_their_own_methods() -> None:
    model = TextEmbedding(encoder=LengthEncoder())
    assert isinstance(model, BaseEmbedding)
    assert model.model_name == "length@1"
    assert model.get_text_embedding("a") == [0.0, 1.0]
    assert model.get_query_embedding("a") == [1.0, 0.0]
    assert asyncio.run(model.aget_text_embedding("a")) == [0.0, 1.0]
    assert asyncio.run(model.aget_query_embedding("a")) == [1.0, 0.0]
    assert asyncio.run(model.aget_text_embedding_batch(["a", "b"])) == [[0.0, 1.0]] * 2


def test_many_texts_reach_the_encoder_together() -> None:
    encoder = LengthEncoder()
    assert TextEmbedding(encoder=encoder).get_text_embedding_batch(["a"] * 300) == [[0.0, 1.0]] * 300
    assert encoder.calls == [256, 44]


def test_it_is_a_step_of_llamaindex_pipelines() -> None:
    [node] = TextEmbedding(encoder=LengthEncoder())([TextNode(text="a")])
    assert node.embedding == [0.0, 1.0]


def test_a_text_too_long_is_refused_not_cut() -> None:
    with pytest.raises(InputError, match="too long"):
        TextEmbedding(encoder=LengthEncoder()).get_text_embedding("ten letters")


def test_pictures_come_from_paths_and_streams(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\xff...")
    (tmp_path / "b.png").write_bytes(b"\x00...")
    model = ImageTextEmbedding(encoder=FirstByteEncoder())
    assert isinstance(model, MultiModalEmbedding)
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert model.get_image_embedding(paths[0]) == [1.0, 0.0]
    assert model.get_image_embedding(BytesIO(b"\x00...")) == [0.0, 1.0]
    assert model.get_image_embedding_batch(paths) == [[1.0, 0.0], [0.0, 1.0]]
    assert asyncio.run(model.aget_image_embedding(paths[1])) == [0.0, 1.0]
    assert asyncio.run(model.aget_image_embedding_batch(paths)) == [[1.0, 0.0], [0.0, 1.0]]


def test_texts_are_encoded_to_find_pictures() -> None:
    model = ImageTextEmbedding(encoder=FirstByteEncoder())
    assert model.get_text_embedding("a") == model.get_query_embedding("a") == [1.0, 0.0]
    assert asyncio.run(model.aget_text_embedding("a")) == asyncio.run(model.aget_query_embedding("a")) == [1.0, 0.0]
    assert model.get_text_embedding_batch(["a", "b"]) == [[1.0, 0.0]] * 2
    assert asyncio.run(model.aget_text_embedding_batch(["a"])) == [[1.0, 0.0]]


def test_clip_takes_the_place_of_clip_embedding(tiny_clip: Path, tmp_path: Path) -> None:
    """A real CLIP of random weights, called as LlamaIndex's multi-modal index calls its ClipEmbedding."""
    from rag_pipeline.encoders.clip import ClipEncoder  # imports torch

    encoder = ClipEncoder(tiny_clip, "tiny", device="cpu")
    model = ImageTextEmbedding(encoder=encoder, embed_batch_size=2)
    paths = []
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).resize((300, 240)).save(paths[-1])
    contents = [path.read_bytes() for path in paths]
    expected = encoder.encode_images(contents)
    assert np.ptp(expected @ expected.T) > 0.01, "vectors that are all equal would prove nothing"
    read = BytesIO(contents[1])
    read.seek(0, 2)
    for one in (str(paths[1]), paths[1], BytesIO(contents[1]), read):
        np.testing.assert_allclose(model.get_image_embedding(one), expected[1], atol=1e-5)
        np.testing.assert_allclose(asyncio.run(model.aget_image_embedding(one)), expected[1], atol=1e-5)
    mixed = [str(paths[0]), BytesIO(contents[1]), paths[2], str(paths[3]), BytesIO(contents[4])]
    np.testing.assert_allclose(model.get_image_embedding_batch(mixed), expected, atol=1e-5)
    np.testing.assert_allclose(asyncio.run(model.aget_image_embedding_batch(mixed)), expected, atol=1e-5)
    nodes = [ImageNode(image_path=str(paths[0])), ImageNode(image=base64.b64encode(contents[1]).decode())]
    found = embed_image_nodes(nodes, model)
    np.testing.assert_allclose([found[node.node_id] for node in nodes], expected[:2], atol=1e-5)
    texts = ["a red pump", "a blue tank", "sales by quarter " * 40]
    wanted = encoder.encode_queries(texts)
    np.testing.assert_allclose(model.get_text_embedding_batch(texts), wanted, atol=1e-5)
    np.testing.assert_allclose(asyncio.run(model.aget_text_embedding_batch(texts)), wanted, atol=1e-5)
    np.testing.assert_allclose(model.get_query_embedding(texts[0]), wanted[0], atol=1e-5)


def test_a_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read picture .*gone\.png: No such file"):
        ImageTextEmbedding(encoder=FirstByteEncoder()).get_image_embedding(str(tmp_path / "gone.png"))


def test_a_text_embedding_is_saved_without_the_encoder_and_comes_back_with_it() -> None:
    encoder = LengthEncoder()
    saved = json.loads(TextEmbedding(encoder=encoder, embed_batch_size=8).to_json())
    assert (saved["class_name"], saved["model_name"], saved["embed_batch_size"]) == ("RagTextEmbedding", "length@1", 8)
    assert "encoder" not in saved
    again = TextEmbedding.from_dict(saved, encoder=encoder)
    assert (again.embed_batch_size, again.get_text_embedding("a")) == (8, [0.0, 1.0])
    with pytest.raises(ConfigError, match=r"a saved RagTextEmbedding .* names 'length@1'; pass encoder="):
        TextEmbedding.from_dict(saved)
    encoder.fingerprint = "length@2"
    with pytest.raises(MismatchError, match="saved with encoder 'length@1', got 'length@2'"):
        TextEmbedding.from_dict(saved, encoder=encoder)


def test_an_image_embedding_is_saved_the_same_way() -> None:
    saved = json.loads(ImageTextEmbedding(encoder=FirstByteEncoder()).to_json())
    assert saved["class_name"] == "RagImageTextEmbedding"
    again = ImageTextEmbedding.from_dict(saved, encoder=FirstByteEncoder())
    assert again.get_query_embedding("a") == [1.0, 0.0]
    with pytest.raises(ConfigError, match="pass encoder="):
        ImageTextEmbedding.from_dict(saved)
