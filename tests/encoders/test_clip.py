"""CLIP runs for real, on a small checkpoint; transformers' own features are the oracle."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPModel

from rag_pipeline.encoders.clip import ClipEncoder, decode_picture
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.protocols import ImageEncoder

TEXTS = ["A photograph of a red pump", "a blue tank", "", "sales by quarter, 2019 to 2024 " * 40]


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)


def pixels_as_published(picture: Image.Image) -> npt.NDArray[np.float32]:
    """Shortest side to 224 (bicubic), centre crop, [0, 1], CLIP's mean and deviation: (3, 224, 224)."""
    width, height = picture.size
    short = min(width, height)
    scaled = picture.resize((224 * width // short, 224 * height // short), Image.Resampling.BICUBIC)
    left, top = (scaled.width - 224) // 2, (scaled.height - 224) // 2
    values = np.asarray(scaled.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return ((values - np.float32(mean)) / np.float32(deviation)).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def encoder(tiny_clip: Path) -> ClipEncoder:
    return ClipEncoder(tiny_clip, "tiny", device="cpu")


@pytest.fixture(scope="module")
def oracle(tiny_clip: Path) -> CLIPModel:
    return CLIPModel.from_pretrained(tiny_clip).eval()


def unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_pictures_equal_transformers_features(encoder: ClipEncoder, oracle: CLIPModel) -> None:
    pictures = [noise(300, 224, 1), noise(224, 500, 2), noise(448, 448, 3), noise(100, 60, 4)]
    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack([pixels_as_published(picture) for picture in pictures]))
        expected = oracle.get_image_features(pixel_values=pixels).pooler_output.numpy()
    vectors = encoder.encode_images([encoded(picture) for picture in pictures])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, unit(expected), atol=1e-5)
    assert np.ptp(vectors @ vectors.T) > 0.01, "vectors that are all equal would prove nothing"


def test_texts_equal_transformers_features(encoder: ClipEncoder, oracle: CLIPModel, tiny_clip: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_clip)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.inference_mode():
        expected = oracle.get_text_features(**inputs).pooler_output.numpy()
    vectors = encoder.encode_queries(TEXTS)
    np.testing.assert_allclose(vectors, unit(expected), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_it_is_an_image_encoder(encoder: ClipEncoder) -> None:
    assert isinstance(encoder, ImageEncoder)
    assert (encoder.fingerprint, encoder.dim, encoder.max_tokens) == ("tiny", 32, 77)
    assert encoder.encode_images([]).shape == encoder.encode_queries([]).shape == (0, 32)


def test_more_than_one_batch_and_many_threads_change_nothing(encoder: ClipEncoder) -> None:
    pictures = [encoded(noise(64, 64, seed)) for seed in range(40)]
    together = encoder.encode_images(pictures)
    with ThreadPoolExecutor(8) as pool:
        alone = np.concatenate(list(pool.map(lambda picture: encoder.encode_images([picture]), pictures)))
    np.testing.assert_allclose(together, alone, atol=1e-5)


def corner(data: bytes) -> tuple[int, ...]:
    """The colour of the top left pixel, as decoded."""
    picture = decode_picture(data)
    assert picture.mode == "RGB"
    colour = picture.getpixel((0, 0))
    assert isinstance(colour, tuple)
    return colour


def test_a_picture_is_turned_upright() -> None:
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste("red", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways: turn a quarter clockwise to see it upright
    upright = decode_picture(encoded(picture, exif=exif))
    assert upright.size == (20, 40)
    assert upright.getpixel((19, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        pytest.param(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), (255, 255, 255), id="transparent"),
        pytest.param(Image.new("RGBA", (8, 8), (255, 0, 0, 255)), (255, 0, 0), id="opaque"),
        pytest.param(Image.new("LA", (8, 8), (0, 0)), (255, 255, 255), id="grey with alpha"),
        pytest.param(Image.new("L", (8, 8), 77), (77, 77, 77), id="grey"),
        pytest.param(Image.new("1", (8, 8), 1), (255, 255, 255), id="black and white"),
        pytest.param(Image.new("I;16", (8, 8), 0x4D00), (77, 77, 77), id="16 bits"),
        pytest.param(
            Image.new("RGB", (8, 8), (1, 2, 3)).convert("P", palette=Image.Palette.ADAPTIVE), (1, 2, 3), id="palette"
        ),
    ],
)
def test_every_kind_of_pixel_becomes_rgb(picture: Image.Image, expected: tuple[int, ...]) -> None:
    assert corner(encoded(picture)) == expected


def test_a_see_through_palette_is_on_white() -> None:
    assert corner(encoded(Image.new("P", (8, 8), 0), "GIF", transparency=0)) == (255, 255, 255)


def test_cmyk_becomes_rgb() -> None:
    red = corner(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    np.testing.assert_allclose(red, (255, 0, 0), atol=4)


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    assert corner(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == (255, 0, 0)


WHOLE = encoded(noise(64, 64))


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", WHOLE[: len(WHOLE) // 2], WHOLE[:40] + bytes(200) + WHOLE[240:], b"<svg/>"],
    ids=["empty", "text", "cut short", "damaged", "svg"],
)
def test_a_broken_picture_is_named_and_refused(encoder: ClipEncoder, data: bytes) -> None:
    with pytest.raises(InputError, match=r"picture 2 of 2 cannot be decoded \(\w+\); save it again") as caught:
        encoder.encode_images([encoded(noise(64, 64)), data])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(14_000, 7_000), (20_000, 20_000), (4_000, 1)], ids=["big", "bomb", "strip"])
def test_a_picture_that_would_fill_memory_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="is too large"):
        decode_picture(encoded(Image.new("1", size)))


@pytest.mark.parametrize("name", ["preprocessor_config.json", "tokenizer.json", "config.json", "model.safetensors"])
def test_a_checkpoint_that_lacks_a_file_is_refused(tiny_clip: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(tiny_clip, folder)
    (folder / name).unlink()
    with pytest.raises(UnavailableError, match=rf"{name}.* is missing .*; run: rag models pull"):
        ClipEncoder(folder, "tiny")


def test_the_published_pickle_layout_loads_too(encoder: ClipEncoder, tiny_clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(tiny_clip, folder)
    (folder / "model.safetensors").unlink()
    torch.save(load_file(tiny_clip / "model.safetensors"), folder / "pytorch_model.bin")
    again = ClipEncoder(folder, "tiny", device="cpu")
    np.testing.assert_allclose(again.encode_queries(TEXTS), encoder.encode_queries(TEXTS), atol=1e-6)
