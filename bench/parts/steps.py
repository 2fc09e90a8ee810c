"""One training step of each contestant on random tokens: forward, backward, optimizer. Runs in a worker.

Each contestant is made by `start`, which also does its first step, and then timed by `steps`.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """What is trained, on what. Sizes are in tokens, rows and channels."""

    depth: int
    context: int
    vocab: int
    head_dim: int
    aspect_ratio: int
    window_pattern: str
    rows: int
    accumulation: int
    dtype: str
    device: str
    threads: int
    compile: bool

    @property
    def tokens(self) -> int:
        """In one optimizer step."""
        return self.rows * self.context * self.accumulation

    @property
    def heads(self) -> int:
        return -(-self.depth * self.aspect_ratio // self.head_dim)

    @property
    def width(self) -> int:
        return self.heads * self.head_dim


_running: dict[str, Any] = {}


def start(name: str, shape: Shape, began: float) -> dict[str, Any]:
    """Makes the contestant and does its first step. First-step seconds count from `began`, an epoch time."""
    if name in ("modern", "classic"):
        import nanochat  # noqa: F401 - sets how OpenMP waits, before torch is loaded
    import torch

    if shape.threads:
        torch.set_num_threads(shape.threads)
    torch.manual_seed(1)
    makers = {"modern": _ours, "classic": _ours, "transformers": _transformers, "reference": _reference}
    step, flops = makers[name](name, shape)
    _running["step"], _running["shape"] = step, shape
    step()
    _synchronize(shape)
    first = time.time() - began
    return {"first_step_seconds": first, "flops_per_token": flops, "threads": torch.get_num_threads()}


def steps(count: int) -> list[tuple[float, float]]:
    """Wall-clock and processor seconds (over all threads) of each of `count` steps."""
    times = []
    for _ in range(count):
        begun, used = time.perf_counter(), time.process_time()
        _running["step"]()
        _synchronize(_running["shape"])
        times.append((time.perf_counter() - begun, time.process_time() - used))
    return times


def peak_memory() -> int:
    """Bytes: the device's peak allocation, or on a CPU the process's peak resident size."""
    import torch

    if _running["shape"].device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _synchronize(shape: Shape) -> None:
    import torch

    if shape.device == "cuda":
        torch.cuda.synchronize()


def _tokens(shape: Shape) -> Any:
    import torch

    return torch.randint(shape.vocab, (shape.rows, shape.context + 1), device=shape.device)


def _ours(name: str, shape: Shape) -> tuple[Callable[[], object], float]:
    import torch

    from nanochat.compute.device import setup_runtime
    from nanochat.data.dataloader import Batch, LoaderState
    from nanochat.model.architecture import CLASSIC, MODERN, ModelConfig, flops_per_token
    from nanochat.model.gpt import build_model
    from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups
    from nanochat.train.step import prepare_for_training, train_step

    config = ModelConfig(
        sequence_len=shape.context,
        vocab_size=shape.vocab,
        n_layer=shape.depth,
        n_head=shape.heads,
        n_kv_head=shape.heads,
        n_embd=shape.width,
        window_pattern=shape.window_pattern,
        parts=CLASSIC if name == "classic" else MODERN,
    )
    model = build_model(config, shape.device, getattr(torch, shape.dtype))
    model.init_weights(1)
    runtime = setup_runtime(shape.device, shape.dtype)
    optimizer = MuonAdamW(parameter_groups(model, LearningRates(), 0.1), runtime.muon_dtype)
    prepare_for_training(model, runtime, "on" if shape.compile else "off")
    rows = _tokens(shape)
    batch = Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), LoaderState())

    def step() -> object:
        batches = iter([batch] * shape.accumulation)
        return train_step(model, optimizer, batches, shape.accumulation, lambda: None)

    return step, flops_per_token(config)


def _transformers(name: str, shape: Shape) -> tuple[Callable[[], object], float]:
    """transformers' NanoChat, the classic architecture, with torch's AdamW."""
    import torch
    from transformers import NanoChatConfig, NanoChatForCausalLM

    config = NanoChatConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.width,
        intermediate_size=4 * shape.width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
    )
    model = NanoChatForCausalLM(config).to(shape.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=shape.device in ("cpu", "cuda"))
    ids = _tokens(shape)[:, :-1].contiguous()
    narrow = shape.dtype == "bfloat16"

    def step() -> object:
        for _ in range(shape.accumulation):
            with torch.autocast(shape.device, torch.bfloat16, enabled=narrow):
                loss = model(input_ids=ids, labels=ids, use_cache=False).loss
            (loss / shape.accumulation).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step, 0.0


def _reference(name: str, shape: Shape) -> tuple[Callable[[], object], float]:
    """karpathy/nanochat from its own checkout, compiled whole as its base_train does."""
    import torch
    from nanochat.gpt import GPT, GPTConfig

    config = GPTConfig(
        sequence_len=shape.context,
        vocab_size=shape.vocab,
        n_layer=shape.depth,
        n_head=shape.heads,
        n_kv_head=shape.heads,
        n_embd=shape.width,
        window_pattern=shape.window_pattern,
    )
    with torch.device("meta"):
        model = GPT(config)
    model.to_empty(device=shape.device)
    model.init_weights()
    optimizer = model.setup_optimizer(weight_decay=0.28)
    flops = float(model.estimate_flops())
    compiled = torch.compile(model, dynamic=False)
    rows = _tokens(shape)
    inputs, targets = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    def step() -> object:
        for _ in range(shape.accumulation):
            loss = compiled(inputs, targets)
            (loss / shape.accumulation).backward()
        optimizer.step()
        model.zero_grad(set_to_none=True)
        return loss.item()

    return step, flops


def reference_environment(dtype: str) -> dict[str, str]:
    """Sets the compute type of karpathy/nanochat, and keeps its compiler from filling the console."""
    return {"NANOCHAT_DTYPE": dtype, "TORCH_LOGS": os.environ.get("TORCH_LOGS", "-dynamo")}
