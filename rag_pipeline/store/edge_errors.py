"""What Qdrant Edge raises, in the words of ``errors.py``.

The engine raises plain ``Exception`` for everything of its own, so the message is all there is to tell one failure
from another; what is not recognised is an UnavailableError that carries the engine's words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag_pipeline.errors import InputError, MismatchError, RagError, UnavailableError

__all__ = ["translated"]

_FULL = ("No space left", "os error 28", "Disk quota", "os error 122", "insufficient disk space")


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn what the engine raises while it works on the index in ``folder`` into a RagError.

    Raises:
        InputError: a point's id or payload cannot be stored.
        MismatchError: a vector's name or width is not the index's.
        UnavailableError: the index is busy, closed or damaged, the disk is full, or the engine failed.
    """
    try:
        yield
    except RagError:
        raise
    except Exception as exc:
        raise _translate(folder, exc) from exc


def _translate(folder: Path, exc: Exception) -> RagError:
    words = str(exc).partition("\n")[0]
    if "WouldBlock" in words:
        return UnavailableError(f"index {folder} is held by another process; wait for it or use another --index")
    if any(sign in words for sign in _FULL):
        return UnavailableError(f"the disk of index {folder} is full ({words}); free space and run again")
    if "dimension error" in words or "Not existing vector name" in words:
        return MismatchError(f"index {folder} does not take this vector ({words}); use the --config that made it")
    if "Shard is not initialized" in words:
        return UnavailableError(f"index {folder} was closed; open it again")
    if isinstance(exc, ValueError | TypeError):
        return InputError(f"index {folder} cannot store this ({words}); ids are UUIDs, payloads JSON, vectors finite")
    return UnavailableError(f"the engine failed on index {folder} ({words}); run again, or ingest into a new index")
