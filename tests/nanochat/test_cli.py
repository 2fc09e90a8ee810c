"""The `nanochat` command as a person types it: help, nearest names, exit codes, one line an error."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from nanochat.common.paths import Layout
from nanochat.config.stages import STAGES

ROOT = Path(__file__).resolve().parents[2]


def nanochat(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nanochat", *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=120,
    )


def test_help_names_every_stage_and_goes_to_stdout():
    done = nanochat("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for name in STAGES:
        assert name in done.stdout


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_its_own_help(name, monkeypatch, capsys):
    done = nanochat(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: nanochat {name}" in done.stdout
    # As a module in this process: in one of its own each would load torch again.
    monkeypatch.setattr(sys, "argv", ["stage", "--help"])
    monkeypatch.delitem(sys.modules, f"nanochat.stages.{name}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"nanochat.stages.{name}", run_name="__main__")
    assert ended.value.code == 0
    assert f"usage: nanochat {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["base_trian"], 2, "did you mean 'base_train'"),
        (["hots"], 2, "did you mean 'hosts'"),
        (["--no-tui", "demmo"], 2, "did you mean 'demo'"),
        (["--no-tui"], 2, "PLAN"),
        (["--no-tui", "demo", "--set", "base_train.dpeth=3"], 2, "depth"),
        (["base_train", "--dpeth=3"], 2, "did you mean '--depth'"),
        (["data", "biuld"], 2, "did you mean 'build'"),
        (["tasks", "shw"], 2, "did you mean 'show'"),
        (["runs", "folow"], 2, "did you mean 'follow'"),
        (["completion", "bsh"], 2, "did you mean 'bash'"),
        (["tok_train", "--data-dir", "nowhere"], 2, "nowhere"),
        (["base_train", "--data-dir", "nowhere"], 2, "nanochat tok_train"),
        (["runs", "show", "no-such-run"], 2, "no-such-run"),
        (["hosts", "test", "no-such-host"], 2, "no-such-host"),
        (["--no-tui", "demo", "--host", "no-such-host"], 2, "no-such-host"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(words, code, says, layout: Layout):
    done = nanochat(*words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("spelled", (["--base-dir", "{}"], ["--base-dir={}"]))
def test_the_base_directory_may_stand_before_the_command(spelled: list[str], tmp_path: Path):
    done = nanochat(
        *(word.format(tmp_path / "nowhere") for word in spelled), "checkpoints", "show", "base/d2"
    )
    assert done.returncode == 2 and f"{tmp_path / 'nowhere'} does not exist" in done.stderr


def test_a_base_directory_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = nanochat("tok_train", "--base-dir", str(tmp_path / "file" / "below"))
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(tmp_path / "file") in done.stderr


def test_a_stage_run_directly_leaves_the_same_files_as_one_under_an_agent(layout: Layout):
    import json

    done = nanochat("tok_train", "--data-dir", "nowhere")
    assert done.returncode == 2
    (run,) = layout.runs.iterdir()
    asked = json.loads((run / "run.json").read_text())
    state = json.loads((run / "state.json").read_text())
    last = json.loads((run / "events.jsonl").read_text().splitlines()[-1])
    assert (asked["stage"], asked["options"]) == ("tok_train", {"data_dir": "nowhere"})
    assert (state["status"], state["run_id"], state["attempt"]) == ("failed", run.name, 1)
    assert "nowhere" in state["reason"]
    assert (last["kind"], last["data"]["status"]) == ("stage_end", "failed")
    assert not [name for name in asked["env"] if "=" in name]
