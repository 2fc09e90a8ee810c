"""What a chat stage starts from: a run goes on with its own, whatever else was saved or deleted since."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nanochat.checkpoint.files import MODEL, OPTIM
from nanochat.checkpoint.write import save_checkpoint
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.config.chat_options import ChatSftOptions
from nanochat.run.stage_run import StageRun
from nanochat.train.resume import resume_point
from nanochat.train.starting_checkpoint import find_start

pytestmark = pytest.mark.slow

OPTIONS = ChatSftOptions()


def save(base: Path, source: str, tag: str, step: int, run_id: str = "run") -> Path:
    files = {MODEL: {"w": torch.ones(3)}, OPTIM: {"m": torch.ones(3)}}
    return save_checkpoint(Layout(base).checkpoints(source) / tag, step, files, {"run_id": run_id}).path


def attempt_of(base: Path, attempt: int, started_from: Path | None = None) -> StageRun:
    path = base / "runs" / "run"
    path.mkdir(parents=True, exist_ok=True)
    if started_from is not None:
        first = StageRun(Layout(base), path, "chat_sft", OPTIONS, 1)
        first.start(info={"started_from": str(started_from)})
        first.close()
    return StageRun(Layout(base), path, "chat_sft", OPTIONS, attempt)


def resumed(base: Path, tag: Path, attempt: int, step: int = -1, newest: bool = False) -> int:
    """The step that an attempt of the run resumes from."""
    with contextlib.closing(attempt_of(base, attempt)) as run:
        found = resume_point(tag, run, step=step, newest=newest)
    assert found is not None
    return found.step


def started(run: StageRun, options: ChatSftOptions = OPTIONS) -> tuple[Path, str, bool]:
    start = find_start(options, run, "base", "sft")
    run.close()
    return start.checkpoint.path, start.tag, start.resumed


@pytest.mark.parametrize("since", ["nothing", "a deeper source", "the source is gone", "both"])
def test_a_later_attempt_goes_on_from_the_runs_own(tmp_path: Path, since: str) -> None:
    source = save(tmp_path, "base", "d12", 9, "pretraining")
    own = save(tmp_path, "sft", "d12", 4)
    if since in ("a deeper source", "both"):
        save(tmp_path, "base", "d20", 9, "later")
        save(tmp_path, "sft", "d20", 7, "later")
    if since in ("the source is gone", "both"):
        shutil.rmtree(source.parent)
    assert started(attempt_of(tmp_path, 2, source)) == (own, "d12", True)


def test_a_later_attempt_without_a_checkpoint_starts_from_what_the_first_did(tmp_path: Path) -> None:
    source = save(tmp_path, "base", "d12", 9, "pretraining")
    save(tmp_path, "base", "d12", 10, "later")
    save(tmp_path, "base", "d20", 9, "later")
    assert started(attempt_of(tmp_path, 2, source)) == (source, "d12", False)
    shutil.rmtree(source)
    with pytest.raises(UserError, match=r"step_000009, which this run started from, is gone"):
        started(attempt_of(tmp_path, 2))


def test_a_first_attempt_takes_the_deepest(tmp_path: Path) -> None:
    save(tmp_path, "base", "d12", 9)
    deepest = save(tmp_path, "base", "d20", 9)
    save(tmp_path, "sft", "d12", 4, "other")
    assert started(attempt_of(tmp_path, 1)) == (deepest, "d20", False)


@pytest.mark.parametrize("since", ["a deeper source", "the source is gone"])
def test_resume_by_hand_finds_what_was_being_trained(tmp_path: Path, since: str) -> None:
    source = save(tmp_path, "base", "d12", 9)
    own = save(tmp_path, "sft", "d12", 4, "other")
    if since == "a deeper source":
        save(tmp_path, "base", "d20", 9)
    else:
        shutil.rmtree(source.parent)
    asked = replace(OPTIONS, resume=True)
    assert started(attempt_of(tmp_path, 1), asked) == (own, "d12", True)
    assert started(attempt_of(tmp_path, 1), replace(asked, out_tag="d12")) == (own, "d12", True)


def test_an_inherited_step_is_no_new_wish(tmp_path: Path) -> None:
    save(tmp_path, "base", "d12", 9)
    tag = Layout(tmp_path).checkpoints("sft") / "d12"
    for step in (100, 200):
        save(tmp_path, "sft", "d12", step, "earlier")
    own = save(tmp_path, "sft", "d12", 150)
    asked = replace(OPTIONS, resume_from_step=100)
    assert started(attempt_of(tmp_path, 2), asked)[0] == own
    assert started(attempt_of(tmp_path, 1), asked)[0].name == "step_000100"
    assert [resumed(tmp_path, tag, attempt, step=100) for attempt in (1, 2)] == [100, 150]


def test_a_pretraining_without_a_checkpoint_resumes_from_what_its_first_attempt_did(tmp_path: Path) -> None:
    first = save(tmp_path, "base", "d12", 9, "earlier")
    save(tmp_path, "base", "d12", 20, "later")
    attempt_of(tmp_path, 1, first).close()
    assert [resumed(tmp_path, first.parent, attempt, newest=True) for attempt in (1, 2)] == [20, 9]
    shutil.rmtree(first)
    with pytest.raises(UserError, match="which this run started from, is gone"):
        resumed(tmp_path, first.parent, 2, newest=True)


def test_a_log_that_is_damaged_is_no_start(tmp_path: Path) -> None:
    deepest = save(tmp_path, "base", "d20", 9)
    run = attempt_of(tmp_path, 2)
    assert run.path is not None
    (run.path / "events.jsonl").write_text("{\n" + json.dumps({"kind": "stage_start", "data": 7}) + "\n")
    assert started(run) == (deepest, "d20", False)
