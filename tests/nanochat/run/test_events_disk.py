"""A disk that takes nothing for a while costs events at most: they wait, metrics are thinned, losses told."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_run_directory import FakeStage, signals_kept  # noqa: F401 - a fixture

from nanochat.common.paths import Layout
from nanochat.config.data_options import TokTrainOptions
from nanochat.config.stages import Results
from nanochat.run import events as events_module
from nanochat.run.events import Event, EventWriter, read_events
from nanochat.run.stage_run import StageRun, run_stage

pytestmark = pytest.mark.slow

ERRORS = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.ESTALE]


class Disk:
    """os.write of the event log, failing while `number` is an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number, self.torn = 0, 0
        self.write = os.write
        monkeypatch.setattr(events_module.os, "write", self)
        monkeypatch.setattr(events_module, "RETRY_SECONDS", 0.0)

    def __call__(self, descriptor: int, line: bytes) -> int:
        if self.torn:
            return self.write(descriptor, line[: self.torn])
        if self.number:
            raise OSError(self.number, os.strerror(self.number))
        return self.write(descriptor, line)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def seen(path: Path) -> list[Event]:
    found = read_events(path)[0]
    assert [event.seq for event in found] == list(range(len(found)))
    return found


@pytest.mark.parametrize("number", ERRORS)
def test_events_wait_for_the_disk_and_come_in_order(tmp_path: Path, disk: Disk, number: int) -> None:
    with EventWriter(tmp_path / "events.jsonl") as log:
        log.emit("log", data={"text": "before"})
        disk.number = number
        for step in range(3):
            log.emit("metric", step=step, data={"train/loss": 1.0})
        assert log.trouble == os.strerror(number)
        disk.number = 0
        log.emit("log", data={"text": "after"})
        assert not log.trouble
    found = seen(tmp_path / "events.jsonl")
    assert [event.kind for event in found] == ["log", "metric", "metric", "metric", "log", "alert"]
    assert "nothing was lost" in str(found[-1].data["message"])
    assert [event.t for event in found] == sorted(event.t for event in found)


def test_a_line_written_in_part_is_taken_back(tmp_path: Path, disk: Disk) -> None:
    with EventWriter(tmp_path / "events.jsonl") as log:
        log.emit("log", data={"text": "before"})
        disk.torn = 11
        log.emit("log", data={"text": "torn"})
        log.emit("log", data={"text": "torn too"})
        disk.torn = 0
        log.emit("log", data={"text": "after"})
    lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
    texts = [json.loads(line)["data"].get("text") for line in lines]
    assert texts == ["before", "torn", "torn too", "after", None]


def test_what_waits_is_bounded_and_metrics_are_spared_first(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "MAX_WAITING", 40)
    with EventWriter(tmp_path / "events.jsonl") as log:
        disk.number = errno.ENOSPC
        log.emit("stage_start")
        for step in range(500):
            log.emit("metric", step=step, data={"train/loss": 1.0})
            if step % 50 == 0:
                log.emit("eval", step=step, data={"val/bpb": 1.0})
        log.emit("checkpoint", step=500)
        disk.number = 0
        log.emit("stage_end")
    found = seen(tmp_path / "events.jsonl")
    kinds = [event.kind for event in found]
    assert len(found) <= 42
    assert (kinds.count("stage_start"), kinds.count("eval"), kinds.count("checkpoint")) == (1, 10, 1)
    lost = 500 - kinds.count("metric")
    assert f"lost: {lost} metric" in str(found[-1].data["message"])


def test_a_kind_that_cannot_be_spared_is_thinned_at_last(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "MAX_WAITING", 10)
    with EventWriter(tmp_path / "events.jsonl") as log:
        disk.number = errno.EIO
        for number in range(100):
            log.emit("log" if number % 2 else "alert", data={"text": "x" * 100_000})
        disk.number = 0
        assert log.settle(0)
    found = seen(tmp_path / "events.jsonl")
    assert len(found) <= 12
    assert "alert" in str(found[-1].data["message"])


def test_the_end_is_written_again(
    layout: Layout,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    signals_kept: None,  # noqa: F811
) -> None:
    """The disk is full when the stage ends, and takes the end a little later."""
    tries = []

    def stage(options: TokTrainOptions, run: StageRun) -> Results:
        disk.number = errno.ENOSPC
        return {"answer": 42}

    def sleep(seconds: float) -> None:
        tries.append(seconds)
        disk.number = 0

    monkeypatch.setattr(events_module.time, "sleep", sleep)
    assert run_stage(FakeStage("fake", "data_options.TokTrainOptions", "of a test", "text", stage), []) == 0
    (run,) = layout.runs.iterdir()
    kinds = [(event.kind, event.data.get("status")) for event in seen(run / "events.jsonl")]
    assert ("stage_end", "succeeded") in kinds
    assert tries
    assert json.loads((run / "state.json").read_text(encoding="utf-8"))["status"] == "succeeded"


FULL = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_run_directory import FakeStage
from nanochat.config.data_options import TokTrainOptions
from nanochat.run import stage_run
stage_run.END_PATIENCE = 0.2

def stage(options, run):
    filler = Path({disk!r}) / "filler"
    try:
        with filler.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
    except OSError:
        pass
    for step in range(50):
        run.metric(step, {{"train/loss": 1.0}})
    {end}
    return {{"answer": 42}}

spec = FakeStage("fake", "data_options.TokTrainOptions", "of a test", "text", stage)
sys.exit(stage_run.run_stage(spec, []))
"""


@pytest.mark.parametrize("for_good", [False, True])
def test_a_full_disk_does_not_end_a_stage_and_its_state_says_how_it_ended(
    tmp_path: Path, mount_tmpfs: Callable[[Path, str], Path], for_good: bool
) -> None:
    disk = mount_tmpfs(tmp_path / "disk", "1m")
    script = FULL.format(
        tests=str(Path(__file__).parent), disk=str(disk), end="pass" if for_good else "filler.unlink()"
    )
    env: dict[str, Any] = {**os.environ, "NANOCHAT_BASE_DIR": str(disk)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "the event log waits for the disk" in done.stderr
    (run,) = [path for path in (disk / "runs").iterdir() if not path.name.startswith(".")]
    state = json.loads((run / "state.json").read_text(encoding="utf-8"))
    assert (state["status"], state["exit_code"]) == ("succeeded", 0)
    found = seen(run / "events.jsonl")
    if for_good:
        assert "the end of the run is not in" in done.stderr
    else:
        assert len([event for event in found if event.kind == "metric"]) == 50
        assert ("stage_end", "succeeded") in [(event.kind, event.data.get("status")) for event in found]
