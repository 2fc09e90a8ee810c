"""Runs as TensorBoard files, read back with TensorBoard's own reader."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanochat.cli import main
from nanochat.commands.tensorboard import without_superseded
from nanochat.run.events import Event, EventWriter, number, read_events

RUN = "20260101-000000-base_train-ab12"


def write_log(base: Path, run_id: str = RUN) -> Path:
    """A run killed after step 5 and gone on from step 3, with every kind of event."""
    folder = base / "runs" / run_id
    folder.mkdir(parents=True)
    with EventWriter(folder / "events.jsonl") as log:
        for attempt, steps in ((1, range(6)), (2, range(3, 8))):
            options = {"depth": 4, "fp8": False, "window_pattern": "L", "betas": [0.8, 0.95]}
            start = {"stage": "base_train", "attempt": attempt, "from_step": steps[0], "options": options}
            log.emit("stage_start", data={**start, "info": {"params": 123}})
            for step in steps:
                log.emit("metric", step=step, data={"train/loss": attempt + 1 / (step + 1), "note": "word"})
            log.emit("eval", step=steps[-1] + 1, data={"val/bpb": attempt * 1.1})
            log.emit("metric", data={"bytes": 10 * attempt})
            log.emit("log", data={"text": "a line"})
        log.emit("metric", step=8, data={"train/loss": float("nan"), "train/grad_norm": float("inf")})
        log.emit("sample", step=8, data={"prompt": "The sky", "text": " is *blue*", "mode": "greedy"})
        log.emit("alert", step=8, data={"level": "warn", "what": "loss_spike", "message": "2 to 9"})
        log.emit("stage_end", data={"status": "succeeded", "results": {"val/bpb": 2.2}})
    return folder


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    return found.Reload()


def test_every_value_that_counts_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_log(tmp_path)
    assert main(["tensorboard", RUN, "--base-dir", str(tmp_path), "--out", str(tmp_path / "tb")]) == 0
    assert "tensorboard --logdir" in capsys.readouterr().out
    got = read(tmp_path / "tb" / RUN)

    events, _ = read_events(folder / "events.jsonl")
    wanted: dict[str, list[tuple[float, float]]] = {}
    for event in without_superseded(events):
        if event.kind in ("metric", "eval") and event.step is not None:
            for name, value in event.data.items():
                if (scalar := number(value)) is not None:
                    wanted.setdefault(name, []).append((event.step, scalar))
    assert set(got.Tags()["scalars"]) == {*wanted, "bytes"}
    for name, points in wanted.items():
        scalars = got.Scalars(name)
        assert [s.step for s in scalars] == [step for step, _ in points]
        np.testing.assert_array_equal(
            np.float32([s.value for s in scalars]), np.float32([value for _, value in points])
        )
    losses = [(s.step, s.value) for s in got.Scalars("train/loss")]
    assert [step for step, _ in losses] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert losses[2][1] == pytest.approx(1 + 1 / 3)
    assert losses[3][1] == pytest.approx(2 + 1 / 4)  # the second attempt's, not the first's
    assert [s.value for s in got.Scalars("val/bpb")] == pytest.approx([2.2])
    assert [(s.step, s.value) for s in got.Scalars("bytes")] == [(0, 10), (1, 20)]
    assert got.Scalars("train/loss")[0].wall_time == pytest.approx(events[1].t)


def test_samples_alerts_and_options_come_back_as_text(tmp_path: Path):
    folder = write_log(tmp_path)
    assert main(["tensorboard", str(folder), "--base-dir", str(tmp_path)]) == 0
    got = read(tmp_path / "tensorboard" / RUN)

    def text(tag: str) -> list[tuple[int, str]]:
        return [(t.step, t.tensor_proto.string_val[0].decode()) for t in got.Tensors(tag)]

    assert text("samples/The sky") == [(8, "    The sky is *blue*")]
    assert text("alerts/loss_spike") == [(8, "warn: 2 to 9")]
    assert "| window_pattern | L |" in text("options")[0][1]
    assert "| params | 123 |" in text("info")[0][1]
    assert "| status | succeeded |" in text("end")[0][1]
    assert got.PluginTagToContent("hparams").keys() == {"_hparams_/session_start_info"}


def test_a_second_export_replaces_the_first(tmp_path: Path):
    write_log(tmp_path)
    for _ in range(2):
        assert main(["tensorboard", RUN[:20], "--base-dir", str(tmp_path)]) == 0
    assert len(list((tmp_path / "tensorboard" / RUN).iterdir())) == 1


def test_what_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_log(tmp_path)
    write_log(tmp_path, RUN.replace("ab12", "ab34"))
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "empty" / "events.jsonl").touch()
    where = ["--base-dir", str(tmp_path)]
    for name, said in (("nothing", "no run 'nothing'"), ("2026", "2 runs begin"), ("empty", "no events")):
        assert main(["tensorboard", RUN, name, *where]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "tensorboard").exists()


def test_without_the_package_it_says_what_to_install(tmp_path: Path):
    write_log(tmp_path)
    missing = tmp_path / "missing" / "tensorboard"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ImportError('not here')")
    root = Path(__file__).resolve().parents[3]
    env = {**os.environ, "PYTHONPATH": f"{missing.parent}{os.pathsep}{root}"}
    shown = subprocess.run(
        [sys.executable, "-m", "nanochat", "tensorboard", RUN, "--base-dir", str(tmp_path)],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 1
    assert "pip install" in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_a_resume_from_the_start_leaves_nothing_of_the_first_attempt():
    events = [
        Event(0, 0.0, "stage_start", None, {"from_step": 0}), Event(1, 0.0, "metric", 0, {"a": 1}),
        Event(2, 0.0, "stage_start", None, {"from_step": 0}), Event(3, 0.0, "metric", 0, {"a": 2}),
    ]  # fmt: skip
    assert [e.seq for e in without_superseded(events)] == [0, 2, 3]
