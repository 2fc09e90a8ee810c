"""Bits per byte on held-out text while a model trains."""

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
    """The rows bits per byte are measured on: the same at each evaluation, for any number of ranks.

    `rows` gives the batches of all ranks, (B, T+1) int32 each, a token that does not count as ~id. The first
    `steps` are taken, once, and of every so many as there are ranks one is this rank's.
    """

    rows: Callable[[], Iterator[Tokens]]
    steps: int
    """So many batches at the most: fewer where `rows` ends before."""
    token_bytes: Tensor
    """(V,) raw bytes of each token, on the device."""
    _mine: list[Tensor] = field(default_factory=list)

    def evaluate(self, job: Training) -> None:
        """Bits per byte of the model as it is now, into the state and the event log."""
        started = time.perf_counter()
        if not self._mine:
            self._read(job)
        bpb = evaluate_bpb(job.model, self._batches(job), self.steps, self.token_bytes, job.runtime.ranks)
        state = job.state
        state.val_bpb = bpb
        state.min_val_bpb = bpb if state.min_val_bpb is None else min(bpb, state.min_val_bpb)
        job.run.eval(state.step, {"val/bpb": bpb})
        seconds = time.perf_counter() - started
        job.run.log(
            f"step {state.step:05d} | val bpb {bpb:.6f} | best {state.min_val_bpb:.6f} | {seconds:.1f} s"
        )

    def _read(self, job: Training) -> None:
        source, runtime = self.rows(), job.runtime
        log = SlowTaskLog(job.run, "reading text for validation", self.steps, "batches")
        for number in range(self.steps):
            if runtime.world == 1:
                job.check_stop()
            rows = next(source, None)
            if rows is None:
                break
            if number % runtime.world == runtime.rank:
                self._mine.append(torch.from_numpy(rows))
            log.done(number + 1)

    def _batches(self, job: Training) -> Iterator[Batch]:
        log = SlowTaskLog(job.run, "validation", len(self._mine), "batches")
        for number, rows in enumerate(self._mine):
            if job.runtime.world == 1:
                job.check_stop()
            yield as_batch(rows, job.runtime.device, job.state.loader)
            log.done(number + 1)
