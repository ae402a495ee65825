"""Pictures and the texts that look for them -> CLIP's vectors, in one space (Radford et al. 2021).

Enters: encoded pictures (PNG, JPEG, ...) or texts, and a folder with the published files. Leaves: unit rows. This
module knows nothing of captions, of documents, or of the engine.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from rag_pipeline.encoders.checkpoint import load_model, load_tokenizer, resolve_device
from rag_pipeline.errors import InputError, OutOfMemoryError, UnavailableError
from rag_pipeline.types import FloatMatrix

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    Rows = TypeVar("Rows", torch.Tensor, list[list[int]])

__all__ = ["ClipEncoder", "decode_picture"]

logger = logging.getLogger(__name__)

MAX_PIXELS = 89_478_485
"""Pillow's own threshold for a decompression bomb: 256 MiB of RGB."""
_SHORT = 896
"""Shortest side that is kept of a larger picture, four times what CLIP sees: smaller ones are scaled once, as CLIP was
published; of larger ones, blocks of pixels are averaged first, before copies are made of them."""
_LARGE = 16_000_000
"""Pixels from which on pictures are decoded one at a time, so that memory does not grow with the number of cores."""
_one_large = threading.Lock()
_BATCH = 32
"""Pictures, or texts, of one forward."""


class ClipEncoder:
    """CLIP as an :class:`~rag_pipeline.types.ImageEncoder`; threads may share one.

    Args:
        folder: the published files: ``config.json``, ``tokenizer.json``, ``preprocessor_config.json``, weights.
        fingerprint: what must be equal for two vectors to be comparable.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; float32 on the CPU, float16 on CUDA.

    Raises:
        UnavailableError: a file is missing, unreadable or of another model.
    """

    def __init__(self, folder: Path, fingerprint: str, *, device: str = "auto") -> None:
        # The processor on Pillow and numpy: the one that CLIP was published with, and it needs no torchvision.
        from transformers import CLIPImageProcessorPil, CLIPModel

        self.fingerprint = fingerprint
        self._device = resolve_device(device)
        self._model = load_model(CLIPModel, folder, self._device)
        self._tokenizer = load_tokenizer(folder)
        try:
            self._processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as exc:
            raise UnavailableError(
                f"preprocessor_config.json is missing or unreadable in {folder}; run: rag models pull"
            ) from exc
        self.dim = self._model.visual_projection.out_features
        self.max_tokens = self._model.text_model.embeddings.position_embedding.num_embeddings

    def encode_images(self, images: Sequence[bytes]) -> FloatMatrix:
        """Encode pictures given as encoded bytes; (n, dim) float32 unit rows. See :func:`decode_picture`.

        Raises:
            InputError: a picture cannot be decoded, or is too large; it is named by its number.
            OutOfMemoryError: the device has no memory for one picture.
        """
        vectors = np.empty((len(images), self.dim), dtype=np.float32)
        start = 0
        for pixels in self._decoded(images):
            end = start + len(pixels)
            vectors[start:end] = _halving(self._image_features, pixels, f"one of pictures {start + 1} to {end}")
            start = end
        return vectors

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        """Encode texts that look for pictures; (n, dim) float32 unit rows.

        CLIP's text tower reads 77 tokens. A longer text is cut there, not refused: a question is often long, and its
        text leg has read all of it.

        Raises:
            OutOfMemoryError: the device has no memory for one text.
        """
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        for number, ids in enumerate(rows):
            if len(ids) > self.max_tokens:
                logger.debug("a text of %d tokens is cut to %d", len(ids), self.max_tokens)
                rows[number] = [*ids[: self.max_tokens - 1], ids[-1]]
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        by_length = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
        for start in range(0, len(rows), _BATCH):
            batch = by_length[start : start + _BATCH]
            vectors[batch] = _halving(self._text_features, [rows[row] for row in batch], "one of the texts")
        return vectors

    def _decoded(self, images: Sequence[bytes]) -> Iterator[torch.Tensor]:
        """Yield the pixels of batches, (n, 3, 224, 224) float32; the next is decoded while the model has this one."""
        import torch

        def pixels(row: int) -> torch.Tensor:
            picture = decode_picture(images[row], f"picture {row + 1} of {len(images)}")
            values: torch.Tensor = self._processor(images=picture, return_tensors="pt")["pixel_values"][0]
            return values

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:

            def begin(start: int) -> list[Future[torch.Tensor]]:
                return [pool.submit(pixels, row) for row in range(start, min(start + _BATCH, len(images)))]

            start, coming = 0, begin(0)
            while coming:
                start += _BATCH
                ready = torch.stack([one.result() for one in coming])
                coming = begin(start)
                yield ready

    def _image_features(self, pixels: torch.Tensor) -> FloatMatrix:
        return _unit_rows(self._model.get_image_features(pixels.to(self._device, self._model.dtype)).pooler_output)

    def _text_features(self, rows: Sequence[Sequence[int]]) -> FloatMatrix:
        import torch

        # Padded with the end token, as published: the tower is causal and pools at the first end.
        tokens = torch.full((len(rows), max(map(len, rows))), rows[0][-1], dtype=torch.int64)
        mask = torch.zeros_like(tokens)
        for line, row in enumerate(rows):
            tokens[line, : len(row)] = torch.tensor(row)
            mask[line, : len(row)] = 1
        return _unit_rows(self._model.get_text_features(tokens.to(self._device), mask.to(self._device)).pooler_output)


