"""Whole runs that go wrong: one clear line, and no checkpoint lost."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from training_data import TINY, error_line, stage_here

from nanochat.checkpoint.files import MODEL, OPTIM, list_checkpoints, newest_complete
from nanochat.run.events import Event, read_events

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


def start(base: Path, *options: str, together: bool = False) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("NANOCHAT_RUN")}
    env |= {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "NANOCHAT_RUN_DIR": str(base / "runs" / "the-run"),
    }
    argv = [sys.executable, "-m", "nanochat", "base_train", f"--base-dir={base}", *TINY, *options]
    errors = subprocess.STDOUT if together else subprocess.PIPE
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=errors, text=True)


def finish(base: Path, *options: str) -> tuple[int, str]:
    """Exit code, and the one error line where there is one."""
    with start(base, *options) as process:
        _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if ": error: " in line]
    assert len(lines) == (1 if process.returncode else 0), errors
    return process.returncode, "".join(lines)


def train(base: Path, *options: str) -> int:
    """A training in this process, without samples: the exit code."""
    return stage_here("base_train", base, *TINY, "--sample-every=-1", *options)


def events(base: Path, kind: str) -> list[Event]:
    return [e for e in read_events(base / "runs/the-run/events.jsonl")[0] if e.kind == kind]


@pytest.fixture
def small_disk(base: Path, mount_tmpfs: Callable[[Path, str], Path]) -> Path:
    """The checkpoint folder on a file system of its own, with room for some tiny checkpoints."""
    return mount_tmpfs(base / "base_checkpoints", "16m")


def fill(disk: Path, leave: int) -> Path:
    filler = disk / "filler"
    filler.write_bytes(b"x" * max(0, shutil.disk_usage(disk).free - leave))
    return filler


def test_a_disk_that_fills_up_in_the_middle_costs_that_checkpoint_only(small_disk: Path, base: Path) -> None:
    """Training goes on with alerts; once there is room again it saves, and ends well."""
    options = ["--num-iterations=300", "--save-every=50", "--eval-every=-1", "--sample-every=-1"]
    filler, failures = None, 0
    with start(base, *options, together=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if filler is None and "saved" in line:
                filler = fill(small_disk, 20_000)
            elif line.startswith("error: cannot save"):
                failures += 1
                assert newest_complete(small_disk / "d2") is not None
                if failures == 2 and filler is not None:
                    filler.unlink()
    assert process.returncode == 0, line
    assert failures >= 2
    alerts = [event for event in events(base, "alert") if event.data["what"] == "checkpoint_failed"]
    assert alerts
    assert "cannot save the checkpoint" in str(alerts[0].data["message"])
    steps = [checkpoint.step for checkpoint in list_checkpoints(small_disk / "d2")]
    assert (steps[0], steps[-1]) == (50, 300)
    assert not [path for path in (small_disk / "d2").iterdir() if path.name.startswith(".")]


def test_a_disk_full_at_the_end_ends_in_one_line_and_keeps_what_was_saved(
    small_disk: Path, base: Path
) -> None:
    assert finish(base, "--num-iterations=10", "--sample-every=-1") == (0, "")
    filler = fill(small_disk, 20_000)
    options = ["--num-iterations=20", "--sample-every=-1", "--resume"]
    code, line = finish(base, *options, "--save-patience=2")
    assert code == 1
    assert "cannot save the checkpoint" in line
    assert "earlier checkpoints are untouched" in line
    assert events(base, "stage_end")[-1].data["status"] == "failed"
    filler.unlink()
    [kept] = list_checkpoints(small_disk / "d2")
    assert kept.step == 10
    kept.tensors(MODEL), kept.tensors(OPTIM)
    assert finish(base, *options) == (0, "")


def test_a_damaged_file_is_named_and_another_step_is_taken(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(base, "--num-iterations=8", "--save-every=4") == 0
    capsys.readouterr()
    for name in (MODEL, OPTIM, "state_rank0.safetensors"):
        damaged = base / "base_checkpoints/d2/step_000008" / name
        whole = damaged.read_bytes()
        content = bytearray(whole)
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
        assert train(base, "--num-iterations=12", "--resume") == 2
        line = error_line(capsys)
        assert f"checkpoint file {damaged} is damaged" in line
        assert "take another step" in line
        damaged.write_bytes(whole)
    damaged.write_bytes(content)
    assert train(base, "--num-iterations=12", "--resume-from-step=4") == 0


def test_a_batch_that_cannot_be_divided_ends_in_one_line(base: Path) -> None:
    code, line = finish(base, "--num-iterations=3", "--total-batch-size=700")
    assert (code, "give --total-batch-size 768" in line) == (2, True)


def test_a_stop_while_sampling_saves_what_was_learned(base: Path) -> None:
    with start(base, "--num-iterations=400", "--sample-every=5", "--eval-every=-1") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("The capital"):
                process.send_signal(signal.SIGTERM)
                break
        process.communicate(timeout=60)
    assert process.returncode == 4
    assert events(base, "stage_end")[-1].data["status"] == "stopped"
    [saved] = list_checkpoints(base / "base_checkpoints/d2")
    assert saved.step == 5


def test_a_disk_full_under_two_processes_costs_that_checkpoint_only(small_disk: Path, base: Path) -> None:
    """Both write into one folder; neither waits for the other for ever, and training goes on."""
    options = ["--num-iterations=60", "--save-every=10", "--eval-every=-1", "--sample-every=-1", "--nproc=2"]
    filler, failures = None, 0
    with start(base, *options, together=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if filler is None and "saved" in line:
                filler = fill(small_disk, 20_000)
            elif line.startswith("error: cannot save"):
                failures += 1
                if failures == 2 and filler is not None:
                    filler.unlink()
    assert process.returncode == 0, line
    assert failures >= 2
    last = newest_complete(small_disk / "d2")
    assert last is not None
    assert (last.step, last.ranks) == (60, 2)
    assert not [path for path in (small_disk / "d2").iterdir() if path.name.startswith(".")]
