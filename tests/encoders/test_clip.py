"""CLIP runs for real, on a small checkpoint; transformers' own features are the oracle."""

import shutil
import subprocess
import sys
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
from rag_pipeline.errors import InputError, OutOfMemoryError, UnavailableError
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


@pytest.mark.parametrize("mode", ["P", "PA", "LA", "RGBA", "1", "L", "I;16", "RGB", "CMYK"])
def test_every_kind_of_pixel_is_made_smaller(mode: str) -> None:
    # Twice the side from which blocks are averaged, in each mode that Pillow has for pictures; half of it is white.
    whole = Image.new("RGB", (1800, 1800), "white")
    whole.paste("black", (0, 0, 900, 1800))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(whole.convert("L")).astype(np.uint16) << 8)
    else:
        picture = whole.convert("P").convert("PA") if mode == "PA" else whole.convert(mode)
    smaller = decode_picture(encoded(picture, "TIFF"))
    assert (smaller.size, smaller.mode) == ((900, 900), "RGB")
    assert (smaller.getpixel((100, 100)), smaller.getpixel((800, 100))) == ((0, 0, 0), (255, 255, 255))


def test_transparency_of_a_palette_in_png() -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putpixel((0, 0), 0)
    data = encoded(picture, transparency=0)
    assert corner(data) == (255, 255, 255)
    assert decode_picture(data).getpixel((7, 7)) == (255, 0, 0)


def test_a_colour_that_stands_for_transparency() -> None:
    assert corner(encoded(Image.new("RGB", (8, 8), (9, 9, 9)), transparency=(9, 9, 9))) == (255, 255, 255)


def test_cmyk_becomes_rgb() -> None:
    red = corner(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    np.testing.assert_allclose(red, (255, 0, 0), atol=4)


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    assert corner(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_so_is_that_of_other_formats(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    assert corner(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_large_picture_is_turned_once(kind: str) -> None:
    picture = Image.new("RGB", (3600, 1800), "black")
    picture.paste("red", (0, 0, 900, 900))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = decode_picture(encoded(picture, kind, exif=exif))
    assert upright.size[1] == 2 * upright.size[0] < 3600
    np.testing.assert_allclose(upright.getpixel((upright.width - 9, 9)), (255, 0, 0), atol=9)
    np.testing.assert_allclose(upright.getpixel((9, 9)), (0, 0, 0), atol=9)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("JPEG", {"quality": 98})])
def test_the_model_sees_a_large_picture_as_if_scaled_once(kind: str, options: dict[str, int]) -> None:
    # With detail about as fine as a photograph's: at 224 pixels the grain spans three.
    whole = noise(640, 600).resize((1900, 1800), Image.Resampling.BICUBIC)
    smaller = decode_picture(encoded(whole, kind, **options))
    assert smaller.size == {"PNG": (950, 900), "JPEG": (950, 900)}[kind]
    difference = pixels_as_published(smaller) - pixels_as_published(whole)
    grey_level = 1 / 255 / 0.27  # in the units that the model is given
    assert np.sqrt((difference**2).mean()) < grey_level


MEMORY = """
import re, sys
from PIL import Image
from rag_pipeline.encoders.clip import decode_picture
def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
data = open(sys.argv[1], "rb").read()
before = peak_mb()
print(*decode_picture(data).size, peak_mb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of one program's memory")
@pytest.mark.parametrize(("kind", "mode", "most_mb"), [("JPEG", "RGB", 60), ("PNG", "RGB", 400), ("PNG", "RGBA", 800)])
def test_a_huge_picture_needs_little_more_memory_than_its_pixels(
    kind: str, mode: str, most_mb: int, tmp_path: Path
) -> None:
    # 80 million pixels: 240 MB as RGB, 320 as RGBA, of which averaging takes a copy; they were 920 to 1530 MB when
    # everything was done at full size. JPEG is decoded at an eighth.
    (tmp_path / "huge").write_bytes(encoded(Image.new(mode, (10_000, 8_000)), kind))
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "huge")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    width, height, mb = map(int, done.stdout.split())
    assert (width, height) == (1250, 1000)
    assert mb < most_mb


class OutOfMemory:
    """A hook that lets a model run on at most ``most`` inputs at once, as a device does that has little memory."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.seen: list[int] = []

    def __call__(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        inputs = kwargs.get("pixel_values", kwargs.get("input_ids"))
        self.seen.append(len(args[0] if inputs is None else inputs))
        if self.seen[-1] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")


def test_batches_are_halved_until_they_fit(tiny_clip: Path, encoder: ClipEncoder) -> None:
    pictures = [encoded(noise(64, 64, seed)) for seed in range(7)]
    small = ClipEncoder(tiny_clip, "tiny", device="cpu")
    hook = OutOfMemory(2)
    for tower in (small._model.vision_model, small._model.text_model):
        tower.register_forward_pre_hook(hook, with_kwargs=True)
    np.testing.assert_allclose(small.encode_images(pictures), encoder.encode_images(pictures), atol=1e-5)
    assert max(hook.seen) == 7
    np.testing.assert_allclose(small.encode_queries(TEXTS), encoder.encode_queries(TEXTS), atol=1e-5)
    hook.most = 0
    with pytest.raises(OutOfMemoryError, match=r"one of pictures 1 to 7 does not fit the memory of the device"):
        small.encode_images(pictures)


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
