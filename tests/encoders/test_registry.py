import pytest

from rag_pipeline.encoders.registry import HubSource, PinnedFile, find, registry
from rag_pipeline.errors import ConfigError


def test_every_entry_is_pinned_and_its_loader_is_known() -> None:
    loaders = {"onnx", "sentence", "transformers", "bge-m3", "clip", "onnx-reranker", "torch-reranker"}
    assert {model.loader for model in registry().values()} == loaders


def test_sizes_are_the_true_ones() -> None:
    sizes = {name: round(model.size / 1e6) for name, model in registry().items()}
    assert sizes["bge-small-en-v1.5"] == 35
    assert sizes["bge-m3"] == 2295


def test_m3_has_its_heads() -> None:
    assert {"sparse_linear.pt", "colbert_linear.pt"} <= {file.name for file in registry()["bge-m3"].files}


def test_bare_models_state_what_their_files_do_not() -> None:
    bare = [model for model in registry().values() if model.loader == "transformers"]
    assert {model.name: (model.options["pooling"], model.options["query_prefix"]) for model in bare} == {
        "bge-small-en-v1.5-fp32": ("cls", "Represent this sentence for searching relevant passages: "),
        "multilingual-e5-small": ("mean", "query: "),
    }
    for model in bare:
        assert {"pooling", "query_prefix", "passage_prefix", "max_tokens", "dim", "languages"} == set(model.options)


@pytest.mark.parametrize("revision", ["main", "0123456"])
def test_a_branch_or_a_short_commit_is_no_revision(revision: str) -> None:
    with pytest.raises(ValueError, match="40 hex digits"):
        HubSource("someone/tiny", revision)


def test_a_pin_needs_a_hash() -> None:
    with pytest.raises(ValueError, match="64 hex digits"):
        PinnedFile("model.onnx", 10, "")


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(
        ConfigError, match=r"no model is called 'bge'; choose one of bge-small-en-v1\.5, .*, or set path"
    ):
        find("bge")
