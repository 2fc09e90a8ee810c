"""One live writer a tag, and nothing of another run replaced unless asked for."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_data import TINY, error_line, make_base

from nanochat.checkpoint.files import MODEL, OPTIM, Checkpoint, find_checkpoint, list_checkpoints
from nanochat.checkpoint.tags import check_steps_are_free, only_writer
from nanochat.checkpoint.write import save_checkpoint
from nanochat.common.errors import UserError
from nanochat.run.first_attempt import NOTHING
from nanochat.run.stage_run import main


def save(tag: Path, step: int, run_id: str, *, before: float = NOTHING) -> Checkpoint:
    files = {MODEL: {"w": torch.ones(3)}, OPTIM: {"m": torch.ones(3)}}
    return save_checkpoint(tag, step, files, {"run_id": run_id}, replace_before=before)


def owners(tag: Path) -> list[tuple[int, str]]:
    return sorted((c.step, str(c.meta["run_id"])) for c in list_checkpoints(tag))


HOLDER = """
import sys
from pathlib import Path
from nanochat.checkpoint.tags import only_writer
with only_writer(Path(sys.argv[1]), "run-a"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_second_live_writer_is_told_whose_the_tag_is(tmp_path: Path) -> None:
    tag = tmp_path / "base_checkpoints" / "d4"
    command = [sys.executable, "-c", HOLDER, str(tag)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UserError, match=r"run run-a is writing checkpoints to .*d4"),
            only_writer(tag, "b"),
        ):
            pass
        with only_writer(tag.with_name("d6"), "b"):  # another tag
            pass
        holder.kill()
    with only_writer(tag, "b"), pytest.raises(UserError, match="run b is writing"), only_writer(tag, "c"):
        pass
    assert not tag.exists()


def test_another_runs_step_is_saved_beside_and_replaced_where_asked(tmp_path: Path) -> None:
    theirs = save(tmp_path, 7, "run-a")
    ours = save(tmp_path, 7, "run-b")
    assert ours.path != theirs.path
    assert owners(tmp_path) == [(7, "run-a"), (7, "run-b")]
    save(tmp_path, 7, "run-b")
    save(tmp_path, 7, "run-a")
    assert owners(tmp_path) == [(7, "run-a"), (7, "run-b")]
    assert find_checkpoint(tmp_path.parent, tmp_path.name, 7).meta["run_id"] == "run-a"  # saved last
    save(tmp_path, 7, "run-c", before=math.inf)
    assert owners(tmp_path) == [(7, "run-b"), (7, "run-c")]


def test_only_what_was_saved_until_then_is_replaced(tmp_path: Path) -> None:
    theirs = save(tmp_path, 7, "run-a")
    ours = save(tmp_path, 7, "run-b", before=theirs.saved_at - 1)
    assert ours.path != theirs.path
    with pytest.raises(UserError, match="of run run-a"):
        check_steps_are_free(tmp_path, "run-b", lambda step: True, theirs.saved_at - 1)
    check_steps_are_free(tmp_path, "run-b", lambda step: True, theirs.saved_at)
    assert save(tmp_path, 7, "run-c", before=theirs.saved_at).path == theirs.path


def test_a_checkpoint_whose_owner_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    theirs = save(tmp_path, 7, "run-a")
    (theirs.path / "meta.json").write_text("{")
    save(tmp_path, 7, "run-a")
    assert (theirs.path / MODEL).is_file()
    assert owners(tmp_path) == [(7, "run-a")]


def test_steps_that_would_be_replaced_are_told_with_their_run(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save(tmp_path, step, "run-a")
    check_steps_are_free(tmp_path, "run-a", lambda step: True)
    check_steps_are_free(tmp_path, "run-b", lambda step: step == 7)
    with pytest.raises(UserError, match=r"of run run-a at steps this run would save: 10, 15 .*--overwrite"):
        check_steps_are_free(tmp_path, "run-b", lambda step: step >= 10)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("NANOCHAT_RUN_DIR", raising=False)
    return make_base(tmp_path)


@pytest.mark.slow
def test_an_inherited_overwrite_replaces_nothing_that_came_since(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--base-dir={base}", *TINY, "--sample-every=-1", "--eval-every=-1"]
    tag = base / "base_checkpoints" / "d2"
    save(tag, 2, "before")
    run = base / "runs" / "run"
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(run))
    assert main("base_train", [*options, "--num-iterations=2", "--overwrite"]) == 0
    assert owners(tag) == [(2, "run")]
    shutil.rmtree(tag)  # as if it had been killed before its first save
    save(tag, 2, "since")
    monkeypatch.setenv("NANOCHAT_ATTEMPT", "2")
    capsys.readouterr()
    assert main("base_train", [*options, "--num-iterations=2", "--overwrite"]) == 2
    assert "of run since at steps this run would save: 2" in error_line(capsys)
    assert owners(tag) == [(2, "since")]


@pytest.mark.slow
def test_a_training_replaces_no_other_run(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [f"--base-dir={base}", *TINY, "--sample-every=-1", "--eval-every=-1"]
    tag = base / "base_checkpoints" / "d2"
    assert main("base_train", [*options, "--num-iterations=2"]) == 0
    [(_, first)] = owners(tag)
    weights = (tag / "step_000002" / MODEL).read_bytes()
    assert main("base_train", [*options, "--num-iterations=2", "--seed=7"]) == 2
    line = error_line(capsys)
    assert first in line
    assert "--overwrite" in line
    assert main("base_train", [*options, "--num-iterations=4", "--save-every=2"]) == 2
    assert main("base_train", [*options, "--num-iterations=3"]) == 0  # no step in common
    assert (tag / "step_000002" / MODEL).read_bytes() == weights
    assert main("base_train", [*options, "--num-iterations=2", "--seed=7", "--overwrite"]) == 0
    assert (tag / "step_000002" / MODEL).read_bytes() != weights
    with only_writer(tag, "20260101-000000-base_train-abcd"):
        capsys.readouterr()
        assert main("base_train", [*options, "--num-iterations=9"]) == 2
    assert "run 20260101-000000-base_train-abcd is writing" in error_line(capsys)
