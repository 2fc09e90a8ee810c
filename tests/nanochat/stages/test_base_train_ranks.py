"""base_train over two processes: the steps of one, whole checkpoints, exact resume, one line for errors."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training_data import TINY, events_of, hear_hangups, link_base, losses, runs_of

from nanochat.checkpoint.files import MODEL, find_checkpoint, list_checkpoints
from nanochat.run.events import Event, read_events
from nanochat.run.stage_run import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
STEPS = 12


def start(base: Path, *options: str, attempt: int = 1, torchrun: bool = False) -> subprocess.Popen[str]:
    env = os.environ | {
        "PYTHONPATH": str(ROOT), "NANOCHAT_RUN_DIR": str(base / "runs" / "the-run"), "OMP_NUM_THREADS": "1",
        "NANOCHAT_ATTEMPT": str(attempt),
    }  # fmt: skip
    how = ["nanochat", "base_train", "--nproc=2"]
    if torchrun:
        how = [
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            "-m",
            "nanochat.stages.base_train",
        ]
    return subprocess.Popen(
        [sys.executable, "-m", *how, f"--base-dir={base}", *TINY, *options],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hear_hangups,
    )


def run(base: Path, *options: str, **given: Any) -> str:
    process = start(base, *options, **given)
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    return text


def weights(base: Path) -> dict[str, torch.Tensor]:
    return find_checkpoint(base / "base_checkpoints").tensors(MODEL)


def alone(base: Path, *options: str) -> list[Event]:
    """The events of one process with the same options, in a run of its own."""
    assert main("base_train", [f"--base-dir={base}", *TINY, "--overwrite", *options]) == 0
    newest = [path for path in runs_of(base) if path.name != "the-run"][-1]
    return read_events(newest / "events.jsonl")[0]


WHOLE = (f"--num-iterations={STEPS}", "--save-every=3", "--eval-every=6", "--eval-tokens=1792")
"""Its evaluation is of seven batches: not the same number on each of two processes."""


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base directory in which two processes have trained, and nothing happened to them."""
    base = tmp_path_factory.mktemp("whole")
    link_base(template, base)
    run(base, *WHOLE)
    return base


