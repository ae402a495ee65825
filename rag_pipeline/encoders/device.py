"""What a device can do: the rate of its matrix multiplication, and the memory that torch has had on it.

This module is for measuring. It knows no model.
"""

from __future__ import annotations

import statistics
import time

import torch

__all__ = ["accelerator", "matmul_rate", "vram_mb"]


def accelerator() -> str | None:
    """Return the name of the first CUDA device, None without one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def matmul_rate(device: str, dtype: str, *, tokens: int = 4096, width: int = 1024) -> float:
    """Return the FLOP/s of (tokens, width) x (width, 4 width) on a device: what a transformer's layers are made of."""
    kind = getattr(torch, dtype)
    one = torch.randn(tokens, width, device=device).to(kind)
    other = torch.randn(width, 4 * width, device=device).to(kind)

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    runs = []
    for _ in range(6):
        wait()
        started = time.perf_counter()
        for _ in range(3):
            one @ other
        wait()
        runs.append((time.perf_counter() - started) / 3)
    return 2 * tokens * width * 4 * width / statistics.median(runs[1:])


def vram_mb() -> float:
    """Return the most memory that torch has had on the first CUDA device, in MB; 0 without one."""
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
