"""What a stage run directly leaves on disk: run.json, and a state.json that says how it ended."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout
from nanochat.config.data_options import TokTrainOptions
from nanochat.config.stages import Results, StageSpec
from nanochat.run.events import read_events
from nanochat.run.progress import Progress
from nanochat.run.stage_run import StageRun, StageStopped, run_stage

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class FakeStage(StageSpec):
    """A stage of this test: its `run` is the function given."""

    function: Callable[[Any, StageRun], Results] = lambda options, run: {}

    def load(self) -> Callable[[Any, Any], Results]:
        return self.function


@pytest.fixture
def signals_kept():
    """A stage handles the signals of its process, which is the tests' here."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def succeed(options: TokTrainOptions, run: StageRun) -> Results:
    return {"answer": 42}


def stop(options: TokTrainOptions, run: StageRun) -> Results:
    raise StageStopped


def raising(error: Exception) -> Callable[[Any, StageRun], Results]:
    def fail(options: TokTrainOptions, run: StageRun) -> Results:
        raise error

    return fail


@pytest.mark.parametrize(
    ("function", "code", "status", "reason"),
    [
        (succeed, Exit.OK, "succeeded", ""),
        (stop, Exit.STOPPED, "stopped", "stopped, as asked"),
        (raising(UserError("no shards here")), Exit.USAGE, "failed", "no shards here"),
        (raising(UserError("no answer", "", Exit.UNREACHABLE)), Exit.UNREACHABLE, "failed", "no answer"),
        (raising(UserError("disk full", "", Exit.FAILED)), Exit.FAILED, "failed", "disk full"),
        (raising(OSError(5, "Input/output error")), Exit.FAILED, "failed", "Input/output error"),
        (raising(RuntimeError("a defect")), Exit.FAILED, "failed", "RuntimeError: a defect"),
    ],
)
def test_the_state_of_a_stage_run_directly_has_its_exit_code(
    function: Callable[[Any, StageRun], Results],
    code: int,
    status: str,
    reason: str,
    layout: Layout,
    signals_kept: None,
):
    spec = FakeStage("fake", "data_options.TokTrainOptions", "of a test", "text", function)
    assert run_stage(spec, []) == code
    (run,) = layout.runs.iterdir()
    state = json.loads((run / "state.json").read_text())
    assert (state["exit_code"], state["status"]) == (code, status)
    assert state["reason"].startswith(reason)
    assert state["ended_at"] >= state["started_at"]
    events, _ = read_events(run / "events.jsonl")
    assert (events[-1].kind, events[-1].data["status"]) == ("stage_end", status)
    assert events[-1].data["error"] == state["reason"]


def test_a_stage_broken_off_by_a_second_ctrl_c_has_failed(layout: Layout, signals_kept: None):
    def interrupted(options: TokTrainOptions, run: StageRun) -> Results:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(FakeStage("fake", "data_options.TokTrainOptions", "of a test", "text", interrupted), [])
    (run,) = layout.runs.iterdir()
    state = json.loads((run / "state.json").read_text())
    assert (state["status"], state["reason"], state["exit_code"]) == ("failed", "interrupted", 130)


def test_a_name_that_is_no_utf_8_ends_no_stage(
    layout: Layout, signals_kept: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a working directory that is gone."""
    strange = os.fsdecode(b"caf\xe9")
    spec = FakeStage("fake", "data_options.TokTrainOptions", "of a test", "text", succeed)
    for name, written in ((strange, str(tmp_path / "caf\ufffd")), ("gone", "")):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        if not written:
            folder.rmdir()
        assert run_stage(spec, [f"--data-dir={strange}", f"--base-dir={tmp_path / name}-base"]) == 0
        (run,) = (tmp_path / f"{name}-base" / "runs").iterdir()
        asked = json.loads((run / "run.json").read_bytes())
        assert (asked["cwd"], asked["options"]["data_dir"]) == (written, "caf\ufffd")
        assert json.loads((run / "state.json").read_bytes())["status"] == "succeeded"


HOSTILE = "\x1b]0;title\x07 \x9b31m \u202egnp.exe [/bold]"
"""What a model may write, and a file be called."""


def test_nothing_that_a_terminal_acts_on_is_printed(
    layout: Layout, signals_kept: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def say_all(options: TokTrainOptions, run: StageRun) -> Results:
        with Progress(run, f"reading {HOSTILE}") as progress:
            progress.update(0.5, note=HOSTILE)
        run.log(f"⟶{HOSTILE}\nsecond line")
        run.alert("what", HOSTILE)
        raise FileNotFoundError(2, "No such file", HOSTILE)

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    spec = FakeStage("fake", "data_options.TokTrainOptions", "of a test", "text", say_all)
    assert run_stage(spec, []) == Exit.FAILED
    out, err = capsys.readouterr()
    own = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # the progress bar's
    assert out == "⟶␛]0;title␇ ⟨009b⟩31m ⟨202e⟩gnp.exe [/bold]\nsecond line\n"
    assert not set(own.sub("", err)) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert "No such file ␛]0;title␇" in err
    (run,) = layout.runs.iterdir()
    logged = [e.data["text"] for e in read_events(run / "events.jsonl")[0] if e.kind == "log"]
    assert logged == [f"⟶{HOSTILE}\nsecond line"]


def test_the_exit_code_is_that_of_the_process(layout: Layout):
    words = [sys.executable, "-m", "nanochat.stages.tok_train", "--data-dir", "nowhere"]
    done = subprocess.run(words, capture_output=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)})
    (run,) = layout.runs.iterdir()
    assert json.loads((run / "state.json").read_text())["exit_code"] == done.returncode == Exit.USAGE


def test_the_directory_knows_nothing_of_the_stage():
    """run_directory.py is what lies on disk; the stage's view of it is built on top."""
    code = "import sys, nanochat.run.run_directory; print('nanochat.run.stage_run' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "False"
