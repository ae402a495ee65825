"""``--page-images DIR``: the pages of hits and citations as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_pipeline.errors import ConfigError, InputError, UnavailableError

if TYPE_CHECKING:
    from rag_pipeline.evidence import Citation, Evidence

__all__ = ["PageFolder", "PageImages"]

PageImages = Annotated[
    Path | None, typer.Option("--page-images", metavar="DIR", help="Write the pages, with the text marked, as PNG.")
]


class PageFolder:
    """A folder in which files are numbered in the order of the output; None: no pictures are wanted."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._written = 0

    def draw(self, shown: Evidence | Citation) -> dict[str, Any]:
        """Write the page, and return ``image``: its file and where it is marked, or None, with the reason on stderr.

        Raises:
            ConfigError: the folder cannot be written to.
        """
        from rag_pipeline import terminal
        from rag_pipeline.documents.page_image import mark_page
        from rag_pipeline.wire import box_json

        if self._folder is None:
            return {}
        try:
            marked = mark_page(shown)
        except (InputError, UnavailableError) as exc:
            terminal.say(f"no picture: {exc}")
            return {"image": None}
        page = "" if shown.page is None else f"-page-{shown.page}"
        file = self._folder / f"{self._written + 1:03}-{Path(shown.path).stem[:80]}{page}.png"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            marked.image.save(file)
        except OSError as exc:
            raise ConfigError(f"cannot write {file}: {exc.strerror}; name another --page-images folder") from exc
        self._written += 1
        terminal.say(f"written: {file}")
        return {"image": {"file": str(file), "boxes": [box_json(box) for box in marked.boxes]}}
