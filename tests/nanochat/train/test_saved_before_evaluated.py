"""A checkpoint is on disk before its model is evaluated, and gets the figures that rate it afterwards."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training_data import TINY, error_line, events_of, of_kind, stage_process

from nanochat.checkpoint.figures import add_figures, bpb_of_step
from nanochat.checkpoint.files import MODEL, OPTIM, Checkpoint, list_checkpoints
from nanochat.checkpoint.saver import RetentionPolicy, Saver, prune
from nanochat.checkpoint.write import save_checkpoint
from nanochat.common.errors import UserError
from nanochat.compute.ranks import Ranks
from nanochat.run.stage_run import main
from nanochat.train.validation import ValidationSet

pytestmark = pytest.mark.slow

OPTIONS = [*TINY, "--num-iterations=6", "--sample-every=-1"]


def tag(base: Path) -> list[Checkpoint]:
    return list_checkpoints(base / "base_checkpoints/d2")


@pytest.fixture
def evaluation_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every evaluation but that before the first step fails."""
    evaluate = ValidationSet.evaluate

    def fail(self: ValidationSet, job: Any) -> None:
        if job.state.step:
            raise UserError("the validation text is gone")
        evaluate(self, job)

    monkeypatch.setattr(ValidationSet, "evaluate", fail)


@pytest.mark.parametrize(("every", "steps"), [("-1", [6]), ("3", [3])])
def test_a_failing_evaluation_costs_no_step_that_was_to_be_saved(
    base: Path, evaluation_fails: None, every: str, steps: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--save-every={every}", f"--eval-every={every if every != '-1' else 100}"]
    assert main("base_train", [f"--base-dir={base}", *OPTIONS, *options]) == 2
    assert "the validation text is gone" in error_line(capsys)
    assert [c.step for c in tag(base)] == steps
    assert [bpb_of_step(c) for c in tag(base)] == [None]


def test_after_a_failed_evaluation_resume_only_evaluates(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ValidationSet, "evaluate", lambda *_: (_ for _ in ()).throw(UserError("no text")))
        assert main("base_train", [f"--base-dir={base}", *OPTIONS, "--eval-every=-1"]) == 2
    [before] = tag(base)
    files = {path.name: path.stat().st_mtime_ns for path in before.path.iterdir()}
    assert main("base_train", [f"--base-dir={base}", *OPTIONS, "--eval-every=-1", "--resume"]) == 0
    events = events_of(base)
    assert not of_kind(events, "metric")
    [after] = tag(base)
    [logged] = of_kind(events, "eval")
    assert (logged.step, bpb_of_step(after)) == (6, logged.data["val/bpb"])
    assert after.meta["run_id"] == before.meta["run_id"]
    changed = {path.name for path in after.path.iterdir() if path.stat().st_mtime_ns != files[path.name]}
    assert changed == {"meta.json"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_the_last_evaluation_the_weights_are_there(base: Path, number: signal.Signals) -> None:
    options = [*OPTIONS, "--eval-every=-1", "--eval-tokens=4000000"]
    with stage_process("base_train", base, *options, "--run=killed") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if " | saved " in line:
                process.send_signal(number)
                break
        process.communicate(timeout=60)
    assert process.returncode == (4 if number == signal.SIGTERM else -number)
    [saved] = tag(base)
    assert saved.step == 6
    saved.tensors(MODEL), saved.tensors(OPTIM)


def test_a_checkpoint_has_the_figure_of_its_own_step_or_none(base: Path) -> None:
    options = [*TINY, "--num-iterations=8", "--save-every=2", "--eval-every=4", "--sample-every=-1"]
    assert main("base_train", [f"--base-dir={base}", *options]) == 0
    figures = {e.step: e.data["val/bpb"] for e in of_kind(events_of(base), "eval")}
    assert {c.step: bpb_of_step(c) for c in tag(base)} == {
        2: None, 4: figures[4], 6: None, 8: figures[8]
    }  # fmt: skip
    last = tag(base)[-1]
    assert last.meta["loop_state"]["min_val_bpb"] == min(figures.values())
    last.check_files()


def saved(folder: Path, step: int, **meta: Any) -> Checkpoint:
    time.sleep(0.002)  # the order of saving is that of the clock
    tensors = {MODEL: {"w": torch.ones(2)}, OPTIM: {"m": torch.ones(2)}}
    return save_checkpoint(folder, step, tensors, {"run_id": "r", **meta})


def test_only_a_figure_of_that_step_rates_a_checkpoint(tmp_path: Path) -> None:
    """The last known figure of version 0.1.0 counts only where an evaluation was due."""
    old = {"user_config": {"eval_every": 4}}
    best = saved(tmp_path, 4, val_bpb=1.5, **old)
    saved(tmp_path, 6, val_bpb=1.2, **old)  # nobody knows of which step
    saved(tmp_path, 8, val_bpb=1.9, **old)
    saved(tmp_path, 10, val_bpb=None, figures={})
    prune(tmp_path, "r", RetentionPolicy(1, best=True))
    assert [c.step for c in list_checkpoints(tmp_path)] == [4, 10]
    add_figures(list_checkpoints(tmp_path)[-1], {"val/bpb": 1.4})
    prune(tmp_path, "r", RetentionPolicy(1, best=True))
    assert [c.step for c in list_checkpoints(tmp_path)] == [10]
    assert best.step == 4


@pytest.mark.parametrize("bad", [None, "1.0", True, float("inf"), float("nan")])
def test_what_is_no_number_rates_nothing(tmp_path: Path, bad: Any) -> None:
    assert bpb_of_step(saved(tmp_path, 1, val_bpb=bad, figures={})) is None


def test_figures_that_cannot_be_written_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver(tmp_path / "d2", Ranks(), RetentionPolicy(), "r")
    kept = saver.save(3, {MODEL: {"w": torch.ones(2)}}, {"run_id": "r"})
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise UserError("cannot write meta.json: no space left on device")

        patch.setattr("nanochat.checkpoint.figures.atomic_write", full)
        assert "no space left" in saver.add_figures(3, {"val/bpb": 1.0})
    assert "figures" not in json.loads((kept.path / "meta.json").read_text(encoding="utf-8"))
    monkeypatch.setattr("nanochat.checkpoint.saver.FIGURES_RETRY", 0.0)
    assert saver.add_figures(3, {"core/core": float("nan")}) == ""
    figures = json.loads((kept.path / "meta.json").read_text(encoding="utf-8"))["figures"]
    assert figures == {"val/bpb": 1.0, "core/core": "NaN"}


def test_another_runs_checkpoint_keeps_its_own_figures(tmp_path: Path) -> None:
    other = saved(tmp_path, 3, figures={"val/bpb": 1.0}, val_bpb=1.0)
    saver = Saver(tmp_path, Ranks(), RetentionPolicy(), "another", resumed=other)
    assert saver.add_figures(3, {"val/bpb": 2.0}) == ""
    assert bpb_of_step(list_checkpoints(tmp_path)[0]) == 1.0
