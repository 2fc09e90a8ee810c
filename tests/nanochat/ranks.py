"""Runs a function in several processes joined by gloo."""

import multiprocessing
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# The processes are forked from one that has imported torch, which takes two seconds, and done nothing else.
multiprocessing.set_forkserver_preload(["nanochat.train.optimizer", "torch.distributed"])


def _work(
    rank: int, world: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    try:
        torch.save(function(rank, world, *arguments), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def on_ranks(world: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(rank, world, *arguments)` gives on each rank. It must be importable."""
    with tempfile.TemporaryDirectory() as folder:
        given = (world, folder, function, arguments)
        mp.start_processes(_work, given, nprocs=world, start_method="forkserver")  # type: ignore[no-untyped-call]
        return [torch.load(f"{folder}/{rank}.pt", weights_only=False) for rank in range(world)]
