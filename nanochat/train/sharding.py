"""How the optimizer's work on one tensor, or one stack of matrices, is sharded over ranks.

A unit goes through one round a step: its gradients are summed over ranks and this rank gets its shard
(reduce-scatter), the optimizer updates that shard of the parameters, and every rank gets all shards back
(all-gather). With a world of one the shard is the whole tensor and nothing is sent or copied.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.compute.ranks import Ranks, Work


@dataclass(frozen=True)
class StateShard:
    """What a part of a unit's state belongs to: a whole parameter, or a `run` of its `total` elements."""

    name: str
    total: int
    run: slice | None = None


class ShardedTensor:
    """One tensor, its elements sharded in equal runs; for updates that go element by element."""

    is_owner = True
    """Whether no other rank has this shard: it counts in norms over all ranks and is saved."""

    def __init__(self, names: Sequence[str], params: Sequence[Tensor], ranks: Ranks) -> None:
        self.names, self.params, self.ranks = list(names), list(params), ranks
        self.grad: Tensor | None = None
        """This rank's shard of the gradient, once it is reduced."""
        self._work: Work | None = None
        self._sent: Tensor | None = None
        self._local: Tensor | None = None
        self._gathered: Tensor | None = None
        self._reduces_on_backward, self._ready = False, 0
        self.chunk = -(-params[0].numel() // ranks.world)
        """Elements of a shard: the tensor is padded to `chunk` × world."""
        if ranks.world > 1:
            for p in self.params:
                p.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]

    def _on_gradient(self, _: Tensor) -> None:
        if self._reduces_on_backward:
            self._ready += 1
            if self._ready == len(self.params):
                self.start_reduce()

    # -- gradients ---------------------------------------------------------------------------------

    def reduce_on_backward(self) -> None:
        """Has the next backward pass start the reduction itself, as soon as the gradient is complete."""
        self._reduces_on_backward, self._ready = self.ranks.world > 1, 0

    @torch.no_grad()
    def start_reduce(self) -> None:
        """Starts to reduce the gradient; does nothing the second time in a step, or without a gradient."""
        if self.grad is not None or self.params[0].grad is None:
            return
        self._reduces_on_backward = False
        self._reduce()

    def _reduce(self) -> None:
        grad = self.params[0].grad
        assert grad is not None
        self._sent = self._padded(grad)  # (world · chunk,), alive until the work is done
        self.grad = self._sent.new_empty(self.chunk)
        self._work = self.ranks.start_reduce_scatter(self.grad, self._sent)

    def _padded(self, tensor: Tensor) -> Tensor:
        """All elements in one dimension, padded with zeros to equal shards: (world · chunk,)."""
        flat = tensor.reshape(-1)
        missing = self.chunk * self.ranks.world - flat.numel()
        return F.pad(flat, (0, missing)) if missing else flat.contiguous()

    @torch.no_grad()
    def wait_for_gradient(self) -> None:
        """Waits until `grad` is this rank's shard of the mean over ranks."""
        if self._work is not None and self.grad is not None:
            self._work.wait()
            self.grad.div_(self.ranks.world)
        self._work = self._sent = None

    def drop_grad(self) -> None:
        """Drops the gradient, used or not."""
        if self._work is not None:
            self._work.wait()
        self.grad = self._work = self._sent = self._local = None
        self._reduces_on_backward = False

    # -- parameters --------------------------------------------------------------------------------

    @property
    def local_shape(self) -> tuple[int, ...]:
        """The shape of this rank's shard."""
        return (self.chunk,)

    def local_shard(self) -> Tensor:
        """This rank's shard of the parameter, to be updated in place before `start_all_gather`."""
        if self._local is None:
            start = self.ranks.rank * self.chunk
            self._local = self._padded(self.params[0].detach())[start : start + self.chunk].clone()
        return self._local

    def start_all_gather(self) -> None:
        """Starts to send the updated shard to the others."""
        local = self.local_shard()
        self._gathered = local.new_empty((self.ranks.world * local.size(0), *local.shape[1:]))
        self._work = self.ranks.start_all_gather(self._gathered, local)

    def finish_all_gather(self) -> None:
        """Waits for the shards of all ranks and writes them into the parameters."""
        if self._work is not None and self._gathered is not None:
            self._work.wait()
            self._write_back(self._gathered)
        self._work = self._gathered = self._local = self.grad = None

    def _write_back(self, gathered: Tensor) -> None:
        p = self.params[0]
        p.copy_(gathered[: p.numel()].view_as(p))

    # -- checkpoints -------------------------------------------------------------------------------

    def state_shards(self, state: Tensor) -> Iterator[tuple[StateShard, Tensor]]:
        """`state` (of `local_shape`) by what it belongs to, without padding."""
        total = self.params[0].numel()
        start = min(total, self.ranks.rank * self.chunk)
        run = slice(start, min(total, start + self.chunk))
        yield StateShard(self.names[0], total, run), state[: run.stop - run.start]


