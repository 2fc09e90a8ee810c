"""Small real parts for training tests: a byte tokenizer, shards of generated prose, stages in processes of
their own, and what their events say."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nanochat.run.events import Event, read_events
from nanochat.run.stage_run import main
from nanochat.tokenizer.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]

WORDS = [
    "the",
    "a",
    "model",
    "learns",
    "to",
    "read",
    "from",
    "text",
    "and",
    "tokens",
    "in",
    "rows",
    "of",
    "words",
]


def byte_tokenizer() -> Tokenizer:
    """256 bytes and a handful of merges: no training needed."""
    ranks = {bytes([i]): i for i in range(256)}
    for merge in (b"th", b"the", b" t", b" a", b"in", b"er", b"an", b"to"):
        ranks[merge] = len(ranks)
    return Tokenizer(ranks)


def documents(count: int, seed: int, words: tuple[int, int] = (5, 120)) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(*words))) + ".\n" for _ in range(count)]


def write_shards(
    folder: Path, texts: list[list[str]], row_group: int = 64, column: str = "text"
) -> list[Path]:
    """One shard for each list of documents."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, shard in enumerate(texts):
        path = folder / f"shard_{number:05d}.parquet"
        pq.write_table(pa.table({column: shard}), path, row_group_size=row_group)
        paths.append(path)
    return paths


def make_base(base: Path, train: int = 700, val: int = 100) -> Path:
    """A base directory ready for base_train: tokenizer and three shards."""
    byte_tokenizer().save(base / "tokenizer")
    write_shards(base / "base_data", [documents(train // 2, 1), documents(train // 2, 2), documents(val, 3)])
    return base


def link_base(template: Path, base: Path) -> None:
    """Makes `base` a base directory with the tokenizer and the data of `template`."""
    for name in ("tokenizer", "base_data"):
        (base / name).symlink_to(template / name)


TINY = [
    "--depth=2", "--aspect-ratio=16", "--head-dim=16", "--max-seq-len=64", "--device-batch-size=4",
    "--total-batch-size=512", "--eval-tokens=1024", "--warmup-steps=2", "--dtype=float32",
]  # fmt: skip


def runs_of(base: Path) -> list[Path]:
    """Folders of the runs under a base directory, the last written to at the end.

    Not by their names, which tell seconds only: two short runs may begin in the same one.
    """
    return sorted((base / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def stage_process(stage: str, base: Path, *options: str, attempt: int = 1) -> subprocess.Popen[str]:
    """A stage in a process of its own, in the run directory `runs/the-run`, as an agent starts it."""
    env = os.environ | {
        "PYTHONPATH": str(ROOT), "NANOCHAT_RUN_DIR": str(base / "runs" / "the-run"), "OMP_NUM_THREADS": "1",
        "NANOCHAT_ATTEMPT": str(attempt),
    }  # fmt: skip
    argv = [sys.executable, "-m", f"nanochat.stages.{stage}", f"--base-dir={base}", *options]
    return subprocess.Popen(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=hear_hangups
    )


def stage_here(stage: str, base: Path, *options: str, attempt: int = 1) -> int:
    """A stage as `stage_process` runs it, in this process: the exit code.

    A process of its own takes two to three seconds of processor time before its first step, nearly all to
    import torch. Those that are to be killed, or whose start is the point, need one; the others do not.
    """
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NANOCHAT_RUN_DIR", str(base / "runs" / "the-run"))
        patch.setenv("NANOCHAT_ATTEMPT", str(attempt))
        torch.set_num_threads(1)  # the last bits of a sum depend on how many share it
        try:
            return main(stage, [f"--base-dir={base}", *options])
        finally:
            torch.set_num_threads(threads)


def hear_hangups() -> None:
    """For a new process: a suite run under nohup would have it ignore SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def events_of(base: Path, run: str = "") -> list[Event]:
    """The events of a run, by default the last."""
    folder = base / "runs" / run if run else runs_of(base)[-1]
    return read_events(folder / "events.jsonl")[0]


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


def losses(events: list[Event]) -> dict[int, Any]:
    """The last loss logged for each step."""
    return {int(e.step or 0): e.data["train/loss"] for e in of_kind(events, "metric")}


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of standard error that reports an error."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1, lines
    return lines[0]
