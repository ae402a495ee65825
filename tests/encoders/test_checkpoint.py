"""Devices and precisions mean what their names say."""

import json
from pathlib import Path

import pytest
import torch
from transformers import XLMRobertaModel

from rag_pipeline.encoders.checkpoint import load_model, read_config, resolve_devices, resolve_dtype
from rag_pipeline.errors import ConfigError, UnavailableError

CPU = torch.device("cpu")
CUDA = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]


def test_auto_is_every_cuda_device_or_the_cpu() -> None:
    assert resolve_devices("cpu") == [CPU]
    assert resolve_devices("auto") == (CUDA or [CPU])


@pytest.mark.skipif(not CUDA, reason="no CUDA device on this machine")
def test_cuda_is_all_and_a_number_is_one() -> None:
    assert resolve_devices("cuda") == CUDA
    assert resolve_devices("cuda:0") == [torch.device("cuda", 0)]


def test_other_names_are_refused() -> None:
    for name in ("tpu", "meta", "cuda:x"):
        with pytest.raises(ConfigError, match=rf"device '{name}' .* use auto, cpu, cuda or cuda:N"):
            resolve_devices(name)
    with pytest.raises(UnavailableError, match="device 'cuda:99' is not on this machine"):
        resolve_devices("cuda:99")


@pytest.mark.skipif(bool(CUDA), reason="there is a CUDA device on this machine")
def test_cuda_must_be_there() -> None:
    with pytest.raises(UnavailableError, match="device 'cuda' is not on this machine"):
        resolve_devices("cuda")


def test_auto_is_full_precision_on_the_cpu_only() -> None:
    assert resolve_dtype("auto", CPU) == torch.float32
    assert resolve_dtype("auto", torch.device("cuda", 1)) == torch.float16
    assert resolve_dtype("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(ConfigError, match="dtype 'int8' is not known; use auto, float32, bfloat16, float16"):
        resolve_dtype("int8", CPU)


def test_weights_are_loaded_in_the_precision_that_is_asked_for(tiny_bge_m3: Path) -> None:
    assert load_model(XLMRobertaModel, tiny_bge_m3).dtype == torch.float32
    assert load_model(XLMRobertaModel, tiny_bge_m3, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_config_that_cannot_be_read_is_refused(tiny_bge_m3: Path, tmp_path: Path) -> None:
    assert read_config(tiny_bge_m3)["hidden_size"] == 64
    with pytest.raises(UnavailableError, match=r"config\.json is missing"):
        read_config(tmp_path)
    for content in ("not JSON", json.dumps([1])):
        (tmp_path / "config.json").write_text(content, encoding="utf-8")
        with pytest.raises(UnavailableError, match=r"cannot read .*config\.json .*; run: rag models verify"):
            read_config(tmp_path)
