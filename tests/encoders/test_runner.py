"""Batches keep to their budget, shrink for one reason only, and never change what comes out."""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from rag_pipeline.encoders.heads import BgeM3Heads, DenseHead
from rag_pipeline.encoders.runner import Plan, TorchRunner, Transformer
from rag_pipeline.errors import OutOfMemoryError
from rag_pipeline.types import FloatMatrix, TokenIds

CPU = torch.device("cpu")
WIDTH = 32
LENGTHS = [5, 12, 3, 12, 7, 30, 5, 1, 12, 9]


def model(*, pooling: str = "cls", pads: bool = False, on_forward: Callable[[int], None] | None = None) -> Transformer:
    """Return a small BERT with BGE-M3's heads; ``on_forward`` is told the tokens of each forward, padding included."""
    torch.manual_seed(0)
    backbone = BertModel(
        BertConfig(
            vocab_size=100, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=64,
        )
    ).eval()  # fmt: skip
    heads = BgeM3Heads(torch.nn.Linear(WIDTH, 1), torch.nn.Linear(WIDTH, WIDTH)).eval()
    if on_forward is not None:

        def watch(_: torch.nn.Module, __: tuple[Any, ...], inputs: dict[str, torch.Tensor]) -> None:
            on_forward(inputs["input_ids"].numel())

        backbone.register_forward_pre_hook(watch, with_kwargs=True)
    return Transformer(backbone, pooling, heads, pads=pads)  # type: ignore[arg-type]


def runner(one: Transformer, *, budget: int = 30, devices: int = 1) -> TorchRunner:
    return TorchRunner(one, [CPU] * devices, torch.float32, budget)


def rows_of(lengths: list[int]) -> list[TokenIds]:
    source = np.random.default_rng(0)
    return [source.integers(1, 100, length) for length in lengths]


def assert_same(found: dict[str, list[FloatMatrix]], expected: dict[str, list[FloatMatrix]]) -> None:
    assert found.keys() == expected.keys()
    for name, values in found.items():
        for value, other in zip(values, expected[name], strict=True):
            assert value.dtype == np.float32
            np.testing.assert_allclose(value, other, atol=1e-5)


def memory_for(tokens: int, sizes: list[int]) -> Callable[[int], None]:
    def check(size: int) -> None:
        sizes.append(size)
        if size > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return check


ROWS = rows_of(LENGTHS)
ALL = ("dense", "sparse", "multi")


@pytest.fixture(scope="module")
def alone() -> dict[str, list[FloatMatrix]]:
    """Every text in a forward of its own."""
    single = [runner(model()).run([row], ALL) for row in ROWS]
    return {name: [found[name][0] for found in single] for name in ALL}


def test_outputs_come_in_the_order_and_shape_of_the_texts(alone: dict[str, list[FloatMatrix]]) -> None:
    found = runner(model()).run(ROWS, ALL)
    assert_same(found, alone)
    for row, dense, sparse, multi in zip(ROWS, found["dense"], found["sparse"], found["multi"], strict=True):
        assert (dense.shape, sparse.shape, multi.shape) == ((WIDTH,), (len(row),), (len(row), WIDTH))


def test_only_what_is_wanted_is_made() -> None:
    assert runner(model()).run(ROWS, ("sparse",)).keys() == {"sparse"}
    assert runner(model()).run([], ("dense",)) == {"dense": []}


def test_a_padded_forward_gives_the_same(alone: dict[str, list[FloatMatrix]]) -> None:
    assert_same(runner(model(pads=True)).run(ROWS, ALL), alone)


@pytest.mark.parametrize("pads", [False, True])
def test_mean_pooling_is_over_the_tokens_of_each_text(pads: bool) -> None:
    one = model(pooling="mean", pads=pads)
    reference = model()
    found = runner(one).run(ROWS, ("dense",))["dense"]
    for row, vector in zip(ROWS, found, strict=True):
        with torch.inference_mode():
            mean = reference.backbone(input_ids=torch.from_numpy(row)[None]).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(mean, dim=0).numpy(), atol=1e-5)


