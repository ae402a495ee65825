"""Pictures and the texts that look for them -> CLIP's vectors, in one space (Radford et al. 2021).

Enters: encoded pictures (PNG, JPEG, ...) or texts, and a folder with the published files. Leaves: unit rows. This
module knows nothing of captions, of documents, or of the engine.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag_pipeline.encoders.checkpoint import load_model, load_tokenizer, resolve_device, run_batches
from rag_pipeline.errors import InputError, UnavailableError
from rag_pipeline.types import FloatMatrix

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

__all__ = ["ClipEncoder", "decode_picture"]

logger = logging.getLogger(__name__)

MAX_PIXELS = 89_478_485
"""Pillow's own threshold for a decompression bomb: 256 MiB of RGB."""
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
            UnavailableError: the device has no memory for one picture.
        """
        import torch

        vectors = np.empty((len(images), self.dim), dtype=np.float32)

        def forward(batch: list[int]) -> None:
            pictures = [decode_picture(images[row], f"picture {row + 1} of {len(images)}") for row in batch]
            pixels = self._processor(images=pictures, return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                output = self._model.get_image_features(pixels.to(self._device, self._model.dtype))
                vectors[batch] = _unit_rows(output.pooler_output)

        run_batches([1] * len(images), _BATCH, forward)
        return vectors

    def encode_queries(self, texts: Sequence[str]) -> FloatMatrix:
        """Encode texts that look for pictures; (n, dim) float32 unit rows.

        CLIP's text tower reads 77 tokens. A longer text is cut there, not refused: a question is often long, and its
        text leg has read all of it.

        Raises:
            UnavailableError: the device has no memory for one text.
        """
        import torch

        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        for number, ids in enumerate(rows):
            if len(ids) > self.max_tokens:
                logger.debug("a text of %d tokens is cut to %d", len(ids), self.max_tokens)
                rows[number] = [*ids[: self.max_tokens - 1], ids[-1]]
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)

        def forward(batch: list[int]) -> None:
            # Padded with the end token, as published: the tower is causal and pools at the first end.
            tokens = torch.full((len(batch), len(rows[batch[0]])), rows[batch[0]][-1], dtype=torch.int64)
            mask = torch.zeros_like(tokens)
            for line, row in enumerate(batch):
                tokens[line, : len(rows[row])] = torch.tensor(rows[row])
                mask[line, : len(rows[row])] = 1
            with torch.inference_mode():
                output = self._model.get_text_features(tokens.to(self._device), mask.to(self._device))
                vectors[batch] = _unit_rows(output.pooler_output)

        run_batches([len(ids) for ids in rows], _BATCH * self.max_tokens, forward)
        return vectors


def decode_picture(data: bytes, name: str = "the picture") -> Image:
    """Decode a picture to RGB as a person would see it: turned by its EXIF orientation, transparency on white.

    Of an animation, or of a file with pages, it is the first.

    Raises:
        InputError: ``name`` cannot be decoded, or has, when scaled for the model, more than 89 million pixels.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(data)) as picture:
            short, long = sorted(picture.size)
            # Scaling the short side up to 224 blows up a thin strip, whatever its size on disk.
            if max(short * long, 224 * 224 * long // max(short, 1)) > MAX_PIXELS:
                raise InputError(f"{name} is too large: {picture.width} x {picture.height} pixels; scale it down")
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I;16"):
                return Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8)).convert("RGB")
            if upright.has_transparency_data:
                page = Image.new("RGBA", upright.size, "white")
                return Image.alpha_composite(page, upright.convert("RGBA")).convert("RGB")
            return upright.convert("RGB")
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise InputError(f"{name} is too large for Pillow's limit on pixels; scale it down") from exc
    except Exception as exc:  # a decoder meets a broken file with whatever error the bytes lead it to
        raise InputError(f"{name} cannot be decoded ({type(exc).__name__}); save it again as PNG or JPEG") from exc


def _unit_rows(features: torch.Tensor) -> FloatMatrix:
    from torch.nn import functional

    rows: FloatMatrix = functional.normalize(features.float(), dim=-1).cpu().numpy()
    return rows