class ReplicatedTensor(ShardedTensor):
    """One tensor that every rank updates: a small one, or any in a world of one."""

    @property
    def is_owner(self) -> bool:  # type: ignore[override]
        return self.ranks.is_main

    def _reduce(self) -> None:
        self.grad = self.params[0].grad
        if self.ranks.world > 1 and self.grad is not None:
            self._work = self.ranks.start_all_reduce(self.grad)

    @property
    def local_shape(self) -> tuple[int, ...]:
        return tuple(self.params[0].shape)

    def local_shard(self) -> Tensor:
        return self.params[0]

    def start_all_gather(self) -> None: ...

    def state_shards(self, state: Tensor) -> Iterator[tuple[StateShard, Tensor]]:
        yield StateShard(self.names[0], state.numel()), state


class MatrixStack(ShardedTensor):
    """Matrices of one shape as a stack (n, rows, columns), whole matrices sharded over ranks.

    Muon orthogonalises whole matrices, so none is cut. The stack is padded with matrices of zeros to a
    multiple of the ranks; their update is zero.
    """

    def __init__(self, names: Sequence[str], params: Sequence[Tensor], ranks: Ranks) -> None:
        super().__init__(names, params, ranks)
        self.matrices = -(-len(params) // ranks.world)
        """Matrices of a rank, the padding included."""

    def _stacked(self, tensors: Sequence[Tensor]) -> Tensor:
        """(world · matrices, rows, columns) float32."""
        stack = torch.stack([t.float() for t in tensors])
        missing = self.matrices * self.ranks.world - len(tensors)
        return F.pad(stack, (0, 0, 0, 0, 0, missing)) if missing else stack

    def _reduce(self) -> None:
        stack = self._stacked([p.grad for p in self.params if p.grad is not None])
        if self.ranks.world == 1:
            self.grad = stack
            return
        self._sent = stack
        self.grad = stack.new_empty((self.matrices, *stack.shape[1:]))
        self._work = self.ranks.start_reduce_scatter(self.grad, stack)

    @property
    def _local_range(self) -> slice:
        """Which of the parameters are this rank's."""
        start = self.ranks.rank * self.matrices
        return slice(start, min(len(self.params), start + self.matrices))

    @property
    def local_shape(self) -> tuple[int, ...]:
        return (self.matrices, *self.params[0].shape)

    def local_shard(self) -> Tensor:
        if self._local is None:
            own = [p.detach() for p in self.params[self._local_range]]
            local = torch.zeros(self.local_shape, dtype=torch.float32, device=self.params[0].device)
            if own:
                local[: len(own)] = torch.stack(own)
            self._local = local
        return self._local

    def start_all_gather(self) -> None:
        if self.ranks.world > 1:
            super().start_all_gather()

    def finish_all_gather(self) -> None:
        if self.ranks.world == 1 and self._local is not None:
            self._write_back(self._local)
        super().finish_all_gather()

    def _write_back(self, gathered: Tensor) -> None:
        for p, updated in zip(self.params, gathered, strict=False):
            p.copy_(updated)

    def state_shards(self, state: Tensor) -> Iterator[tuple[StateShard, Tensor]]:
        for name, part in zip(self.names[self._local_range], state, strict=False):
            yield StateShard(name, part.numel()), part
