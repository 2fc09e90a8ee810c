"""Measures a checkpoint: bits per byte on training and validation text, and samples.

Rows of text are made as in the model's training and read from the start of each split: packed, or for
classic models cut from a stream. Every rank reads the same rows and evaluates its shard of them, so the
figures are the same for any batch size and any number of ranks.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nanochat.checkpoint.weights import OpenedModel
from nanochat.common.errors import UserError
from nanochat.compute.device import Runtime, setup_runtime
from nanochat.config.eval_options import BaseLossOptions
from nanochat.data.dataloader import PackedLoader
from nanochat.data.shards import ShardSet, split_shards
from nanochat.data.stream import stream_batches, stream_rows
from nanochat.evals.bpb import LabelledBatch, count_batch
from nanochat.evals.evaluated import CHECKPOINT, open_evaluated
from nanochat.evals.results import EVALUATION, EVALUATIONS, EvaluationResult
from nanochat.evals.samples import write_samples
from nanochat.run.progress import Progress
from nanochat.run.stage_run import StageRun, StageStopped, main

LOSS_SHARE = 0.96
"""Part of the stage's progress that the losses are; the samples are the rest."""


def run(options: BaseLossOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: train/bpb, val/bpb, tokens (of each split), step, seconds, checkpoint."""
    runtime = setup_runtime(options.device_type, options.dtype)
    opened = open_evaluated(options, run, runtime)
    data = run.layout.data_dir(options.data_dir)
    shards = split_shards(data)
    checkpoint, context = opened.checkpoint, opened.model.config.sequence_len
    rows = rows_of_split(options.split_tokens, context)
    name = f"{options.source}/{checkpoint.path.parent.name}"
    told = what_is_told(name, run, runtime, opened, data, options.rows, rows)
    info: dict[str, Any] = {
        CHECKPOINT: str(checkpoint.path),
        "checkpoint_step": checkpoint.step,
        "device": runtime.name,
        "dtype": str(runtime.dtype).removeprefix("torch."),
        "rows": rows,
        "context": context,
        EVALUATIONS: [told.as_json()],
    }
    run.start(total_steps=2 * rows, unit="row", info=info)
    run.log(f"{checkpoint.path}: {rows:,} rows of {context} tokens a split, on {runtime.name}")
    started = time.perf_counter()
    splits = SplitLosses(opened, runtime, run, options, rows)
    bpb = splits.evaluate(shards, told, high=LOSS_SHARE)
    if runtime.ranks.is_main:
        write_samples(run, opened.model, opened.tokenizer, checkpoint.step, options.seed)
    run.check_stop()
    run.metric(None, {"progress": 1.0, "eta_s": 0.0})
    return {
        **bpb,
        "tokens": rows * context,
        "step": checkpoint.step,
        "seconds": round(time.perf_counter() - started, 3),
        "checkpoint": str(checkpoint.path),
    }


def what_is_told(
    checkpoint: str,
    run: StageRun,
    runtime: Runtime,
    opened: OpenedModel,
    data: Path,
    rows: str,
    count: int,
) -> EvaluationResult:
    """What the events say is measured: which checkpoint, over which text."""
    context = opened.model.config.sequence_len
    settings = {
        "tokens": count * context,
        "context": context,
        "rows": "packed" if reads_packed(opened, rows) else "stream",
        "data": run.layout.told(data),
        "dtype": str(runtime.dtype).removeprefix("torch."),
    }
    return EvaluationResult(checkpoint, opened.checkpoint.step, "bpb", settings, run=run.run_id)


def rows_of_split(tokens: int, context: int) -> int:
    """How many whole rows `tokens` are; raises `UserError` for none."""
    if tokens < context:
        raise UserError(f"--split-tokens {tokens} is less than one row of {context} tokens", "give more")
    return tokens // context


@dataclass(frozen=True)
class SplitLosses:
    """Bits per byte of a checkpoint over the first `rows` rows of each split."""

    opened: OpenedModel
    runtime: Runtime
    run: StageRun
    options: BaseLossOptions
    rows: int

    def evaluate(
        self, shards: ShardSet, told: EvaluationResult, *, low: float = 0.0, high: float = 1.0
    ) -> dict[str, float | int | str]:
        """train/bpb and val/bpb, also as an event, of what is `told`.

        `low` to `high` is their part of the stage's progress.
        """
        if shards.gap_warning:
            self.run.alert("missing_shards", shards.gap_warning)
        bpb: dict[str, float] = {}
        splits: list[tuple[str, Sequence[Path]]] = [("train", shards.train), ("val", [shards.val])]
        half = (high - low) / 2
        for number, (split, paths) in enumerate(splits):
            start = low + number * half
            with Progress(self.run, f"{split} loss", low=start, high=start + half) as progress:
                value = self.bits_per_byte(split, paths, progress)
            if value is not None:
                bpb[f"{split}/bpb"] = value
        figures = {name.removesuffix("/bpb"): value for name, value in bpb.items()}
        told = replace(told, bpb=figures, complete=True)
        self.run.eval(self.opened.checkpoint.step, {**bpb, EVALUATION: told.as_json()})
        return {**bpb}

    def bits_per_byte(self, split: str, paths: Sequence[Path], progress: Progress) -> float | None:
        """Σ nats / (ln 2 · Σ bytes) over the rows of one split, sharded over the ranks.

        None, with an alert, when no target has bytes.
        """
        model, runtime, run = self.opened.model, self.runtime, self.run
        size = min(self.options.device_batch_size, self.rows)
        token_bytes = torch.tensor(self.opened.tokenizer.token_bytes, device=runtime.device)
        batches = -(-self.rows // size)
        source = text_batches(self.opened, paths, size, self.options.rows, runtime.device)
        total = torch.zeros(2, dtype=torch.float64)  # [nats, bytes]
        with torch.no_grad():
            for number, batch in zip(range(batches), source, strict=False):
                if runtime.ranks.any(run.stop_requested, runtime.device):
                    raise StageStopped
                if number % runtime.world == runtime.rank:
                    batch.targets[self.rows - number * size :] = -1  # rows of the last batch beyond `rows`
                    total += count_batch(model, batch, token_bytes).cpu().double()
                progress.update((number + 1) / batches, {})
        nats, count = runtime.ranks.sum(total.to(runtime.device)).tolist()
        if not count:
            run.alert("no_bpb", f"{split} bpb none: no token of the text is counted in bytes")
            return None
        bpb: float = nats / (math.log(2) * count)
        tokens = self.rows * model.config.sequence_len
        run.log(f"{split} bpb {bpb:.6f} over {tokens:,} tokens, {count:,.0f} bytes")
        return bpb


def reads_packed(opened: OpenedModel, rows: str) -> bool:
    """Whether rows are packed, as the option `rows` says; `auto`: as in the model's training."""
    return rows == "packed" or (rows == "auto" and opened.model.config.parts.windows)


def text_batches(
    opened: OpenedModel, paths: Sequence[Path], size: int, rows: str, device: torch.device
) -> Iterator[LabelledBatch]:
    """Batches of `size` rows, packed or from the stream; `auto` as in the model's era.

    The stream is cut as the checkpoint's own training cut it, whatever `size` is: the last token of a batch
    begins no row, so the size of batches says where rows begin.
    """
    config, meta = opened.model.config, opened.checkpoint.meta
    if reads_packed(opened, rows):
        return PackedLoader(opened.tokenizer, paths, size, config.sequence_len, device=device)
    saved = meta.get("device_batch_size")
    unit = saved if isinstance(saved, int) and saved > 0 else 32
    return stream_batches(stream_rows(opened.tokenizer, paths, config.sequence_len, unit), size, device)


if __name__ == "__main__":
    raise SystemExit(main("base_loss"))
