"""Conversion and the refusal to install what does not agree.

The real all-MiniLM-L6-v2 shows that the graphs of a trained model agree; small random models of the exact architectures
show that every output is converted. Ranks of random models are no measure: their scores lie within rounding.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rag_pipeline.encoders.agreement import built_in_sample
from rag_pipeline.encoders.bge_m3 import load_bge_m3
from rag_pipeline.encoders.checkpoint import load_tokenizer
from rag_pipeline.encoders.hashes import sha256_of
from rag_pipeline.encoders.openvino import find_graph
from rag_pipeline.encoders.quantize import GraphReport, quantize, validate
from rag_pipeline.encoders.runner import Transformer
from rag_pipeline.encoders.sentence import load_sentence
from rag_pipeline.encoders.weights import locate
from rag_pipeline.retrieval.cross_encoder import load_reranker


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Transformer, Path]:
    weights = locate("all-MiniLM-L6-v2", tmp_path_factory.mktemp("models"))
    return load_sentence(weights), weights.folder


@pytest.fixture(scope="module")
def installed(
    minilm: tuple[Transformer, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[GraphReport]]:
    model, folder = minilm
    target = tmp_path_factory.mktemp("openvino") / "minilm"
    return target, quantize(model, load_tokenizer(folder), built_in_sample(), target)


def test_real_weights_agree_and_are_installed(installed: tuple[Path, list[GraphReport]]) -> None:
    folder, reports = installed
    assert {report.kind: report.refused for report in reports} == {"int8": (), "bf16": ()}
    cosines = {report.kind: report.measures["dense"]["cosine_mean"] for report in reports}
    assert cosines["int8"] > 0.995
    assert cosines["bf16"] > 0.9995
    assert sorted(path.name for path in folder.iterdir()) == [
        "bf16.bin", "bf16.xml", "int8.bin", "int8.xml", "report.json",
    ]  # fmt: skip
    assert find_graph(folder, "int8")
    assert find_graph(folder, "bf16")


def test_sizes_and_hashes_are_those_on_disk(installed: tuple[Path, list[GraphReport]]) -> None:
    folder, reports = installed
    written = json.loads((folder / "report.json").read_text())
    assert set(written) == {"sample", "machine", "versions", "graphs"}
    for report in reports:
        assert report.size == sum((folder / name).stat().st_size for name in report.files)
        assert report.files == {name: sha256_of(folder / name) for name in report.files}
        assert written["graphs"][report.kind] == report.to_json()
    int8, bf16 = (report.size for report in reports)
    # 22.7 million weights, of one byte and of two.
    assert int8 == pytest.approx(22.7e6, rel=0.05)
    assert bf16 == pytest.approx(45.4e6, rel=0.05)


def test_all_outputs_of_bge_m3_are_converted(tiny_bge_m3: Path, tmp_path: Path) -> None:
    reports = quantize(load_bge_m3(tiny_bge_m3), load_tokenizer(tiny_bge_m3), built_in_sample(), tmp_path / "graphs")
    for report in reports:
        assert set(report.measures) == {"dense", "sparse", "multi"}
        for measures in report.measures.values():
            assert measures["cosine_min"] > 0.995


@pytest.mark.soak
def test_the_logit_of_a_reranker_is_converted(tiny_reranker: Path, tmp_path: Path) -> None:
    reports = quantize(load_reranker(tiny_reranker), load_tokenizer(tiny_reranker), built_in_sample(), tmp_path / "g")
    for report in reports:
        assert report.measures["logit"]["difference_max"] < 0.1
        assert report.measures["logit"]["spearman"] > 0.9


def test_torch_is_as_it_was(tiny_bge_m3: Path, tmp_path: Path) -> None:
    model = load_bge_m3(tiny_bge_m3)
    with torch.inference_mode():
        before = model.run([np.array([0, 9, 2])], ["dense"])["dense"]
        quantize(model, load_tokenizer(tiny_bge_m3), built_in_sample(), tmp_path / "graphs")
        assert torch.equal(model.run([np.array([0, 9, 2])], ["dense"])["dense"], before)


def with_outliers(folder: Path, size: float, input_: float) -> Transformer:
    """BGE-M3 with one enormous column in some layers, for which their input is always ``input_``.

    One scale for a row of INT8 weights then leaves nothing of the other columns; and above 65504 it is no float16.
    """
    model = load_bge_m3(folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in model.backbone.encoder.layer:
            layer.attention.output.LayerNorm.weight[0] = 0
            layer.attention.output.LayerNorm.bias[0] = input_
            layer.intermediate.dense.weight[:, 0] = size * torch.randn(128).sign()
    return model


def test_a_graph_that_does_not_agree_is_not_installed(tiny_bge_m3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "graphs"
    model = with_outliers(tiny_bge_m3, 3e4, 0)
    int8, bf16 = quantize(model, load_tokenizer(tiny_bge_m3), built_in_sample(), folder)
    assert any(one.startswith("dense cosine_mean 0.") and one.endswith("is below 0.99") for one in int8.refused)
    assert bf16.refused == ()
    assert not (folder / "int8.xml").exists()
    assert not (folder / "int8.bin").exists()
    assert (find_graph(folder, "int8"), find_graph(folder, "bf16")) == (False, True)


def test_where_none_agrees_nothing_is_touched(tiny_bge_m3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "graphs"
    folder.mkdir()
    (folder / "before").touch()
    model = with_outliers(tiny_bge_m3, 1e6, 5e-6)
    reports = quantize(model, load_tokenizer(tiny_bge_m3), built_in_sample(), folder)
    assert all(report.refused for report in reports)
    assert [path.name for path in folder.iterdir()] == ["before"]
    assert list((tmp_path / ".partial").iterdir()) == []


@pytest.mark.soak
def test_validation_measures_again_and_stops_what_is_not_the_model_any_more(
    minilm: tuple[Transformer, Path], installed: tuple[Path, list[GraphReport]]
) -> None:
    model, weights = minilm
    folder, before = installed
    tokenizer = load_tokenizer(weights)
    again = validate(model, tokenizer, built_in_sample(), folder)
    assert [report.measures for report in again] == [report.measures for report in before]

    whole = bytearray((folder / "int8.bin").read_bytes())
    whole[2_000_000:8_000_000] = bytes(6_000_000)  # embeddings
    (folder / "int8.bin").write_bytes(whole)
    assert not find_graph(folder, "int8"), "its files are not those that agreed"
    int8, bf16 = validate(model, tokenizer, built_in_sample(), folder)
    assert int8.refused
    assert not bf16.refused
    assert (find_graph(folder, "int8"), find_graph(folder, "bf16")) == (False, True)
