"""Which languages a model was trained on: the registry's word, or the model card's."""

from pathlib import Path

import pytest

from rag_pipeline.encoders.languages import trained_languages
from rag_pipeline.encoders.registry import registry


def card(folder: Path, front: str) -> Path:
    (folder / "README.md").write_text(f"---\n{front}\n---\n# A model\n", encoding="utf-8")
    return folder


def test_every_model_of_the_registry_says_its_languages() -> None:
    for name in registry():
        assert "en" in (trained_languages(name) or ()), name
    assert trained_languages("all-MiniLM-L6-v2") == {"en"}
    assert {"de", "ja", "ar", "xh"} <= (trained_languages("bge-m3") or set())


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("language: de", {"de"}),
        ("language:\n- en\n- no\n- zh\nlicense: mit", {"en", "no", "zh"}),  # YAML reads the second one as false
        ("language: [multilingual, fr, es]", {"fr", "es"}),
        ("language: multilingual", None),
        ("license: mit", None),
        ("language: [unclosed", None),
        ("- a list", None),
    ],
)
def test_a_folder_of_ones_own_has_a_card(tmp_path: Path, front: str, expected: set[str] | None) -> None:
    assert trained_languages("mine", card(tmp_path, front)) == expected


def test_no_card_says_nothing(tmp_path: Path) -> None:
    assert trained_languages("mine", tmp_path) is None
    assert trained_languages("mine") is None
    (tmp_path / "README.md").write_text("---\nlanguage: de\n", encoding="utf-8")
    assert trained_languages("mine", tmp_path) is None, "the front matter has no end"
    (tmp_path / "README.md").write_bytes(b"\xff\xfe---")
    assert trained_languages("mine", tmp_path) is None