def decode_picture(data: bytes, name: str = "the picture") -> Image:
    """Decode a picture to RGB as a person would see it: turned by its EXIF orientation, transparency on white.

    Of an animation, or of a file with pages, it is the first. A picture that is much larger than what CLIP sees comes
    back smaller.

    Raises:
        InputError: ``name`` cannot be decoded, or has, when scaled for the model, more than 89 million pixels.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(data)) as picture:
            short, long = sorted(picture.size)
            # Scaling the short side up to 224 blows up a thin strip, whatever its size on disk.
            if max(short * long, 224 * 224 * long // max(short, 1)) > MAX_PIXELS:
                raise InputError(f"{name} is too large: {picture.width} x {picture.height} pixels; scale it down")
            if short > _SHORT:
                # JPEG alone can be decoded at a half, a quarter or an eighth; other formats take no notice.
                picture.draft(None, (picture.width * _SHORT // short, picture.height * _SHORT // short))
            with _one_large if picture.width * picture.height >= _LARGE else nullcontext():
                return _upright_rgb(picture)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise InputError(f"{name} is too large for Pillow's limit on pixels; scale it down") from exc
    except Exception as exc:  # a decoder meets a broken file with whatever error the bytes lead it to
        raise InputError(f"{name} cannot be decoded ({type(exc).__name__}); save it again as PNG or JPEG") from exc


def _upright_rgb(picture: Image) -> Image:
    """Make it small before copies are made of it; turn it; take away palette, depth, inks and transparency."""
    from PIL import Image, ImageOps

    picture.load()
    exif = picture.getexif()
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode in ("P", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    factor = min(picture.size) // _SHORT
    if factor > 1:
        picture = picture.reduce(factor)
    picture.info["exif"] = exif.tobytes()  # what the steps above made has none
    picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        page = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(page, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _halving(forward: Callable[[Rows], FloatMatrix], rows: Rows, which: str) -> FloatMatrix:
    """Run a batch; where the device has no memory for it, its halves."""
    import torch

    try:
        with torch.inference_mode():
            return forward(rows)
    except torch.OutOfMemoryError as exc:
        if len(rows) == 1:
            raise OutOfMemoryError(
                f"{which} does not fit the memory of the device, even alone; free the device, or choose device cpu"
            ) from exc
    half = len(rows) // 2
    logger.warning("no device memory for %d inputs at once; going on with %d", len(rows), half)
    return np.concatenate([_halving(forward, rows[:half], which), _halving(forward, rows[half:], which)])


def _unit_rows(features: torch.Tensor) -> FloatMatrix:
    from torch.nn import functional

    rows: FloatMatrix = functional.normalize(features.float(), dim=-1).cpu().numpy()
    return rows
