"""Settings: file, then environment; unknown keys fail in one line that says what to do."""

from pathlib import Path

import pytest

from rag_pipeline.config import Settings, load_settings
from rag_pipeline.errors import ConfigError

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture(autouse=True)
def _no_rag_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("RAG_"):
            monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_compact_is_the_default() -> None:
    assert load_settings(CONFIGS / "compact.yaml") == load_settings()


@pytest.mark.parametrize("name", ["compact", "minilm", "bge-m3"])
def test_each_profile_loads_and_names_itself(name: str) -> None:
    assert load_settings(CONFIGS / f"{name}.yaml").profile == name


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_SEARCH__TOP_K", "9")
    settings = load_settings(write(tmp_path, "search: {top_k: 3, leg_depth: 50}"))
    assert (settings.search.top_k, settings.search.leg_depth) == (9, 50)


def test_an_override_wins_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_INDEX", "from-environment")
    assert load_settings(write(tmp_path, "index: from-file"), index=Path("given")).index == Path("given")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("serch: {top_k: 3}", "unknown key 'serch', did you mean 'search'?"),
        ("search: {topk: 3}", "unknown key 'search.topk', did you mean 'top_k'?"),
        ("search: {top_k: 0}", "search.top_k: Input should be greater than or equal to 1, got 0"),
        ("search: {weights: {bm25: 1}}", "no leg is called bm25; use dense, sparse, image, late"),
        ("search: {weights: {dense: -1}}", "search.weights.dense: Input should be greater than or equal to 0"),
        ("search: {fusion: max}", "search.fusion: Input should be 'auto', 'rrf', 'dbsf', 'relative' or 'convex'"),
        ("sparse: {model: splade}", "use 'bm25' or the text model 'bge-small-en-v1.5'"),
        ("- a list", "holds a list; write keys and values"),
        ("a: [unclosed", "is not valid YAML at line"),
    ],
)
def test_a_wrong_file_is_one_line_with_the_remedy(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read configuration .*absent\.yaml.*pass --config"):
        load_settings(tmp_path / "absent.yaml")


def test_an_unknown_variable_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_SEARHC__TOP_K", "9")
    with pytest.raises(ConfigError, match="RAG_SEARHC__TOP_K is not a setting, did you mean 'search'"):
        load_settings()


def test_a_secret_is_not_shown() -> None:
    settings = Settings.model_validate({"llm": {"base_url": "http://localhost", "model": "m", "api_key": "sk-1"}})
    assert "sk-1" not in repr(settings)
    assert "sk-1" not in str(settings.model_dump())
