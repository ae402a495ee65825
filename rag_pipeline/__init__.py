"""Local retrieval over folders of documents: search and cited answers, nothing leaves the machine.

>>> import rag_pipeline
>>> rag_pipeline.__version__
'0.1.0'
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag_pipeline.app import RagPipeline
    from rag_pipeline.config import Settings
    from rag_pipeline.errors import ConfigError, InputError, MismatchError, RagError, UnavailableError

# Unstructured phones home on import and on every call, huggingface_hub asks its hub for revisions, Qdrant's server
# reports usage, ONNX Runtime (since 1.29) collects for its maker what sessions do, and an id of the machine: all are
# told not to before any of them is imported. A value that the user has set is kept.
NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "SCARF_NO_ANALYTICS": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "QDRANT__TELEMETRY_DISABLED": "true",
    "ORT_DISABLE_TELEMETRY": "1",
}
for _name, _value in NO_TELEMETRY.items():
    os.environ.setdefault(_name, _value)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else every fork of a process that has tokenized warns

__version__ = "0.1.0"
__all__ = ["ConfigError", "InputError", "MismatchError", "RagError", "RagPipeline", "Settings", "UnavailableError"]

_HOMES = {"RagPipeline": "app", "Settings": "config"}


def __getattr__(name: str) -> object:
    """Load a public name on first use, so that importing the package costs milliseconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