@pytest.mark.parametrize("pads", [False, True])
@pytest.mark.parametrize("budget", [1, 13, 30, 64, 1000])
def test_no_forward_has_more_tokens_than_the_budget(
    budget: int, pads: bool, alone: dict[str, list[FloatMatrix]]
) -> None:
    sizes: list[int] = []
    found = runner(model(pads=pads, on_forward=sizes.append), budget=budget).run(ROWS, ALL)
    assert_same(found, alone)
    assert all(size <= budget or size in LENGTHS for size in sizes)
    if not pads:
        assert sum(sizes) == sum(LENGTHS) == 96
        # Filled as far as whole texts go: by hand for 30, longest first.
        assert sizes == {1: sorted(LENGTHS)[::-1], 30: [30, 24, 28, 14], 1000: [96]}.get(budget, sizes)


def test_the_budget_suits_the_device_unless_it_is_given() -> None:
    sizes: list[int] = []
    one = model(on_forward=sizes.append)
    TorchRunner(one, [CPU], torch.float32).run(rows_of([16] * 130), ("dense",))
    assert sizes == [2048, 32]


def test_devices_share_the_batches_at_the_same_time(alone: dict[str, list[FloatMatrix]]) -> None:
    sizes: list[int] = []
    both = threading.Barrier(2)
    seen = threading.local()

    def together(size: int) -> None:
        sizes.append(size)
        if not hasattr(seen, "first"):
            seen.first = True
            both.wait(timeout=30)  # passes only when two devices are at work

    found = runner(model(on_forward=together), budget=1000, devices=2).run(ROWS, ALL)
    assert_same(found, alone)
    assert sum(sizes) == 96, "each text once"
    assert max(sizes) <= 48, "tokens are shared even where one device could take them all"


def test_a_defect_on_one_device_stops_the_others() -> None:
    calls: list[int] = []

    def fail_once(size: int) -> None:
        calls.append(size)
        if size == 30:
            raise ValueError("a defect")

    rows = rows_of([30] + [2] * 2000)
    with pytest.raises(ValueError, match="a defect"):
        runner(model(on_forward=fail_once), budget=2, devices=2).run(rows, ("dense",))
    assert len(calls) < 2001


def test_without_memory_batches_are_halved_and_nothing_else_changes(alone: dict[str, list[FloatMatrix]]) -> None:
    sizes: list[int] = []
    found = runner(model(on_forward=memory_for(30, sizes)), budget=90).run(ROWS, ALL)
    assert_same(found, alone)
    # 30 + 12 + 12 + 12 + 9 + 7 + 5 = 87 is too much; so is 30 + 12, of its half; 21 tokens, and the 30 alone, are not.
    assert sizes == [87, 42, 30, 12, 12, 12 + 9, 7 + 5 + 5 + 3 + 1]


def test_it_goes_down_to_one_text(alone: dict[str, list[FloatMatrix]]) -> None:
    sizes: list[int] = []
    found = runner(model(on_forward=memory_for(30, sizes)), budget=60, devices=2).run(ROWS, ALL)
    assert_same(found, alone)
    sizes.clear()
    rows = rows_of([9] * 8)
    runner(model(on_forward=memory_for(9, sizes)), budget=72).run(rows, ALL)
    assert sizes == [72, 36, 18, *[9] * 8]


@pytest.mark.parametrize("devices", [1, 2])
def test_a_text_without_memory_is_named(devices: int) -> None:
    one = model(on_forward=memory_for(29, []))
    with pytest.raises(
        OutOfMemoryError, match=r"text 6 of 10 \(30 tokens\) does not fit .*, even alone; free"
    ) as caught:
        runner(one, budget=60, devices=devices).run(ROWS, ALL)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_weights_without_memory_are_an_error_of_memory() -> None:
    class Heavy(DenseHead):
        def to(self, *args: Any, **kwargs: Any) -> "Heavy":
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError, match="the weights do not fit the memory of the device"):
        runner(Transformer(model().backbone, "cls", Heavy()))


