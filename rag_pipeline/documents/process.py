"""The inside of a parsing process: files in through a socket, documents out, until the other side closes it.

Runs in a :class:`~rag_pipeline.documents.sandbox.Sandbox`. It knows nothing of time limits and of other processes:
the parent has those.
"""

from __future__ import annotations

import gc
import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from rag_pipeline.documents.messages import (
    Busy,
    OutOfMemory,
    Parsed,
    Ready,
    Refused,
    Task,
    encode,
    read_task,
    send,
)  # fmt: skip
from rag_pipeline.documents.options import ParseOptions
from rag_pipeline.documents.sandbox import refuse_network
from rag_pipeline.documents.scratch import empty
from rag_pipeline.errors import InputError, MissingProgramError, UnavailableError
from rag_pipeline.types import Document, SourceFile

__all__: list[str] = []

_ATTEMPTS = 3
_FIRST_PAUSE_S = 0.2

Parse = Callable[[SourceFile, ParseOptions], Document]


def _serve(line: socket.socket, folder: Path) -> None:
    refuse_network()
    # spaCy's thinc would import torch if it could: two seconds and 180 MB in every worker, for nothing.
    sys.modules["torch"] = None  # type: ignore[assignment]
    # Unstructured imports what draws pages with everything that layout models need, pandas and matplotlib among it:
    # 1.4 seconds and 146 MB more. Nothing here draws with it.
    layout = ModuleType("unstructured_inference.inference.layout")
    layout.convert_pdf_to_image = None  # type: ignore[attr-defined]
    sys.modules[layout.__name__] = layout
    from rag_pipeline.documents.parse import parse, warm_up

    warm_up()
    # pdfminer makes many small objects and few cycles: looking for those takes a fifth of its time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    send(line, encode(Ready()))
    while (task := read_task(line)) is not None:
        send(line, _answer(parse, task))
        empty(folder)


def _answer(parse: Parse, task: Task) -> bytes:
    """Parse one file; whatever comes of it is a reply."""
    try:
        return encode(Parsed(_patiently(parse, task)))
    except MissingProgramError as exc:
        return encode(Refused(_plain(exc), exc.program))
    except InputError as exc:
        return encode(Refused(_plain(exc)))
    except UnavailableError as exc:
        return encode(Busy(_plain(exc)))
    except MemoryError:
        return encode(OutOfMemory())


def _patiently(parse: Parse, task: Task) -> Document:
    """Try again, after a little while, what failed for no reason in the file."""
    attempts = Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(multiplier=_FIRST_PAUSE_S),
        retry=retry_if_exception_type(UnavailableError),
        reraise=True,
    )
    return attempts(parse, task.source, task.options)


def _plain(exc: Exception) -> str:
    """What an error says, as text that can be encoded: it may quote a name that is no Unicode."""
    return str(exc).encode("utf-8", "replace").decode("utf-8")


if __name__ == "__main__":
    logging.disable()  # nobody reads it, and it may quote the document
    _serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
