"""Which engine runs a model: what the settings say, and which graphs are there."""

from pathlib import Path

import pytest
import torch

from rag_pipeline.config import RerankerSettings, Settings, TextSettings
from rag_pipeline.encoders.agreement import built_in_sample
from rag_pipeline.encoders.weights import Weights, locate
from rag_pipeline.errors import ConfigError, UnavailableError
from rag_pipeline.parts import make_text_encoder
from rag_pipeline.runners import load_transformer, make_runner, quantize_model, validate_model

NAME = "all-MiniLM-L6-v2"
on_the_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="auto is CUDA on this machine")


def settings_with(models_dir: Path, **text: object) -> Settings:
    return Settings(models_dir=models_dir, text=TextSettings.model_validate({"model": NAME} | text))


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    quantize_model(settings_with(folder), NAME, built_in_sample())
    return folder


@pytest.fixture(scope="module")
def weights(models_dir: Path) -> Weights:
    return locate(NAME, models_dir)


def runs(models_dir: Path, weights: Weights, **text: object) -> str:
    settings = settings_with(models_dir, **text)
    return make_runner(settings, settings.text, weights).name


@on_the_cpu
def test_auto_is_openvino_where_a_graph_agreed(models_dir: Path, weights: Weights) -> None:
    assert runs(models_dir, weights).startswith("openvino cpu int8")
    assert runs(models_dir, weights, graph="bf16").startswith("openvino cpu bf16")
    assert runs(models_dir, weights, backend="openvino", device="cpu").startswith("openvino cpu int8")


def test_auto_is_torch_where_there_is_none(tmp_path: Path, weights: Weights) -> None:
    assert runs(tmp_path, weights, device="cpu") == "torch cpu float32"


def test_torch_is_torch_and_so_is_a_precision(models_dir: Path, weights: Weights) -> None:
    assert runs(models_dir, weights, backend="torch", device="cpu") == "torch cpu float32"
    assert runs(models_dir, weights, dtype="bfloat16", device="cpu") == "torch cpu bfloat16"


def test_a_graph_of_other_weights_is_not_taken(models_dir: Path, tmp_path: Path) -> None:
    source = locate(NAME, models_dir).folder
    for path in source.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(source)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    own = locate(NAME, models_dir, tmp_path)
    assert runs(models_dir, own, device="cpu").startswith("openvino"), "the same bytes elsewhere are the same weights"
    with (tmp_path / "config.json").open("a") as stream:
        stream.write("\n")
    assert runs(models_dir, locate(NAME, models_dir, tmp_path), device="cpu") == "torch cpu float32"


def test_openvino_without_a_graph_says_how_to_make_one(tmp_path: Path, weights: Weights) -> None:
    with pytest.raises(UnavailableError, match=f"make it with rag models quantize {NAME}, or set backend: auto"):
        runs(tmp_path, weights, backend="openvino")


def test_openvino_runs_on_no_gpu(models_dir: Path, weights: Weights) -> None:
    with pytest.raises(ConfigError, match="runs on the CPU, not on 'cuda'; set device: cpu"):
        runs(models_dir, weights, backend="openvino", device="cuda")


def test_the_encoder_is_the_same_on_either(models_dir: Path) -> None:
    texts = ["The pump has a warranty of five years.", "Der Kühlraum wird zwischen 2 und 6 Grad gehalten."]
    int8 = make_text_encoder(settings_with(models_dir, device="cpu"))
    fp32 = make_text_encoder(settings_with(models_dir, backend="torch", device="cpu"))
    assert int8.fingerprint == fp32.fingerprint
    cosines = (int8.encode_passages(texts).dense * fp32.encode_passages(texts).dense).sum(axis=1)
    assert ((cosines > 0.99) & (cosines < 0.99999)).all()


def test_what_runs_on_no_torch_is_not_quantized(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is an ONNX file, which is quantized already"):
        quantize_model(Settings(models_dir=tmp_path), "bge-small-en-v1.5", built_in_sample())
    with pytest.raises(ConfigError, match="no model is called 'nothing'"):
        validate_model(Settings(models_dir=tmp_path), "nothing", built_in_sample())


def test_pictures_are_not_quantized(tiny_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a clip model; choose a text encoder or a reranker"):
        load_transformer(locate("clip-vit-base-patch32", tmp_path, tiny_clip))


def test_a_reranker_is_validated_where_the_settings_have_its_folder(tiny_reranker: Path, tmp_path: Path) -> None:
    chosen = RerankerSettings(model="bge-reranker-v2-m3", path=tiny_reranker, device="cpu")
    settings = Settings(models_dir=tmp_path, reranker=chosen)
    with pytest.raises(UnavailableError, match="there is no graph in"):
        validate_model(settings, "bge-reranker-v2-m3", built_in_sample())
