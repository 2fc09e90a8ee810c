"""The checkpoints of a host as its agent lists them, from names and sizes alone."""

import json
import os
from pathlib import Path

from agenthost import AgentHost

from nanochat.checkpoint.names import SOURCES
from nanochat.common.paths import CHECKPOINT_FOLDERS
from remote.agent import checkpoints


def save(tag: Path, step: int, run: object = "20260101-000000-base_train-ab12", when: float = 0.0) -> None:
    """A checkpoint of ours, as far as the agent looks."""
    folder = tag / f"step_{step:06d}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    (folder / "meta.json").write_text(json.dumps({"run_id": run, "step": step}))
    if when:
        os.utime(folder / "meta.json", (when, when))


def test_the_folders_are_those_of_the_pipeline() -> None:
    assert checkpoints.FOLDERS == CHECKPOINT_FOLDERS and tuple(checkpoints.FOLDERS) == SOURCES


def test_checkpoints_are_listed_with_steps_sizes_and_the_run_that_saved_them(agent: AgentHost) -> None:
    base = agent.base / "base_checkpoints" / "d20"
    for step, when in ((400, 2000.0), (200, 3000.0), (600, 1000.0)):  # the last one saved is no highest step
        save(base, step, when=when)
    upstream = agent.base / "chatsft_checkpoints" / "d12"
    upstream.mkdir(parents=True)
    for step in (100, 650):
        (upstream / f"model_{step:06d}.pt").write_bytes(b"y" * 50)
        (upstream / f"meta_{step:06d}.json").write_text("{}")
    (upstream / "model_000900.pt").write_bytes(b"")  # without metadata: no checkpoint
    told = agent.call("checkpoints")
    assert told["left_out"] == 0
    first, second = told["checkpoints"]
    assert (first["source"], first["tag"], first["steps"]) == ("base", "d20", [600, 400, 200])
    assert first["run"] == "20260101-000000-base_train-ab12" and first["modified"] == 3000.0
    size = sum(file.stat().st_size for file in base.rglob("*") if file.is_file())
    assert first["bytes"] == size
    assert (second["source"], second["tag"], second["steps"]) == ("sft", "d12", [100, 650])
    assert second["bytes"] == 100 and second["run"] is None


def test_folders_that_are_no_checkpoints_and_foreign_metadata_cost_nothing(agent: AgentHost) -> None:
    folder = agent.base / "base_checkpoints"
    for name in (".hidden", "with@step", "a\x1b[31m", "empty"):
        (folder / name).mkdir(parents=True)
    save(folder / ".hidden", 5)
    save(folder / "with@step", 5)
    save(folder / "a\x1b[31m", 5)
    save(folder / "odd", 5, run="../../etc")
    (folder / "deep" / "step_000001").mkdir(parents=True)
    (folder / "deep" / "step_000001" / "meta.json").write_text("[" * 100_000)
    (folder / "file").write_text("")
    told = agent.call("checkpoints")["checkpoints"]
    assert [(one["tag"], one["run"]) for one in told] == [("deep", None), ("odd", None)]


def test_of_very_many_the_newest_are_listed(tmp_path: Path) -> None:
    tag = tmp_path / "base_checkpoints" / "d1"
    for step in range(checkpoints.MOST_STEPS + 3):
        folder = tag / f"step_{step:06d}"
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text("{}")
        os.utime(folder / "meta.json", (1000 + step, 1000 + step))
    [told] = checkpoints.checkpoints(tmp_path)["checkpoints"]
    assert told["steps"] == list(range(3, checkpoints.MOST_STEPS + 3))
    for number in range(checkpoints.MOST_TAGS + 2):
        (tmp_path / "mid_checkpoints" / f"t{number}").mkdir(parents=True)
    assert checkpoints.checkpoints(tmp_path)["left_out"] == 2
