"""``rag models quantize`` and ``validate`` as another program meets them."""

from pathlib import Path

import pytest

from tests.command_line import assert_one_line, document, rag

NAME = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.mark.soak
def test_a_model_is_quantized_validated_and_used(models_dir: Path, tmp_path: Path) -> None:
    made = document(rag("models", "quantize", NAME, "--json", RAG_MODELS_DIR=str(models_dir)))
    assert set(made) == {"model", "graphs"}
    assert [graph["kind"] for graph in made["graphs"]] == ["int8", "bf16"]
    for graph in made["graphs"]:
        assert set(graph) == {
            "kind", "size", "files", "measures", "tokens_per_s", "torch_tokens_per_s", "refused",
        }  # fmt: skip
        assert graph["measures"]["dense"]["cosine_mean"] > 0.99
        assert graph["tokens_per_s"] > 0

    # On texts of the user's own, of which none is long.
    sample = tmp_path / "sample.txt"
    sample.write_text("\n\n".join(f"Pump {number} is serviced every {number + 3} weeks." for number in range(70)))
    shown = rag("models", "validate", NAME, "--sample", sample, RAG_MODELS_DIR=str(models_dir))
    assert shown.returncode in (0, 1), shown.stderr
    assert "int8" in shown.stdout
    assert "bf16" in shown.stdout


@pytest.mark.soak
def test_what_no_longer_agrees_is_one_line_and_an_exit_code(models_dir: Path) -> None:
    (graph,) = models_dir.glob("openvino/*/int8.bin")
    broken = bytearray(graph.read_bytes())
    broken[2_000_000:8_000_000] = bytes(6_000_000)
    graph.write_bytes(broken)
    done = rag("models", "validate", NAME, "--json", RAG_MODELS_DIR=str(models_dir))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert f"{NAME}: the int8 graph is not run any more: dense cosine_mean 0." in line


def test_what_cannot_be_quantized_is_said_in_one_line(models_dir: Path) -> None:
    done = rag("models", "quantize", "bge-small-en-v1.5", RAG_MODELS_DIR=str(models_dir))
    assert_one_line(done, 2, "is an ONNX file, which is quantized already")


def test_without_a_graph_there_is_nothing_to_validate(tmp_path: Path) -> None:
    done = rag("models", "validate", NAME, RAG_MODELS_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "make it with rag models quantize" in done.stderr
