"""--wandb with a stand-in for the package that records its calls."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training_data import TINY, events_of, link_base, stage_here

from nanochat.common.paths import Layout
from nanochat.config.train_options import BaseTrainOptions
from nanochat.run.stage_run import StageRun

STAND_IN = """
import json, os
def note(call, **what):
    with open(os.environ["CALLS"], "a") as file:
        file.write(json.dumps({"call": call, **what}) + "\\n")
class Summary:
    def update(self, values): note("summary", values=values)
class Run:
    summary = Summary()
    def define_metric(self, name, step_metric): note("define", name=name, step=step_metric)
    def log(self, values):
        if os.environ.get("BREAKS"):
            raise ConnectionError("no way there")
        note("log", values=values)
    def finish(self, exit_code): note("finish", code=exit_code)
def init(**options):
    note("init", **options)
    return Run()
"""


@pytest.fixture
def base(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """With a package wandb that records its calls."""
    link_base(template, tmp_path)
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "wandb.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    yield tmp_path
    sys.modules.pop("wandb", None)


def train(base: Path, *options: str, attempt: int = 1) -> int:
    return stage_here("base_train", base, *TINY, "--wandb", *options, attempt=attempt)


def calls(base: Path, name: str = "") -> list[dict[str, Any]]:
    lines = (base / "calls").read_text().splitlines() if (base / "calls").exists() else []
    return [call for call in map(json.loads, lines) if not name or call["call"] == name]


@pytest.mark.slow
def test_every_metric_goes_there_and_a_resume_keeps_the_id(base: Path):
    assert train(base, "--num-iterations=4", "--wandb-project=mine", "--save-every=2", "--run=small") == 0
    assert train(base, "--num-iterations=6", "--resume-from-step=2", attempt=2) == 0
    events = events_of(base, "the-run")
    wanted = [{"step": e.step, **e.data} for e in events if e.kind in ("metric", "eval")]
    assert [call["values"] for call in calls(base, "log")] == wanted
    begun = calls(base, "init")
    assert [(c["id"], c["resume"]) for c in begun] == [("the-run", "allow")] * 2
    assert (begun[0]["project"], begun[0]["name"], begun[0]["config"]["depth"]) == ("mine", "small", 2)
    assert calls(base, "summary")[0]["values"]["steps"] == 4
    assert [c["code"] for c in calls(base, "finish")] == [0, 0]


@pytest.mark.slow
def test_a_failure_there_is_one_alert_and_training_continues(base: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BREAKS", "1")
    assert train(base, "--num-iterations=3") == 0
    events = events_of(base, "the-run")
    alerts = [e for e in events if e.kind == "alert" and e.data["what"] == "wandb_failed"]
    assert len(alerts) == 1
    assert "ConnectionError: no way there" in str(alerts[0].data["message"])
    assert events[-1].data["status"] == "succeeded"


@pytest.mark.slow
def test_nothing_is_logged_there_unless_asked_for(base: Path):
    assert train(base, "--no-wandb", "--num-iterations=1") == 0
    assert calls(base) == []


@pytest.mark.parametrize(("rank", "begun"), [("0", 1), ("1", 0)])
def test_only_the_first_rank_talks(base: Path, monkeypatch: pytest.MonkeyPatch, rank: str, begun: int):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    run = StageRun(Layout(base), base, "base_train", BaseTrainOptions(wandb=True), 1)
    run.open_wandb_log()
    run.close()
    assert len(calls(base, "init")) == begun


def test_without_the_package_it_says_what_to_install(base: Path, capsys: pytest.CaptureFixture[str]):
    (base / "packages" / "wandb.py").write_text("raise ImportError('not here')")
    assert train(base, "--num-iterations=1") == 1
    shown = capsys.readouterr().err
    assert "pip install wandb" in shown
    assert shown.count("\n") == 1
