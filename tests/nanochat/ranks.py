"""Runs a function in several processes joined by gloo."""

import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _work(
    rank: int, world: int, file: str, function: Callable[..., Any], arguments: tuple[Any, ...], out: Any
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    try:
        out[rank] = function(rank, world, *arguments)
    finally:
        dist.destroy_process_group()


def on_ranks(world: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(rank, world, *arguments)` gives on each rank. It must be importable."""
    with tempfile.TemporaryDirectory() as folder, mp.get_context("spawn").Manager() as manager:
        out = manager.dict()
        mp.spawn(_work, (world, f"{folder}/rendezvous", function, arguments, out), nprocs=world)  # type: ignore[no-untyped-call]
        return [out[rank] for rank in range(world)]
