"""How fast `nanochat report` is: a plan of four long trainings and eight evaluations, from a full store.

    python bench/report_pipeline.py [--steps 20000] [--rounds 3]

The logs are made: each training has 8 metrics a step and an evaluation every thousandth, CORE and the chat
tasks are judged at base, mid, sft and rl. Timed is the command as a person types it, in a process of its own,
and within it the reading and drawing. The best of the rounds counts. The last line is one JSON document.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from parts.report import report  # noqa: E402
from parts.run_logs import BEGAN, event_lines  # noqa: E402

from nanochat.config.known_tasks import CHAT_TASKS, CORE_TASKS  # noqa: E402
from remote.report.compose import Sources, compose  # noqa: E402
from remote.report.html import html  # noqa: E402
from remote.report.markdown import markdown  # noqa: E402
from remote.report.scope import choose  # noqa: E402
from remote.store.store import Store  # noqa: E402

BAR = 2.0
PLAN = "20260101-000000-be9c"
TRAININGS = {
    "base": ("base_train", "base"), "mid": ("mid_train", "mid"), "sft": ("chat_sft", "chatsft"),
    "rl": ("chat_rl", "chatrl"),
}  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000, help="steps of each training")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def judged(source: str, step: int, kind: str) -> Iterator[str]:
    """The log of an evaluation of a source's model."""
    stage, tasks = ("base_eval", CORE_TASKS) if kind == "core" else ("chat_eval", CHAT_TASKS)
    path = f"/b/{TRAININGS[source][1]}_checkpoints/p/step_{step:06d}"
    info = {"checkpoint": path, "checkpoint_step": step, "eval": ["core"], "tasks": list(tasks)}
    said: list[tuple[str, int | None, dict[str, object]]] = [
        ("stage_start", None, {"stage": stage, "attempt": 1, "options": {"source": source}, "info": info})
    ]
    said += [("eval", step, {f"{kind}/{task}": 0.25, f"{kind}/{task}_stderr": 0.01}) for task in tasks]
    said.append(("eval", step, {"core/core" if kind == "core" else "chat/ChatCORE": 0.1}))
    said.append(("stage_end", None, {"status": "succeeded", "results": {}}))
    for seq, (what, at, data) in enumerate(said):
        yield json.dumps({"seq": seq, "t": BEGAN + seq, "kind": what, "step": at, "data": data}) + "\n"


def trained(source: str, steps: int) -> Iterator[str]:
    """The log of a training that ends with a checkpoint."""
    path = f"/b/{TRAININGS[source][1]}_checkpoints/p/step_{steps:06d}"
    lines = list(event_lines(steps, 8))
    yield from lines[:-1]
    yield lines[-1].replace('"results":{}', f'"results":{{"checkpoint":"{path}"}}')


def fill(store: Store, steps: int) -> None:
    """Takes in the runs of the plan."""
    index = 0
    for source, (stage, _) in TRAININGS.items():
        for name, judge, lines in (
            (stage, stage, trained(source, steps)),
            (f"core_{source}", "base_eval", judged(source, steps, "core")),
            (f"chat_{source}", "chat_eval", judged(source, steps, "chat")),
        ):
            run_id = f"20260101-{index:06d}-{judge}-{index:04x}"
            plan = {"id": PLAN, "name": "pipeline", "index": index, "needs": []}
            times = {"started_at": BEGAN, "ended_at": BEGAN + steps, "heartbeat": BEGAN + steps}
            told = {"run_id": run_id, "name": name, "stage": judge, "created_at": BEGAN + index, "plan": plan}
            state = {"run_id": run_id, "status": "succeeded", "attempt": 1, **times}
            store.ingest_state("local", told, state)
            store.ingest("local", run_id, "events.jsonl", 0, "".join(lines).encode())
            index += 1


def whole_command(base: Path) -> float:
    """Seconds of the command in a process of its own."""
    argv = [sys.executable, "-m", "nanochat", "report", "pipeline", "--offline", "--base-dir", str(base)]
    started = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return time.perf_counter() - started


def made(store: Store) -> tuple[float, int]:
    """Seconds of reading, drawing and spelling, and the bytes of the page."""
    started = time.perf_counter()
    document = compose(store, choose(store.runs(), store, "pipeline"), Sources(store.evaluations(), {}))
    markdown(document)
    size = len(html(document).encode())
    return time.perf_counter() - started, size


def main() -> int:
    given = parse()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        with Store(base / "control.sqlite") as store:
            fill(store, given.steps)
            inside = [made(store) for _ in range(given.rounds)]
        seconds = min(whole_command(base) for _ in range(given.rounds))
    within, size = min(inside)
    rows = [
        ("nanochat report, the whole command", f"{seconds:.2f} s", f"<= {BAR:g} s"),
        ("  reading, drawing, spelling of it", f"{within:.2f} s", ""),
        ("the page", f"{size / 1e3:,.0f} kB", ""),
    ]
    title = f"a pipeline of 12 runs, 4 trainings of {given.steps:,} steps x 8 metrics"
    print("\n".join(report(title, rows)))
    print(json.dumps({"steps": given.steps, "command_s": seconds, "inside_s": within, "page_bytes": size}))
    return 0 if seconds <= BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
