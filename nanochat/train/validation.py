"""Bits per byte on validation text while a model trains."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nanochat.data.dataloader import Batch, as_batch
from nanochat.data.packing import Tokens
from nanochat.evals.bpb import evaluate_bpb
from nanochat.run.progress import SlowTaskLog
from nanochat.train.loop import Training


@dataclass
class ValidationSet:
    """The rows bits per byte are measured on: the same in each evaluation, for any number of ranks.

    `rows` gives the batches of all ranks, (B, T+1) int32 each, an ignored token as ~id. The first `steps` of
    them are read once, at the first evaluation, and sharded over the ranks.
    """

    rows: Callable[[], Iterator[Tokens]]
    steps: int
    """Batches at most: fewer where `rows` ends before."""
    token_bytes: Tensor
    """(V,) raw bytes of each token, on the device."""
    _local: list[Tensor] = field(default_factory=list)
    """This rank's batches, on the host: the device's memory is for training."""

    def evaluate(self, job: Training) -> None:
        """Measures the model as it is now, into the loop's state and the event log."""
        started = time.perf_counter()
        bpb = self.bits_per_byte(job)
        state = job.state
        if bpb is None:
            why = f"step {state.step:05d} | val bpb none: no token of the validation text is counted in bytes"
            job.run.alert("no_bpb", f"{why} (all of it is masked, or cut away)", step=state.step)
            return
        state.val_bpb, state.val_step = bpb, state.step
        state.min_val_bpb = bpb if state.min_val_bpb is None else min(bpb, state.min_val_bpb)
        job.record_eval({"val/bpb": bpb})
        seconds = time.perf_counter() - started
        job.run.log(
            f"step {state.step:05d} | val bpb {bpb:.6f} | best {state.min_val_bpb:.6f} | {seconds:.1f} s"
        )

    def bits_per_byte(self, job: Training) -> float | None:
        """Bits per byte of the model as it is now, over the batches of all ranks; None over no bytes."""
        if not self._local:
            self._read(job)
        return evaluate_bpb(job.model, self._batches(job), self.steps, self.token_bytes, job.runtime.ranks)

    def _read(self, job: Training) -> None:
        source, runtime = self.rows(), job.runtime
        slow = SlowTaskLog(job.run, "reading text for validation", self.steps, "batches")
        for number in range(self.steps):
            if runtime.world == 1:
                job.check_stop()
            # Every rank reads all batches and keeps its own, so the set is the same for any number of ranks.
            rows = next(source, None)
            if rows is None:
                break
            if number % runtime.world == runtime.rank:
                self._local.append(torch.from_numpy(rows))
            slow.done(number + 1)

    def _batches(self, job: Training) -> Iterator[Batch]:
        slow = SlowTaskLog(job.run, "validation", len(self._local), "batches")
        for number, rows in enumerate(self._local):
            if job.runtime.world == 1:
                job.check_stop()
            yield as_batch(rows, job.runtime.device, job.state.loader)
            slow.done(number + 1)
