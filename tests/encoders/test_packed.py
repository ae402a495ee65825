"""Texts end to end give what transformers gives for each text alone, and for all of them padded."""

import copy
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedModel, XLMRobertaModel

from rag_pipeline.encoders.packed import pack, run_packed
from rag_pipeline.types import TokenIds

LENGTHS = [5, 5, 5, 9, 2, 40, 40, 17, 5]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def xlmr(tiny_bge_m3: Path) -> PreTrainedModel:
    return XLMRobertaModel.from_pretrained(tiny_bge_m3).eval()


@pytest.fixture(scope="module")
def bert() -> PreTrainedModel:
    torch.manual_seed(1)
    model = BertModel(
        BertConfig(
            vocab_size=100, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128,
            max_position_embeddings=64,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return model.eval()


def rows_of(lengths: list[int], seed: int = 0) -> list[TokenIds]:
    source = torch.Generator().manual_seed(seed)
    return [torch.randint(5, 100, (length,), generator=source).numpy() for length in lengths]


def first_position(model: PreTrainedModel) -> int:
    return 2 if isinstance(model, XLMRobertaModel) else 0


@torch.inference_mode()
def packed_states(model: PreTrainedModel, rows: list[TokenIds]) -> list[torch.Tensor]:
    model = copy.deepcopy(model)  # the oracles below keep an attention of their own
    states = run_packed(model, pack(rows, model.device, first_position=first_position(model)))
    ends = list(accumulate(map(len, rows)))
    return [states[end - len(row) : end] for row, end in zip(rows, ends, strict=True)]


@torch.inference_mode()
def padded_states(model: PreTrainedModel, rows: list[TokenIds]) -> list[torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[model.config.pad_token_id] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return [state[: len(row)] for state, row in zip(states, rows, strict=True)]


@pytest.mark.parametrize("name", ["xlmr", "bert"])
def test_packed_equals_padded_and_alone(name: str, request: pytest.FixtureRequest) -> None:
    model, rows = request.getfixturevalue(name), rows_of(LENGTHS)
    assert model.config._attn_implementation == "sdpa"
    packed, padded = packed_states(model, rows), padded_states(model, rows)
    for row, one, other in zip(rows, packed, padded, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
        [alone] = padded_states(model, [row])
        torch.testing.assert_close(one, alone, atol=1e-5, rtol=0)
    assert (packed[0] - packed[1]).abs().max() > 0.1, "texts that all look alike would prove nothing"


@pytest.mark.parametrize("name", ["xlmr", "bert"])
def test_a_text_does_not_see_its_neighbours(name: str, request: pytest.FixtureRequest) -> None:
    model, rows = request.getfixturevalue(name), rows_of(LENGTHS)
    others = [
        row if number == 3 else new for number, (row, new) in enumerate(zip(rows, rows_of(LENGTHS, 1), strict=True))
    ]
    torch.testing.assert_close(packed_states(model, rows)[3], packed_states(model, others)[3], atol=1e-6, rtol=0)


def test_a_written_pad_token_counts_as_transformers_counts_it(xlmr: PreTrainedModel) -> None:
    pad = xlmr.config.pad_token_id
    row = [0, 40, pad, 50, pad, pad, 60, 2]
    with torch.inference_mode():
        alone = xlmr(input_ids=torch.tensor([row])).last_hidden_state[0]
    torch.testing.assert_close(packed_states(xlmr, [row])[0], alone, atol=1e-5, rtol=0)


def test_positions_start_again_with_each_text() -> None:
    packed = pack([np.array([7, 8, 9]), np.array([5, 1, 6])], CPU, first_position=2)
    assert packed.ids.tolist() == [[7, 8, 9, 5, 1, 6]]
    assert packed.positions.tolist() == [[2, 3, 4, 2, 1, 3]], "id 1, XLM-R's <pad>, is passed over"
    assert packed.starts.tolist() == [0, 3]
    assert packed.bounds.tolist() == [0, 3, 6]
    assert packed.bounds.dtype == torch.int32
    assert packed.owners.tolist() == [0, 0, 0, 1, 1, 1]
    assert pack([np.array([7, 8, 9]), np.array([5, 1])], CPU).positions.tolist() == [[0, 1, 2, 0, 1]]


def test_runs_are_neighbours_of_one_length() -> None:
    assert pack(rows_of(LENGTHS), CPU).runs == [(5, 3), (9, 1), (2, 1), (40, 2), (17, 1), (5, 1)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-4), ("float16", 3e-2), ("bfloat16", 2e-1)])
def test_packed_on_cuda_equals_padded_on_the_cpu(xlmr: PreTrainedModel, dtype: str, atol: float) -> None:
    rows = rows_of(LENGTHS)
    there = copy.deepcopy(xlmr).to("cuda", getattr(torch, dtype))
    for one, other in zip(packed_states(there, rows), padded_states(xlmr, rows), strict=True):
        torch.testing.assert_close(one.float().cpu(), other, atol=atol, rtol=0)