@pytest.fixture(scope="module")
def by_one(template: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """The events of the same training by one process."""
    base = tmp_path_factory.mktemp("by-one")
    link_base(template, base)
    return alone(base, *WHOLE)


def assert_as_one(events: list[Event], one: list[Event]) -> None:
    assert [event.seq for event in events] == list(range(len(events)))
    assert events[-1].data["status"] == "succeeded"
    logged = losses(events)
    expected = [event.data["train/loss"] for event in one if event.kind == "metric"]
    assert [logged[it] for it in range(STEPS)] == pytest.approx(expected, abs=2e-4)


def test_two_processes_train_as_one_does(whole: Path, by_one: list[Event]) -> None:
    assert_as_one(events_of(whole, "the-run"), by_one)
    files = set(find_checkpoint(whole / "base_checkpoints").meta["files"])
    ranks = {f"{kind}_rank{rank}.safetensors" for kind in ("optim", "state") for rank in (0, 1)}
    assert files == ranks | {"model.safetensors"}


def test_two_processes_of_torchrun_train_as_one_does(base: Path, by_one: list[Event]) -> None:
    run(base, *WHOLE, torchrun=True)
    assert_as_one(events_of(base, "the-run"), by_one)
    assert find_checkpoint(base / "base_checkpoints").ranks == 2


def test_bits_per_byte_do_not_depend_on_the_number_of_processes(whole: Path, by_one: list[Event]) -> None:
    two, one = (
        next(event.data["val/bpb"] for event in events if event.kind == "eval")
        for events in (events_of(whole, "the-run"), by_one)
    )
    assert two == pytest.approx(one, abs=1e-7)


def test_killed_and_resumed_two_processes_are_bit_identical(base: Path, whole: Path) -> None:
    process = start(base, *WHOLE)
    folder = base / "base_checkpoints" / "d2"
    until = time.monotonic() + 120
    while len(list_checkpoints(folder)) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()  # the processes it started end with it
    process.communicate()
    assert len(list_checkpoints(folder)) >= 2
    run(base, *WHOLE, attempt=2)
    assert any("resuming from step" in str(event.data.get("text")) for event in events_of(base, "the-run"))
    assert losses(events_of(base, "the-run")) == losses(events_of(whole, "the-run"))
    a, b = weights(base), weights(whole)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_one_process_resumes_exactly_from_the_checkpoint_of_two(base: Path, whole: Path) -> None:
    shutil.copytree(whole / "base_checkpoints", base / "base_checkpoints")
    logged = alone(base, f"--num-iterations={STEPS}", "--eval-every=-1", "--resume-from-step=6")
    assert "other_ranks" not in [event.data["what"] for event in logged if event.kind == "alert"]
    after = {event.step: event.data["train/loss"] for event in logged if event.kind == "metric"}
    assert sorted(after) == [*range(6, STEPS)]
    expected = losses(events_of(whole, "the-run"))
    assert [after[step] for step in sorted(after)] == pytest.approx(
        [expected[step] for step in sorted(after)], abs=2e-4
    )


def test_text_sharded_by_row_groups_resumes_with_a_warning(base: Path) -> None:
    run(base, "--num-iterations=6", "--shard-by=row-groups", "--save-every=3", "--eval-every=-1")
    logged = alone(
        base, "--num-iterations=9", "--eval-every=-1", "--resume-from-step=6", "--shard-by=row-groups"
    )
    assert "other_ranks" in [event.data["what"] for event in logged if event.kind == "alert"]
    assert [event.step for event in logged if event.kind == "metric"] == [6, 7, 8]


def test_a_stop_is_agreed_saved_and_reported(base: Path) -> None:
    """As a closed terminal asks for it: of a group only the launcher hears that."""
    process = start(base, "--num-iterations=5000", "--eval-every=-1")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 00003/"):
            break
    process.send_signal(signal.SIGHUP)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 4, rest
    assert events_of(base, "the-run")[-1].data["status"] == "stopped"
    saved = find_checkpoint(base / "base_checkpoints")
    assert saved.can_resume
    assert saved.ranks == 2


def test_an_error_of_all_processes_is_one_line(base: Path) -> None:
    process = start(base, "--total-batch-size=300")
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert text.splitlines() == [
        line for line in text.splitlines() if "not a multiple of 4 rows × 64" in line
    ]
    assert len(text.splitlines()) == 1


EVALUATIONS = {
    "base_loss": ["--split-tokens=1280", "--device-batch-size=3"],
    "base_eval": ["--eval=core", "--tasks=copa,lambada_openai", "--max-per-task=12"],
    "chat_eval": ["-i=base", "-a=Arithmetic,ARC-Easy", "-x=9", "--max-new-tokens=8"],
}


@pytest.mark.parametrize("stage", EVALUATIONS)
def test_two_processes_evaluate_as_one_does(
    base: Path, stage: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main("base_train", [f"--base-dir={base}", *TINY, "--num-iterations=3", "--eval-every=-1"]) == 0
    options = [f"--base-dir={base}", "--dtype=float32", *EVALUATIONS[stage]]
    if stage == "base_eval":
        options.append(f"--bundle={shared_data / 'eval_bundle'}")
    if stage == "chat_eval":
        options += ["--offline", f"--task-data={shared_data / 'hub'}"]
    results: list[dict[str, Any]] = []
    for processes in (1, 2):
        folder = base / "runs" / f"by-{processes}"
        monkeypatch.setenv("NANOCHAT_RUN_DIR", str(folder))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert main(stage, [*options, f"--nproc={processes}"]) == 0
        events = read_events(folder / "events.jsonl")[0]
        assert [event.seq for event in events] == list(range(len(events)))
        logged = events[-1].data["results"]
        assert isinstance(logged, dict)
        results.append(
            {
                name: value
                for name, value in logged.items()
                if name.startswith(("core/", "chat/")) or name.endswith("bpb")
            }
        )
    assert results[0]
    assert results[1] == pytest.approx(results[0], abs=1e-9)
