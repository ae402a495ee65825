"""LlamaIndex's view of parsing: a reader of folders.

Enters: a folder. Leaves: one LlamaIndex Document for each file, which carries its elements for the node parser. It is
thin: files are found and parsed by the other modules here. Pictures have no place in a LlamaIndex Document of text and
are left out; ``RagPipeline`` keeps them.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from llama_index.core.readers.base import BasePydanticReader
from llama_index.core.schema import Document as LlamaDocument
from pydantic import Field

from rag_pipeline.documents.discover import discover, read_source
from rag_pipeline.documents.node_parser import llama_document
from rag_pipeline.documents.workers import ParsePool
from rag_pipeline.types import Document

__all__ = ["FolderReader"]

logger = logging.getLogger(__name__)


class FolderReader(BasePydanticReader):
    """Reads a folder into one Document a file, in the order of paths. Files that cannot be read are logged.

    A Document's id is that of the file's content, as in an index of ``RagPipeline``.
    """

    workers: int = Field(default=1, ge=1, description="Parsing processes.")
    timeout_s: float = Field(default=120.0, gt=0, description="For one file.")
    memory_mb: int = Field(default=4096, ge=512, description="For one parsing process.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serialises this class."""
        return "FolderReader"

    def load_data(self, folder: Path | str, **_: Any) -> list[LlamaDocument]:
        """Read every file of ``folder``.

        Raises:
            InputError: there is no such folder.
        """
        discovery = discover([Path(folder)])
        for refused in discovery.refused:
            logger.warning("skipped %s: %s", refused.path, refused.reason)
        found = []
        with ParsePool(self.workers, self.timeout_s, self.memory_mb) as pool:
            for source, outcome in pool.parse_all(read_source(one) for one in discovery.files):
                if not isinstance(outcome, Document):
                    logger.warning("skipped %s: %s", source.path, outcome)
                elif outcome.elements:
                    found.append(llama_document(outcome))
        return sorted(found, key=lambda document: str(document.metadata["path"]))
