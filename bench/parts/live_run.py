"""A training that this process pretends to be: its state is kept alive, a step comes twice a second."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

from nanochat.run.events import EventWriter
from nanochat.run.run_directory import boot_id, process_start


class LiveRun:
    """A run directory of a stage run directly, whose process is this one."""

    def __init__(self, base: Path) -> None:
        self.path = base / "runs" / "20270101-000000-base_train-ffff"
        self.path.mkdir(parents=True)
        self._began = time.time()
        run = {
            "schema": 1,
            "run_id": self.path.name,
            "name": "live",
            "stage": "base_train",
            "argv": ["python"],
        }
        content = {**run, "created_at": self._began, "options": {}, "host": os.uname().nodename, "env": []}
        (self.path / "run.json").write_text(json.dumps(content), encoding="utf-8")
        self._keep_alive()

    def _keep_alive(self) -> None:
        state = {"schema": 1, "run_id": self.path.name, "status": "running", "attempt": 1, "reason": ""}
        process = {"pid": os.getpid(), "pid_start": process_start(os.getpid()), "boot_id": boot_id()}
        times = {"started_at": self._began, "ended_at": None, "heartbeat": time.time()}
        fresh = self.path / "state.new"
        fresh.write_text(json.dumps({**state, **process, **times, "supervisor": None}), encoding="utf-8")
        fresh.replace(self.path / "state.json")

    def write(self, stop: threading.Event) -> None:
        """Writes steps until `stop` is set."""
        with EventWriter(self.path / "events.jsonl") as log:
            log.emit(
                "stage_start", data={"attempt": 1, "from_step": 0, "total_steps": 10_000, "unit": "step"}
            )
            step = 0
            while not stop.wait(0.5):
                names = (
                    "train/loss",
                    "train/grad_norm",
                    "train/tok_per_sec",
                    "train/mfu",
                    "progress",
                    "eta_s",
                )
                log.emit("metric", step=step, data=dict.fromkeys(names, 1 / (1 + step)))
                if step % 4 == 0:
                    self._keep_alive()
                step += 1