def test_the_allocator_of_the_cpu_counts_as_memory_too() -> None:
    def ask_for_too_much(size: int) -> None:
        if size > 12:
            torch.empty(1 << 60, dtype=torch.uint8)

    rows = rows_of([4] * 6)
    assert_same(runner(model(on_forward=ask_for_too_much)).run(rows, ("dense",)), runner(model()).run(rows, ("dense",)))


def test_any_other_error_surfaces_at_once() -> None:
    sizes: list[int] = []

    def fail(size: int) -> None:
        sizes.append(size)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        runner(model(on_forward=fail)).run(ROWS, ALL)
    assert len(sizes) == 1


@pytest.mark.parametrize("devices", [1, 2])
def test_eight_threads_agree_with_one(devices: int, alone: dict[str, list[FloatMatrix]]) -> None:
    shared = runner(model(), devices=devices)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: shared.run(ROWS, ALL), range(24)):
            assert_same(found, alone)


def test_half_precision_is_of_the_backbone_only(alone: dict[str, list[FloatMatrix]]) -> None:
    half = TorchRunner(model(), [CPU], torch.bfloat16, 30)
    assert half.name == "torch cpu bfloat16"
    found = half.run(ROWS, ("dense",))["dense"]
    assert all(vector.dtype == np.float32 for vector in found)
    np.testing.assert_allclose([np.linalg.norm(vector) for vector in found], 1, atol=1e-6)
    assert min(float(a @ b) for a, b in zip(found, alone["dense"], strict=True)) > 0.999


def test_the_dense_head_ends_with_its_layers() -> None:
    torch.manual_seed(1)
    layers = [torch.nn.Linear(WIDTH, 8), torch.nn.Tanh()]
    one = Transformer(model().backbone, "cls", DenseHead(layers).eval())
    backbone = model().backbone
    with torch.inference_mode():
        first = torch.stack([backbone(input_ids=torch.from_numpy(row)[None]).last_hidden_state[0, 0] for row in ROWS])
        expected = torch.nn.functional.normalize(layers[1](layers[0](first)), dim=-1)
    np.testing.assert_allclose(runner(one).run(ROWS, ("dense",))["dense"], expected.numpy(), atol=1e-5)


@given(st.lists(st.integers(1, 50)), st.integers(1, 100), st.booleans())
def test_every_row_is_in_one_batch_within_the_budget(lengths: list[int], budget: int, padded: bool) -> None:
    plan = Plan(lengths, budget, padded=padded)
    batches = list(iter(plan.take, []))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or tokens_of(lengths, batch, padded) <= budget
    for batch, following in pairwise(batches):
        assert tokens_of(lengths, [*batch, following[0]], padded) > budget, "as full as it can be"
    longest = [lengths[batch[0]] for batch in batches]
    assert longest == sorted(longest, reverse=True)


def tokens_of(lengths: list[int], batch: Collection[int], padded: bool) -> int:
    chosen = [lengths[row] for row in batch]
    return max(chosen) * len(chosen) if padded else sum(chosen)


def test_a_batch_is_halved_at_its_own_size() -> None:
    plan = Plan([5, 5, 5, 5, 5], 100)
    batch = plan.take()
    assert batch == [0, 1, 2, 3, 4]
    plan.halve(batch, torch.OutOfMemoryError())
    assert [plan.take(), plan.take(), plan.take(), plan.take()] == [[0, 1], [2, 3], [4], []]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_gives_what_the_cpu_gives(alone: dict[str, list[FloatMatrix]]) -> None:
    for dtype, atol in ((torch.float32, 1e-4), (torch.float16, 1e-2)):
        found = TorchRunner(model(), [torch.device("cuda", 0)], dtype, 30).run(ROWS, ALL)
        for name in ALL:
            for value, other in zip(found[name], alone[name], strict=True):
                np.testing.assert_allclose(value, other, atol=atol)
