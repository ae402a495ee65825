"""Patterns in, what they pass over out: the settings' ``include`` and ``exclude``, and every folder's ``.ragignore``.

All are gitignore patterns (pathspec). As in Git, a deeper ``.ragignore`` wins over a higher one, its last matching line
decides, and nothing inside an ignored folder can be called back. ``exclude`` wins over all. This module knows nothing
of what files hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pathspec

from rag_pipeline.errors import ConfigError, InputError

__all__ = ["IGNORE_FILE", "Patterns"]

IGNORE_FILE = ".ragignore"


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns in force in one folder below ``root``; ``local`` are those of the ignore files on the way there."""

    root: Path
    include: pathspec.GitIgnoreSpec | None
    exclude: pathspec.GitIgnoreSpec
    local: tuple[tuple[Path, pathspec.GitIgnoreSpec], ...] = ()

    @classmethod
    def of(cls, root: Path, include: Sequence[str], exclude: Sequence[str]) -> Patterns:
        """Start at a root; a file must match one of ``include``, where there are any, and none of ``exclude``.

        Raises:
            ConfigError: a pattern is not one of gitignore's.
        """
        return cls(root, _spec("include", include) if include else None, _spec("exclude", exclude))

    def within(self, folder: Path) -> Patterns:
        """Return the patterns with those of the folder's own ignore file added, if it has one.

        Raises:
            InputError: the ignore file cannot be read, or a line in it is no pattern: what it hides must stay hidden.
        """
        file = folder / IGNORE_FILE
        try:
            spec = pathspec.GitIgnoreSpec.from_lines(file.read_text(encoding="utf-8").splitlines())
        except FileNotFoundError:
            return self
        except (OSError, ValueError) as exc:
            raise InputError(
                f"its {IGNORE_FILE} cannot be read ({exc}); correct it: the folder is left as it was"
            ) from exc
        return replace(self, local=(*self.local, (folder, spec)))

    def pass_over(self, path: Path, *, folder: bool) -> bool:
        """Tell whether a file is left out, or a folder not entered."""
        mark = "/" if folder else ""
        inside = path.relative_to(self.root).as_posix() + mark
        if self.exclude.match_file(inside) or not (folder or self.include is None or self.include.match_file(inside)):
            return True
        for base, spec in reversed(self.local):
            verdict = spec.check_file(path.relative_to(base).as_posix() + mark).include
            if verdict is not None:
                return verdict
        return False


def _spec(name: str, patterns: Sequence[str]) -> pathspec.GitIgnoreSpec:
    try:
        return pathspec.GitIgnoreSpec.from_lines(patterns)
    except ValueError as exc:
        raise ConfigError(f"ingest.{name} holds {list(patterns)}: {exc}; write gitignore patterns") from exc
