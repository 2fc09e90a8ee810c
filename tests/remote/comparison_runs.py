"""Trainings in a real store, to be set side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from remote.comparison.comparison import Comparison, read_comparison
from remote.store.store import Store

BATCH = 100
FLOPS = 7.0


class Runs:
    """A store that is filled through its own ingest."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.count = 0

    def add(
        self,
        name: str = "run",
        stage: str = "base_train",
        status: str = "succeeded",
        *,
        sha: str = "a" * 40,
        events: Iterable[Mapping[str, Any]] = (),
        **options: Any,
    ) -> str:
        self.count += 1
        run_id = f"r{self.count}"
        run = {
            "run_id": run_id,
            "name": name,
            "stage": stage,
            "options": options,
            "created_at": 1_790_000_000.0 + self.count,
            "code": {"version": "0.1.0", "sha": sha},
        }
        self.store.ingest_state("box", run, {"run_id": run_id, "status": status, "attempt": 1})
        self.log(run_id, events)
        return run_id

    def log(self, run_id: str, events: Iterable[Mapping[str, Any]]) -> None:
        lines = [json.dumps({"seq": at, "t": 1.0 * at, **event}) for at, event in enumerate(events)]
        if lines:
            self.store.ingest("box", run_id, "events.jsonl", 0, ("\n".join(lines) + "\n").encode())

    def compare(self, *ids: str, **more: Any) -> Comparison:
        return read_comparison(self.store, [self.store.find(name) for name in ids], **more)


def start(attempt: int = 1, from_step: int = 0, **options: Any) -> dict[str, Any]:
    info = {"data": {"name": "fineweb", "sha256": "b" * 64}, "params": 10, "checkpoint_dir": "/x"}
    data = {"stage": "base_train", "attempt": attempt, "from_step": from_step, "total_steps": 100}
    return {"kind": "stage_start", "data": {**data, "options": options, "info": info}}


def step(at: int, loss: float | str, batch: int = BATCH, **more: Any) -> dict[str, Any]:
    tokens = (at + 1) * batch
    totals = {"train/total_tokens": tokens, "train/total_flops": tokens * FLOPS, "train/total_time": at * 2.0}
    return {"kind": "metric", "step": at, "data": {"train/loss": loss, **totals, **more}}


def bpb(at: int, value: float) -> dict[str, Any]:
    return {"kind": "eval", "step": at, "data": {"val/bpb": value}}
