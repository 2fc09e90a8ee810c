"""Each step of the order in docs/reliability.md fails in turn; what can be resumed from is what it promises.

A stage in processes of its own is broken at one point, then resumed: it ends, and its weights are bit for bit
those of a training that nothing happened to. `make chaos` runs every stage, failure and number of processes;
without NANOCHAT_CHAOS=long a part of them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from training_data import TINY, link_base, make_base, stage_here

from nanochat.checkpoint.files import MODEL, OPTIM, Checkpoint, list_checkpoints
from nanochat.run.stage_run import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
LONG = os.environ.get("NANOCHAT_CHAOS") == "long"
SAVED, LAST = 2, 4
"""The steps that are saved: in the background, and at the end."""

TUNE = [
    "--dtype=float32", "--offline", "--mixture=Arithmetic:64", "--val-mixture=Arithmetic/test:8",
    "--total-batch-size=512", "--device-batch-size=2", "--chatcore-every=-1",
]  # fmt: skip
STAGES = {
    "base_train": ("base", [*TINY, "--eval-tokens=512"]),
    "mid_train": ("mid", TUNE),
    "chat_sft": ("chatsft", TUNE),
    "chat_rl": (
        "chatrl",
        ["--task=Arithmetic", "--dtype=float32", "--examples-per-step=2", "--num-samples=2", "--source=base",
         "--device-batch-size=2", "--max-new-tokens=8", "--eval-examples=2", "--offline"],
    ),
}  # fmt: skip

BREAK = """
import errno, os, shutil, signal, sys
from pathlib import Path
from nanochat.checkpoint import saver, write
from nanochat.run.stage_run import StageRun, main
from nanochat.train import loop

POINT, HOW, STEP = os.environ["BREAK_POINT"], os.environ["BREAK_HOW"], int(os.environ["BREAK_STEP"])
BASE, RANK = Path(os.environ["BREAK_BASE"]), os.environ.get("RANK", "0")
left = {"once": 1, "good": 10**9}.get(HOW.partition("-")[2], 1)

