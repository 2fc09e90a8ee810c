"""One measurement of `bench/gpu.py` each: numerics against float32, and a training step's speed and memory.

Runs in a worker. Weights are drawn on the device from a fixed seed, every one of them random, so that no
gradient is zero by construction.
"""

import contextlib
import gc
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from nanochat.common.errors import UserError
from nanochat.compute.device import setup_runtime
from nanochat.data.dataloader import Batch, LoaderState
from nanochat.model.architecture import ModelConfig, flops_per_token
from nanochat.model.attention import choose_kernel
from nanochat.model.fp8 import require_float8
from nanochat.model.gpt import GPT, build_model
from nanochat.scaling.horizon import config_from_depth
from nanochat.scaling.memory import Compute, estimate_memory
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups
from nanochat.train.step import compile_blocks, train_step


@dataclass(frozen=True)
class Case:
    """What is measured: a depth, a precision (bf16 or fp8), eager or compiled, an attention kernel."""

    depth: int
    precision: str
    mode: str
    attention: str

    @property
    def label(self) -> str:
        return f"d{self.depth} {self.precision} {self.mode} {self.attention}"


@dataclass(frozen=True)
class Sizes:
    """Sizes all cases share, and the device. `rows` is the device batch tried first."""

    device: str
    context: int
    vocab: int
    head_dim: int
    aspect_ratio: int
    rows: int
    accumulation: int
    steps: int

    def config(self, depth: int) -> ModelConfig:
        return config_from_depth(depth, self.vocab, self.context, self.aspect_ratio, self.head_dim)


def machine(sizes: Sizes) -> dict[str, Any]:
    """The device, what it can do, and which kernels and precisions are there, with what is missing."""
    runtime = setup_runtime(sizes.device, "bfloat16")
    device = runtime.device
    found: dict[str, Any] = {
        "device": runtime.name,
        "torch": torch.__version__,
        "peak_flops": runtime.peak_flops,
    }
    if device.type == "cuda":
        found["capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
        found["memory_bytes"] = torch.cuda.get_device_properties(device).total_memory
    found["attention"], found["missing"] = [], []
    for name in ("fa3", "flex", "sdpa"):
        try:
            choose_kernel(device, torch.bfloat16, name)
            found["attention"].append(name)
        except UserError as error:
            found["missing"].append(error.message)
    found["precisions"] = ["bf16", "fp8"]
    if device.type == "cuda":
        try:
            require_float8(device)
        except UserError as error:
            found["precisions"].remove("fp8")
            found["missing"].append(error.message)
    return found


def make(case: Case, sizes: Sizes, dtype: torch.dtype) -> GPT:
    device = torch.device(sizes.device)
    model = build_model(sizes.config(case.depth), device, dtype, case.attention)
    generator = torch.Generator(device).manual_seed(7)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                p.normal_(0, 0.5 / p.size(1) ** 0.5, generator=generator)
            else:
                p.fill_(1.0 if name == "resid_lambdas" else 0.1)
    if dtype == torch.bfloat16 and device.type == "cuda":
        for table in (model.wte, *model.value_embeds.values()):
            table.to(dtype)
    if case.precision == "fp8":
        model.use_float8()
    if case.mode == "compiled":
        compile_blocks(model)
    return model


def tokens(sizes: Sizes, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(11)
    return torch.randint(sizes.vocab, (rows, sizes.context + 1), generator=generator).to(sizes.device)


_float32: dict[int, tuple[float, dict[str, torch.Tensor]]] = {}


def in_float32(depth: int, sizes: Sizes) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one row with everything in float32, kept off the device."""
    if depth not in _float32:
        model = make(Case(depth, "float32", "eager", "sdpa"), sizes, torch.float32)
        ids = tokens(sizes, 1)
        loss = model(ids[:, :-1], ids[:, 1:])
        loss.backward()
        _float32.clear()
        grads = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
        _float32[depth] = (loss.item(), grads)
    return _float32[depth]


def errors(
    model: GPT, rows: int, sizes: Sizes, exact: float, grads: dict[str, torch.Tensor]
) -> dict[str, float]:
    """Relative error of the loss, and of all gradients together: ‖g − g₃₂‖ / ‖g₃₂‖.

    The one row is taken `rows` times, which changes neither, so that the shapes are those of training.
    """
    ids = tokens(sizes, 1).expand(rows, -1)
    loss = model(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    loss.backward()
    error = norm = 0.0
    for name, p in model.named_parameters():
        if p.grad is not None:
            there = grads[name].to(p.device)
            error += (p.grad.float() - there).square().sum().item()
            norm += there.square().sum().item()
            p.grad = None
    return {"loss_error": abs(loss.item() - exact) / exact, "gradient_error": (error / norm) ** 0.5}


def measured(case: Case, sizes: Sizes) -> dict[str, Any]:
    """Errors and training steps of the largest device batch that fits: `sizes.rows`, or halves of it."""
    with clean(sizes):
        exact = in_float32(case.depth, sizes)
    rows = sizes.rows
    while True:
        with clean(sizes):
            try:
                return _measured(case, sizes, rows, *exact)
            except torch.OutOfMemoryError:
                if rows == 1:
                    raise
        rows //= 2


def _measured(
    case: Case, sizes: Sizes, rows: int, exact: float, grads: dict[str, torch.Tensor]
) -> dict[str, Any]:
    began = time.perf_counter()
    runtime = setup_runtime(sizes.device, "bfloat16")
    model = make(case, sizes, torch.bfloat16)
    optimizer = MuonAdamW(parameter_groups(model, LearningRates()), torch.bfloat16)
    found = errors(model, rows, sizes, exact, grads)
    if sizes.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ids = tokens(sizes, rows)
    batch = Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), LoaderState())

    def step() -> float:
        started = time.perf_counter()
        train_step(model, optimizer, iter([batch] * sizes.accumulation), sizes.accumulation, lambda: None)
        runtime.synchronize()
        return time.perf_counter() - started

    step()
    first = time.perf_counter() - began
    step()
    seconds = statistics.median(step() for _ in range(sizes.steps))
    rate = rows * sizes.context * sizes.accumulation / seconds
    flops = flops_per_token(model.config)
    result: dict[str, Any] = {
        "rows": rows,
        "tok_per_sec": rate,
        "step_seconds": seconds,
        "first_step_seconds": first,
        "peak_memory_bytes": runtime.peak_memory(),
        "kernels": model.kernels,
        **found,
    }
    compute = Compute(sizes.device, "bfloat16", case.precision == "fp8", case.mode == "compiled")
    estimate = estimate_memory(model.config, compute, device_batch_size=rows)
    # The allocator's peak, which is what is compared on a GPU, does not know of CUDA's own context.
    result["estimate_bytes"] = estimate.total - (estimate.context if sizes.device == "cuda" else 0)
    if runtime.peak_flops:
        result["mfu"] = rate * flops / runtime.peak_flops
    return result


@contextlib.contextmanager
def clean(sizes: Sizes) -> Any:
    """Leaves the device as it was found: nothing allocated, nothing compiled, peak at zero."""
    if sizes.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    try:
        yield
    finally:
        torch._dynamo.reset()
        gc.collect()
        if sizes.device == "cuda":
            torch.cuda.empty_cache()
