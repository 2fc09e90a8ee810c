"""The memory estimate against what a real model, its optimizer and autograd hold."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nanochat.model.architecture import CLASSIC, MODERN, ModelConfig
from nanochat.model.gpt import GPT, build_model
from nanochat.scaling.horizon import config_from_depth
from nanochat.scaling.memory import (
    Compute,
    activation_bytes,
    cast_bytes,
    device_batch_that_fits,
    estimate_memory,
    optimizer_bytes,
    parameter_bytes,
)
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups

SHAPES = [
    ModelConfig(256, 1000, 4, 4, 4, 128, "L"),
    ModelConfig(256, 2048, 3, 4, 2, 128, "SSSL"),
    ModelConfig(384, 777, 5, 2, 2, 64, "SL"),
    ModelConfig(300, 1000, 3, 6, 6, 96, "SSL"),
    ModelConfig(256, 1000, 4, 4, 4, 128, parts=CLASSIC),
    ModelConfig(128, 500, 1, 2, 1, 64, "L"),
    ModelConfig(256, 1000, 2, 4, 4, 128, "L", replace(MODERN, smear=False, backout=False)),
]


def ids(config: ModelConfig, rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    drawn = torch.randint(config.vocab_size, (rows, config.sequence_len + 1), generator=generator)
    return drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()


def model_of(config: ModelConfig, dtype: torch.dtype) -> GPT:
    model = build_model(config, "cpu", dtype)
    model.init_weights(1)
    return model


def kept_bytes(model: GPT, rows: int) -> int:
    """Bytes of the distinct storages that autograd keeps of one forward pass, parameters left out."""
    inputs, targets = ids(model.config, rows)
    model.rotary(0, inputs.size(1))
    assert model._tables is not None
    known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model._tables)}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in known:
            kept[pointer] = tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(inputs, targets)
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    loss.backward()
    return total


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_parameters_gradients_and_optimizer_are_exact(config: ModelConfig, dtype: str) -> None:
    model = model_of(config, getattr(torch, dtype))
    inputs, targets = ids(config, 1)
    model(inputs, targets).backward()
    optimizer = MuonAdamW(parameter_groups(model, LearningRates()))
    optimizer.step()
    compute = Compute("cpu", dtype, compiled=False)
    parameters = sum(p.nbytes for p in model.parameters())
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    states = sum(state.nbytes for state in optimizer.state_tensors().values())
    assert parameter_bytes(config, compute) == parameters == gradients
    assert optimizer_bytes(config, compute) == states


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_activations_are_what_autograd_keeps(config: ModelConfig, dtype: str) -> None:
    compute = Compute("cpu", dtype, compiled=False)
    estimated = activation_bytes(config, compute, 2) + cast_bytes(config, compute)
    assert estimated == pytest.approx(kept_bytes(model_of(config, getattr(torch, dtype)), 2), rel=0.1)


def test_shards_of_the_optimizer_add_up_to_the_whole() -> None:
    config, compute = config_from_depth(12, 32_768, 2048), Compute()
    whole = optimizer_bytes(config, compute)
    for world in (2, 4, 8):
        share = optimizer_bytes(config, compute, world)
        assert whole / world <= share < 1.1 * whole / world


def test_the_batch_that_fits_is_the_largest_that_does() -> None:
    config, compute = config_from_depth(20, 32_768, 2048), Compute()
    card = 80 * 10**9
    rows = device_batch_that_fits(config, compute, card)
    assert rows >= 8
    assert estimate_memory(config, compute, device_batch_size=rows).total < card
    assert estimate_memory(config, compute, device_batch_size=2 * rows).total > 0.95 * card
    assert device_batch_that_fits(config, compute, 10**9) == 0
    assert device_batch_that_fits(config, compute, card, world=8, total_batch=2 * 8 * 2048) == 2


@pytest.mark.parametrize(
    ("depth", "fp8", "peak"), [(12, False, 26.97e9), (20, False, 74.14e9), (20, True, 56.9e9)]
)
def test_the_estimate_is_what_a_gpu_took(depth: int, fp8: bool, peak: float) -> None:
    """An H200, PyTorch 2.11, compiled blocks, 32 rows of 2,048: the allocator's peak (docs/benchmarks.md)."""
    compute = Compute("cuda", "bfloat16", fp8, compiled=True)
    estimate = estimate_memory(config_from_depth(depth, 32_768, 2048), compute, device_batch_size=32)
    assert estimate.total - estimate.context == pytest.approx(peak, rel=0.03)


def test_memory_grows_with_the_batch_and_shrinks_with_ranks() -> None:
    config, compute = config_from_depth(24, 32_768, 2048), Compute()
    sizes = [estimate_memory(config, compute, device_batch_size=rows, world=8).total for rows in (1, 2, 4, 8)]
    assert sizes == sorted(sizes)
    alone = estimate_memory(config, compute, device_batch_size=8)
    assert estimate_memory(config, compute, device_batch_size=8, world=8).optimizer < alone.optimizer / 6
    eager = estimate_memory(config, replace(compute, compiled=False), device_batch_size=8)
    assert eager.activations > alone.activations
