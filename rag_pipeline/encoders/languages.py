"""The languages that a model was trained on, as its publisher states them.

Enters: a model's name, and its folder where it is the user's own. Leaves: ISO 639-1 codes, or None where nobody says.
This module loads no weights; what it reads changes no vector, only how much a model is trusted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rag_pipeline.encoders.registry import registry

__all__ = ["trained_languages"]


def trained_languages(name: str, path: Path | None = None) -> frozenset[str] | None:
    """Return the languages of a model of the registry, or those that the model card in its folder names.

    The card is ``README.md``, with ``language`` in its front matter, as sentence-transformers and the hub have it.
    """
    if name in registry():
        stated = registry()[name].options.get("languages")
        return frozenset(str(stated).split()) if stated else None
    return _carded(path / "README.md") if path is not None else None


def _carded(card: Path) -> frozenset[str] | None:
    try:
        lines = card.read_text(encoding="utf-8").splitlines()
        front = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)])) if lines[:1] == ["---"] else {}
    except (OSError, ValueError, yaml.YAMLError):  # no card, no front matter, or none that can be read
        return None
    stated: Any = front.get("language") if isinstance(front, dict) else None
    # YAML reads the code of Norwegian as false; a card may also say "multilingual", which names no language.
    codes = ["no" if code is False else str(code) for code in (stated if isinstance(stated, list) else [stated])]
    return frozenset(code for code in codes if len(code) == 2) or None
