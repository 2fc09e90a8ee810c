"""A base directory of upstream nanochat, as its own programs leave it, as runs."""

import json
import shutil
from pathlib import Path

import pytest
from imported import DATA, events, look, one, points, state

UPSTREAM = DATA / "base"


def test_models_and_evaluations_become_runs(tmp_path: Path) -> None:
    runs = {(run["stage"], run["run_id"]): run for run in one(tmp_path, UPSTREAM)["runs"]}
    assert [stage for stage, _ in runs] == ["base_train", "chat_sft", "base_eval", "base_eval"]
    assert {run["status"] for run in runs.values()} == {"succeeded"}
    base, sft, core, loss = (events(tmp_path, run) for run in runs.values())
    metas = [json.loads(file.read_text()) for file in sorted((UPSTREAM / "base_checkpoints/d1").iterdir())]
    assert points(base, "val/bpb")[:2] == [(meta["step"], pytest.approx(meta["val_bpb"])) for meta in metas]
    assert base[0]["data"]["options"]["depth"] == 1 and base[0]["data"]["total_steps"] == 20
    assert [event["step"] for event in base if event["kind"] == "checkpoint"] == [10, 20]
    assert points(base, "core/core") == [(20, 0.0672)]  # from the report's section
    assert points(sft, "chat/MMLU")[0] == (11, 1.0)
    [core_figures] = [event["data"] for event in core if event["kind"] == "eval"]
    assert len(core_figures) == 23 and core_figures["core/core"] == 0.037017
    assert core_figures["core/hellaswag_zeroshot"] == pytest.approx(1 / 3, abs=1e-6)
    assert points(loss, "train/bpb") == [(None, 2.3799)]


def test_a_new_checkpoint_is_taken_where_the_folder_is_followed(tmp_path: Path) -> None:
    upstream = tmp_path / "upstream"
    shutil.copytree(UPSTREAM, upstream)
    later = upstream / "base_checkpoints/d1/meta_000020.json"
    text = later.read_text()
    later.unlink()
    run = one(tmp_path, upstream, follow=True)["runs"][0]
    assert "up to step 10" in state(tmp_path, run)["reason"]
    later.write_text(text)
    look(tmp_path)
    assert [step for step, _ in points(events(tmp_path, run), "train/total_time")] == [10, 20]
    assert "up to step 20" in state(tmp_path, run)["reason"]
    again = one(tmp_path, upstream)
    assert again["known"] and not any(run["new_events"] for run in again["runs"])
