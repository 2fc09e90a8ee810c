"""The processes of one training: who we are among them, and the few operations that join them."""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class Work(Protocol):
    """An operation under way."""

    def wait(self) -> bool: ...


@dataclass(frozen=True)
class Ranks:
    """This process is `rank` of `world`. With a world of one no operation does anything."""

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def start_all_reduce(self, tensor: Tensor) -> Work:
        """Begins to add `tensor` up over all ranks, in place."""
        return _under_way(dist.all_reduce(tensor, async_op=True))

    def start_reduce_scatter(self, own: Tensor, whole: Tensor) -> Work:
        """Begins to add `whole` up over all ranks, this rank's part of the sum into `own`.

        Parts are equal runs of the first dimension, in the order of ranks.
        """
        return _under_way(dist.reduce_scatter_tensor(own, whole, async_op=True))

    def start_all_gather(self, whole: Tensor, own: Tensor) -> Work:
        """Begins to fill `whole` with every rank's `own`, end to end."""
        return _under_way(dist.all_gather_into_tensor(whole, own, async_op=True))

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor` added up over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any rank says so; all ranks get the same answer."""
        if self.world == 1:
            return flag
        votes = torch.tensor(float(flag), device=device)
        return bool(self.sum(votes).item() > 0)

    def broadcast(self, value: T) -> T:
        """Rank 0's `value`, on every rank."""
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


def _under_way(work: Work | None) -> Work:
    assert work is not None  # only a process outside the group gets None
    return work
