"""Base directories with made-up runs for benchmarks of the app: run directories as a stage writes them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from nanochat.run.events import EventWriter
from nanochat.run.run_directory import SCHEMA, StandaloneState

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("tok_train", "base_train", "mid_train", "chat_sft", "base_train", "base_train")
LOG_LINES = 400


def make_base(base: Path, *, steps: int = 600, stages: tuple[str, ...] = STAGES) -> None:
    """Fills `base` with an ended run of each of `stages`, the last one the newest."""
    for number, stage in enumerate(stages):
        started = time.time() - 3600.0 * (len(stages) - number)
        folder = (
            base / "runs" / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(started))}-{stage}-{number:04x}"
        )
        folder.mkdir(parents=True)
        status = "failed" if number == 1 else "succeeded"
        describe(folder, stage, started)
        ended = {"status": status, "ended_at": started + 600, "exit_code": int(status == "failed")}
        if status == "failed":
            ended["reason"] = "out of memory"
        write_state(folder, started, **ended)
        with_events(folder, 0 if stage == "tok_train" else steps, steps)


def describe(folder: Path, stage: str, started: float) -> None:
    """Writes `run.json`."""
    run = {"schema": SCHEMA, "run_id": folder.name, "name": f"a {stage}", "stage": stage, "options": {}}
    document = {**run, "argv": [], "created_at": started, "plan": None, "env": [], "cwd": str(folder)}
    (folder / "run.json").write_text(json.dumps(document), encoding="utf-8")


def write_state(folder: Path, started: float, **fields: Any) -> None:
    """Writes `state.json` of a run that has ended."""
    state = {"schema": SCHEMA, "run_id": folder.name, "attempt": 1, "started_at": started}
    (folder / "state.json").write_text(json.dumps({**state, **fields}), encoding="utf-8")


def with_events(folder: Path, steps: int, total: int) -> None:
    """Writes the event log and the console log of a run that came as far as `steps`."""
    with (folder / "console.log").open("w", encoding="utf-8") as console:
        console.writelines(f"step {step:05d}/{total} loss {loss(step):.3f}\n" for step in range(LOG_LINES))
        console.write("saved the checkpoint\n")
    writer = EventWriter(folder / "events.jsonl")
    writer.emit("stage_start", data=start_data(total))
    for step in range(steps):
        emit_step(writer, step, total)
    writer.emit("stage_end", data={"status": "succeeded", "error": "", "results": {}})
    writer.close()


def emit_step(writer: EventWriter, step: int, total: int) -> None:
    """Writes what a training logs at a step: its metrics, and every 50 steps an evaluation and a sample."""
    writer.emit("metric", step=step, data=metrics(step, total))
    if step % 50 == 0:
        writer.emit("eval", step=step, data={"val/bpb": loss(step) / 3})
        text = "The capital of France is Paris.\nIt is on the Seine."
        writer.emit("sample", step=step, data={"prompt": "The capital of France is", "text": text})


def start_data(total: int) -> dict[str, Any]:
    """The data of an event `stage_start`."""
    return {"stage": "base_train", "attempt": 1, "from_step": 0, "total_steps": total, "unit": "step"}


def loss(step: int) -> float:
    """A noisy falling curve."""
    return 2.5 + 6 * math.exp(-step / 80) + 0.15 * math.sin(step * 7.1)


def metrics(step: int, total: int) -> dict[str, Any]:
    """What a training logs at a step."""
    return {
        "train/loss": loss(step),
        "train/lrm": min(1.0, step / 40),
        "train/tok_per_sec": 3600 + 50 * math.sin(step),
        "train/mfu": 0.4 + 0.01 * math.sin(step / 3),
        "train/grad_norm": 1 + 0.2 * math.sin(step * 3),
        "train/step_ms": 900 + 20 * math.sin(step * 2),
        "train/total_tokens": step * 4096,
        "train/total_flops": step * 1e9,
        "progress": step / total,
        "eta_s": (total - step) * 0.3,
    }


def start_live_run(base: Path) -> subprocess.Popen[bytes]:
    """Starts a process that acts as a stage at work in `base`: a step every 0.3 s, a log line with each."""
    return subprocess.Popen([sys.executable, "-m", "bench.parts.runs", str(base)], cwd=ROOT)


def live_run(base: Path) -> None:
    """Acts as a stage at work until the process is ended."""
    started, total = time.time(), 100_000
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(started))
    folder = base / "runs" / f"{stamp}-base_train-ffff"
    folder.mkdir(parents=True)
    describe(folder, "base_train", started)
    state = StandaloneState(folder)
    writer = EventWriter(folder / "events.jsonl")
    writer.emit("stage_start", data=start_data(total))
    with (folder / "console.log").open("w", encoding="utf-8", buffering=1) as console:
        for step in range(600):
            emit_step(writer, step, total)
        state.begin()
        for step in range(600, total):
            emit_step(writer, step, total)
            console.write(f"step {step:05d}/{total} loss {loss(step):.3f}\n")
            time.sleep(0.3)


if __name__ == "__main__":
    live_run(Path(sys.argv[1]))
