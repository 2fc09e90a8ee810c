"""The processes of one training: this one's rank, and the collective operations it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class Work(Protocol):
    """A collective operation in progress."""

    def wait(self) -> bool: ...


@dataclass(frozen=True)
class Ranks:
    """This process is `rank` of `world`. With a world of one no operation does anything.

    The `start_…` operations overlap with computing: their tensors must live, untouched, until `Work.wait`.
    """

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def start_all_reduce(self, tensor: Tensor) -> Work:
        """Starts to sum `tensor` over all ranks, in place."""
        return _started(dist.all_reduce(tensor, async_op=True))

    def start_reduce_scatter(self, shard: Tensor, full: Tensor) -> Work:
        """Starts to sum `full` (world · n, …) over all ranks, this rank's `shard` (n, …) of the sum only.

        Shards are equal runs of the first dimension, in the order of ranks.
        """
        return _started(dist.reduce_scatter_tensor(shard, full, async_op=True))

    def start_all_gather(self, full: Tensor, shard: Tensor) -> Work:
        """Starts to fill `full` (world · n, …) with every rank's `shard` (n, …), in the order of ranks."""
        return _started(dist.all_gather_into_tensor(full, shard, async_op=True))

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor` summed over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set on any rank; all ranks get the same answer."""
        if self.world == 1:
            return flag
        votes = torch.tensor(float(flag), device=device)
        return bool(self.sum(votes).item() > 0)

    def any_of(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """For each flag whether it is set on any rank, in one operation; all ranks get the same answer."""
        if self.world == 1:
            return list(flags)
        votes = torch.tensor([float(flag) for flag in flags], device=device)
        return [vote > 0 for vote in self.sum(votes).tolist()]

    def broadcast(self, value: T) -> T:
        """Rank 0's `value`, on every rank. It is pickled: only for what this program made itself."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Every rank's `value`, in the order of ranks, on every rank."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values


def _started(work: Work | None) -> Work:
    assert work is not None  # only a process outside the group gets None
    return work
