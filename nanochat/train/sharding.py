"""How the optimizer's work on one tensor, or one stack of matrices, is shared out over ranks.

A unit goes through one round a step: its gradients are added up over ranks and this rank gets its part
(reduce-scatter), the optimizer updates that part of the parameters, and every rank gets all parts back
(all-gather). With a world of one the parts are the whole and nothing is sent or copied.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanochat.compute.ranks import Ranks, Work


@dataclass(frozen=True)
class StateShard:
    """What a part of a unit's state belongs to: a parameter, or a run of its `total` elements."""

    name: str
    total: int
    run: slice | None = None


class ShardedTensor:
    """One tensor, its elements dealt out to ranks in equal runs; for updates that go element by element."""

    is_owner = True
    """Whether this rank's part is no other's: it counts in norms over all ranks and is saved."""

    def __init__(self, name: str, p: Tensor, ranks: Ranks) -> None:
        self.names, self.params, self.ranks = [name], [p], ranks
        self.grad: Tensor | None = None
        self._work: Work | None = None
        self._sent: Tensor | None = None
        self._own: Tensor | None = None
        self._whole: Tensor | None = None
        self._reduces_on_backward, self._ready = False, 0
        self.chunk = -(-p.numel() // ranks.world)
        if ranks.world > 1:
            self._watch()

    def _watch(self) -> None:
        for p in self.params:
            p.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]

    def _on_gradient(self, _: Tensor) -> None:
        if self._reduces_on_backward:
            self._ready += 1
            if self._ready == len(self.params):
                self.start_reduce()

    def reduce_on_backward(self) -> None:
        self._reduces_on_backward, self._ready = self.ranks.world > 1, 0

    @torch.no_grad()
    def start_reduce(self) -> None:
        """Sends the gradient off, once a step."""
        if self.grad is not None or self.params[0].grad is None:
            return
        self._reduces_on_backward = False
        self._reduce()

    def _reduce(self) -> None:
        grad = self.params[0].grad
        assert grad is not None
        self._sent = self._padded(grad)
        self.grad = self._sent.new_empty(self.chunk)
        self._work = self.ranks.start_reduce_scatter(self.grad, self._sent)

    def _padded(self, tensor: Tensor) -> Tensor:
        """All elements in one dimension, zeros after them up to equal parts."""
        flat = tensor.reshape(-1)
        missing = self.chunk * self.ranks.world - flat.numel()
        return torch.nn.functional.pad(flat, (0, missing)) if missing else flat.contiguous()

    @torch.no_grad()
    def wait_for_gradient(self) -> None:
        """After this `grad` is this rank's part of the mean over ranks."""
        if self._work is not None and self.grad is not None:
            self._work.wait()
            self.grad.div_(self.ranks.world)
        self._work = self._sent = None

    @property
    def local_shape(self) -> tuple[int, ...]:
        """The shape of this rank's part."""
        return (self.chunk,)

    def local_shard(self) -> Tensor:
        """This rank's part of the parameter, to be updated in place until `start_all_gather`."""
        if self._own is None:
            start = self.ranks.rank * self.chunk
            self._own = self._padded(self.params[0].detach())[start : start + self.chunk].clone()
        return self._own

    def start_all_gather(self) -> None:
        """Sends the updated part to the others."""
        own = self.local_shard()
        self._whole = own.new_empty((self.ranks.world * own.size(0), *own.shape[1:]))
        self._work = self.ranks.start_all_gather(self._whole, own)

    def finish_all_gather(self) -> None:
        """Puts the parts of all ranks into the parameters."""
        if self._work is not None and self._whole is not None:
            self._work.wait()
            self._write_back(self._whole)
        self._work = self._whole = self._own = self.grad = None

    def _write_back(self, whole: Tensor) -> None:
        p = self.params[0]
        p.copy_(whole[: p.numel()].view_as(p))

    def drop_grad(self) -> None:
        """Drops the gradient, used or not."""
        if self._work is not None:
            self._work.wait()
        self.grad = self._work = self._sent = self._own = None
        self._reduces_on_backward = False

    def state_shards(self, state: Tensor) -> Iterator[tuple[StateShard, Tensor]]:
        """`state` (of the shape of `own`) by what it belongs to, without padding."""
        total = self.params[0].numel()
        start = min(total, self.ranks.rank * self.chunk)
        run = slice(start, min(total, start + self.chunk))
        yield StateShard(self.names[0], total, run), state[: run.stop - run.start]


class ReplicatedTensor(ShardedTensor):
    """One tensor that every rank updates: a small one, or all there is in a world of one."""

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
    """Matrices of one shape as a stack (n, rows, columns), whole matrices dealt out to ranks.

    The stack is filled up with matrices of zeros to a multiple of the ranks.
    """

    def __init__(self, names: Sequence[str], params: Sequence[Tensor], ranks: Ranks) -> None:
        self.matrices = -(-len(params) // ranks.world)
        super().__init__(names[0], params[0], ranks)
        self.names, self.params = list(names), list(params)
        if ranks.world > 1:
            for p in self.params[1:]:
                p.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]

    def _stacked(self, tensors: Sequence[Tensor]) -> Tensor:
        stack = torch.stack([t.float() for t in tensors])
        missing = self.matrices * self.ranks.world - len(tensors)
        return torch.nn.functional.pad(stack, (0, 0, 0, 0, 0, missing)) if missing else stack

    def _reduce(self) -> None:
        whole = self._stacked([p.grad for p in self.params if p.grad is not None])
        if self.ranks.world == 1:
            self.grad = whole
            return
        self._sent = whole
        self.grad = whole.new_empty((self.matrices, *whole.shape[1:]))
        self._work = self.ranks.start_reduce_scatter(self.grad, whole)

    @property
    def _mine(self) -> slice:
        start = self.ranks.rank * self.matrices
        return slice(start, min(len(self.params), start + self.matrices))

    @property
    def local_shape(self) -> tuple[int, ...]:
        return (self.matrices, *self.params[0].shape)

    def local_shard(self) -> Tensor:
        if self._own is None:
            mine = [p.detach() for p in self.params[self._mine]]
            own = torch.zeros(self.local_shape, dtype=torch.float32, device=self.params[0].device)
            if mine:
                own[: len(mine)] = torch.stack(mine)
            self._own = own
        return self._own

    def start_all_gather(self) -> None:
        if self.ranks.world > 1:
            super().start_all_gather()

    def finish_all_gather(self) -> None:
        if self.ranks.world == 1 and self._own is not None:
            self._write_back(self._own)
        super().finish_all_gather()

    def _write_back(self, whole: Tensor) -> None:
        for p, fresh in zip(self.params, whole, strict=False):
            p.copy_(fresh)

    def state_shards(self, state: Tensor) -> Iterator[tuple[StateShard, Tensor]]:
        for name, part in zip(self.names[self._mine], state, strict=False):
            yield StateShard(name, part.numel()), part