def strike(point, step):
    global left
    if (point, step) != (POINT, STEP) or RANK != "0" or left <= 0:
        return
    left -= 1
    if HOW == "exception":
        raise RuntimeError("broken on purpose")
    if HOW == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if HOW == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    if HOW.startswith("full"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if HOW == "gone":
        BASE.rename(BASE.with_name("gone"))

def before(owner, name, point, step_of):
    original = getattr(owner, name)
    def broken(*given, **named):
        strike(point, step_of(*given, **named))
        return original(*given, **named)
    setattr(owner, name, broken)

def step_of_path(path, *_):
    name = path.name if path.name.lstrip(".").startswith("step_") else path.parent.name
    return int(name.lstrip(".").split(".")[0].removeprefix("step_"))

before(write, "_write_file", "write", step_of_path)
before(write, "commit", "commit", lambda temp, final: step_of_path(final))
before(loop.Training, "_evaluate", "evaluate", lambda self, item: self.state.step)
before(saver, "add_figures", "figures", lambda checkpoint, figures: checkpoint.step)
before(StageRun, "end", "end", lambda *_, **__: int(os.environ["BREAK_STEP"]))
loop.SAVE_RETRY = 0.0
sys.exit(main(sys.argv[1], sys.argv[2:]))
"""


@dataclass(frozen=True)
class Failure:
    """`how` a step of the order fails at training step `step`; then `left` is the newest whole checkpoint."""

    point: str
    how: str
    step: int
    left: int

    def __str__(self) -> str:
        return f"{self.point}-{self.how}-{self.step}"


FAILURES = [
    Failure("write", "kill", SAVED, 0),
    Failure("write", "kill", LAST, SAVED),
    Failure("write", "exception", LAST, LAST),
    Failure("write", "full-once", SAVED, LAST),
    Failure("write", "full-once", LAST, LAST),
    Failure("write", "full-good", LAST, SAVED),
    Failure("write", "term", LAST, LAST),
    Failure("commit", "kill", LAST, SAVED),
    Failure("commit", "full-once", LAST, LAST),
    Failure("commit", "gone", LAST, SAVED),
    Failure("evaluate", "kill", SAVED, SAVED),
    Failure("evaluate", "kill", LAST, LAST),
    Failure("evaluate", "exception", LAST, LAST),
    Failure("evaluate", "term", LAST, LAST),
    Failure("evaluate", "gone", LAST, LAST),
    Failure("figures", "kill", LAST, LAST),
    Failure("end", "kill", LAST, LAST),
]
SHORT = {
    ("base_train", 1, "write-kill-4"), ("base_train", 1, "evaluate-kill-4"),
    ("base_train", 2, "write-full-once-4"), ("mid_train", 1, "evaluate-kill-4"),
    ("chat_sft", 1, "write-full-good-4"), ("chat_rl", 1, "evaluate-kill-4"),
}  # fmt: skip
CASES = [
    pytest.param(stage, world, failure, id=f"{stage}-{world}-{failure}")
    for stage in STAGES
    for world in (1, 2)
    for failure in FAILURES
    if LONG or (stage, world, str(failure)) in SHORT
]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = make_base(tmp_path_factory.mktemp("pretrained"))
    options = [*TINY, "--max-seq-len=128", "--num-iterations=4", "--sample-every=-1", "--eval-every=-1"]
    assert main("base_train", [f"--base-dir={base}", *options]) == 0
    return base


def start_base(pretrained: Path, base: Path, stage: str) -> Path:
    base.mkdir()
    link_base(pretrained, base)
    if stage != "base_train":
        shutil.copytree(pretrained / "base_checkpoints", base / "base_checkpoints")
    return base


@pytest.fixture(scope="module")
def undisturbed(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """The base directory of a training of a stage, on a number of processes, that nothing happened to."""

    @cache
    def train(stage: str, world: int) -> Path:
        base = start_base(pretrained, tmp_path_factory.mktemp("undisturbed") / "base", stage)
        assert finish(base, stage, world, 1) == 0
        return base

    return train


def options_of(stage: str) -> list[str]:
    saved = [
        f"--num-iterations={LAST}",
        f"--save-every={SAVED}",
        f"--eval-every={SAVED}",
        "--save-patience=3",
    ]
    return [*STAGES[stage][1], *saved, *([] if stage == "chat_rl" else ["--sample-every=-1"])]


def finish(base: Path, stage: str, world: int, attempt: int) -> int:
    """A stage that nothing happens to; where it is one process, in this one."""
    if world > 1:
        return run(base, stage, world, attempt, None)
    return stage_here(stage, base, *options_of(stage), attempt=attempt)


def run(base: Path, stage: str, world: int, attempt: int, failure: Failure | None) -> int:
    env = os.environ | {
        "PYTHONPATH": f"{ROOT}", "NANOCHAT_RUN_DIR": str(base / "runs/the-run"), "OMP_NUM_THREADS": "1",
        "NANOCHAT_ATTEMPT": str(attempt), "BREAK_BASE": str(base),
        "BREAK_POINT": failure.point if failure else "", "BREAK_HOW": failure.how if failure else "",
        "BREAK_STEP": str(failure.step) if failure else "-1",
    }  # fmt: skip
    script = base.parent / "breaking.py"
    script.write_text(BREAK, encoding="utf-8")
    program = [str(script)]
    if world > 1:
        launch = (
            "import sys; from nanochat.run.launcher import launch;"
            "sys.exit(launch('breaking', sys.argv[1:], 2))"
        )
        program, env["PYTHONPATH"] = ["-c", launch], f"{ROOT}:{base.parent}"
    done = subprocess.run(
        [sys.executable, *program, stage, f"--base-dir={base}", *options_of(stage)],
        env=env, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def checkpoints(base: Path, stage: str) -> list[Checkpoint]:
    return list_checkpoints(base / f"{STAGES[stage][0]}_checkpoints" / "d2")


def tensors(checkpoint: Checkpoint) -> dict[str, Any]:
    names = [MODEL, *checkpoint.optimizer_files]
    assert OPTIM in names or len(names) > 2
    return {f"{name}/{key}": value for name in names for key, value in checkpoint.tensors(name).items()}


@pytest.mark.parametrize(("stage", "world", "failure"), CASES)
def test_what_can_be_resumed_from(
    pretrained: Path,
    undisturbed: Callable[[str, int], Path],
    tmp_path: Path,
    stage: str,
    world: int,
    failure: Failure,
) -> None:
    base = start_base(pretrained, tmp_path / "base", stage)
    code = run(base, stage, world, 1, failure)
    if failure.how == "kill":
        assert code != 0
    if failure.how == "gone" and (tmp_path / "gone").exists():
        shutil.rmtree(base, ignore_errors=True)
        (tmp_path / "gone").rename(base)
    whole = checkpoints(base, stage)
    assert (whole[-1].step if whole else 0) == failure.left
    for checkpoint in whole:
        tensors(checkpoint)

    assert finish(base, stage, world, 2) == 0
    last = checkpoints(base, stage)[-1]
    assert last.step == LAST
    assert last.meta["figures"]
    a, b = tensors(last), tensors(checkpoints(undisturbed(stage, world), stage)[-1])
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
