"""Run directories as a base directory holds them, made up the same way each time."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

BEGAN = 1_790_000_000.0
EVAL_EVERY = 1_000
_NAMES = (
    "train/loss",
    "train/grad_norm",
    "train/lrm",
    "train/dt",
    "train/tok_per_sec",
    "train/mfu",
    "train/total_tokens",
    "train/total_time",
)


def write_run(base: Path, number: int, steps: int, metrics: int = 8) -> Path:
    """An ended training of `steps` steps with `metrics` metrics each; its run directory."""
    run_id = f"20260101-{number:06d}-base_train-{number:04x}"
    path = base / "runs" / run_id
    path.mkdir(parents=True)
    began = BEGAN + 10_000 * number
    run = {"schema": 1, "run_id": run_id, "name": f"bench {number}", "stage": "base_train"}
    _write(path / "run.json", {**run, "created_at": began, "argv": ["python"], "options": {}, "host": ""})
    state = {"schema": 1, "run_id": run_id, "status": "succeeded", "attempt": 1, "exit_code": 0}
    times = {"started_at": began, "ended_at": began + steps, "heartbeat": began + steps}
    _write(path / "state.json", {**state, **times})
    with (path / "events.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(event_lines(steps, metrics, began))
    return path


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def event_lines(steps: int, metrics: int, began: float = BEGAN) -> Iterator[str]:
    """The event log of a training: 260 bytes a step with 8 metrics, an evaluation every thousandth."""
    rng = random.Random(steps)
    names = [*_NAMES, *(f"train/extra_{number}" for number in range(metrics))][:metrics]
    start = {"stage": "base_train", "attempt": 1, "from_step": 0, "total_steps": steps, "unit": "step"}
    yield _line(0, began, "stage_start", None, json.dumps(start))
    seq = 1
    for step in range(steps):
        noise = rng.random()
        values = [
            2.5 + 5 * math.exp(-step / (1 + steps / 8)) + 0.3 * noise,
            1 + noise / 3,
            1 - step / steps,
            0.31 + noise / 100,
            1.5e5 + 1e3 * noise,
            41 + noise,
            524_288 * (step + 1),
            0.31 * step + noise,
        ]
        values = [round(value, 6) for value in (*values, *(noise * number for number in range(metrics)))]
        yield _line(seq, began + step, "metric", step, _data(names, values))
        seq += 1
        if step % EVAL_EVERY == 0:
            yield _line(seq, began + step, "eval", step, '{"val/bpb":%s}' % (0.8 + 1 / (1 + step / 1000)))
            seq += 1
    yield _line(seq, began + steps, "stage_end", None, '{"status":"succeeded","results":{}}')


def _data(names: list[str], values: list[float]) -> str:
    return json.dumps(dict(zip(names, values, strict=False)), separators=(",", ":"))


def _line(seq: int, t: float, kind: str, step: int | None, data: str) -> str:
    at = "" if step is None else f'"step":{step},'
    return f'{{"seq":{seq},"t":{t:.3f},"kind":"{kind}",{at}"data":{data}}}\n'
