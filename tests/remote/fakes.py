"""A stand-in for the stages' interpreter: writes a real event log at a chosen pace, learns nothing.

Everything around it is real: agent, supervisor, transports, store.
"""

import sys
from dataclasses import replace
from pathlib import Path

from nanochat.common.text import clean_json
from nanochat.run.events import Event, read_events

ROOT = Path(__file__).resolve().parents[2]

_STAGE = """#!{python}
import json, os, sys
sys.path.insert(0, {root!r})
if sys.argv[1:2] != ["-m"]:
    os.environ["PYTHONPATH"] = {root!r}
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
import signal, time
from pathlib import Path
from nanochat.run.events import EventWriter
steps, pace, fail_at = {steps}, {pace}, {fail_at}
stage = sys.argv[2].rsplit(".", 1)[1]
asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append(1))
folder = Path(os.environ["NANOCHAT_RUN_DIR"])
attempt = int(os.environ.get("NANOCHAT_ATTEMPT", "1"))
with EventWriter(folder / "events.jsonl") as log:
    first = 0 if attempt == 1 else steps // 2
    log.emit("stage_start", data={{"stage": stage, "attempt": attempt, "from_step": first,
             "total_steps": steps, "unit": "step", "options": {{}}, "info": {{}}}})
    for step in range(first, steps):
        if asked:
            log.emit("stage_end", data={{"status": "stopped", "error": "", "results": {{}}}})
            sys.exit(4)
        if step == fail_at and stage == {fail_stage!r}:
            print("the loss is gone", file=sys.stderr)
            log.emit("stage_end", data={{"status": "failed", "error": "the loss is gone", "results": {{}}}})
            sys.exit(1)
        print(f"step {{step}} of {{stage}}", flush=True)
        left = (steps - step - 1) * pace
        values = {{"train/loss": 4.0 - 2.0 * step / steps, "train/tok_per_sec": 1000.0}}
        log.emit("metric", step=step, data={{**values, "progress": (step + 1) / steps, "eta_s": left}})
        if step % 10 == 0:
            log.emit("eval", step=step, data={{"val/bpb": 3.0 - step / steps}})
        time.sleep(pace)
    text = " of \\x1b[31mFrance"
    log.emit("sample", step=steps, data={{"prompt": "The capital", "text": text, "mode": "greedy"}})
    log.emit("stage_end", data={{"status": "succeeded", "error": "", "results": {{"loss": 2.0}}}})
"""


def fake_python(
    folder: Path, steps: int = 30, pace: float = 0.01, fail_at: int = -1, fail_stage: str = "base_train"
) -> Path:
    """An executable that a host book may name as `--python`; its path has a space and a quote."""
    path = folder / "it's a python"
    text = _STAGE.format(
        python=sys.executable, root=str(ROOT), steps=steps, pace=pace, fail_at=fail_at, fail_stage=fail_stage
    )
    path.write_text(text)
    path.chmod(0o755)
    return path


def clean_events(path: Path) -> list[Event]:
    """The events of a log as a store hands them out: their texts clean."""
    events, _ = read_events(path)
    return [replace(event, data=clean_json(event.data)) for event in events]
