"""The lines of the Checkpoints screen, and the forms that are filled in from it, without an app."""

from dataclasses import replace

import pytest

from nanochat.checkpoint.names import CheckpointName
from nanochat.common.errors import UserError
from nanochat.model.architecture import ModelConfig
from remote.checkpoints.saved import SavedCheckpoint
from remote.checkpoints.table import Row
from tui.data.checkpoints.launch_values import next_stage_request, resume_request
from tui.data.checkpoints.tree import kept, lines, title


def row(source: str, tag: str, step: int, entry: str = "", **more: object) -> Row:
    one = SavedCheckpoint(
        "local", CheckpointName(source, tag, step), entry or f"step_{step:06d}", optimizer=True
    )
    return Row(one, **more)  # type: ignore[arg-type]


def test_tags_with_several_steps_fold_and_one_step_is_a_line() -> None:
    rows = [row("base", "d4", 200, newest=True), row("base", "d4", 100), row("sft", "d4", 9, users=("a",))]
    tree = lines(rows, (), flat=False)
    assert [title(line) for line in tree] == ["▾ base/d4", "    @200", "    @100", "● sft/d4@9"]
    assert (tree[0].steps, tree[0].row) == (2, rows[0])
    folded = lines(rows, {("local", "base", "d4")}, flat=False)
    assert [title(line) for line in folded] == ["▸ base/d4", "● sft/d4@9"]
    assert len({line.key for line in tree}) == 4
    assert [title(line) for line in lines(rows, (), flat=True)][1] == "  base/d4@100"
    assert kept(rows, ["sft", "in use"]) == [rows[2]] and kept(rows, ["d5"]) == []


def test_two_runs_with_one_step_are_told_apart() -> None:
    rows = [row("base", "d4", 200), row("base", "d4", 200, "step_000200-0a1b2c")]
    assert [title(line) for line in lines(rows, (), flat=False)][1:] == ["    @200", "    @200 ·0a1b2c"]


def test_a_training_goes_on_with_the_options_it_had_or_the_shape_that_is_known() -> None:
    config = ModelConfig(256, 512, 3, 2, 2, 64)
    one = replace(row("base", "d3", 100).one, config=config)
    host, stage, values = resume_request(one)
    assert (host, stage, values["depth"], values["max_seq_len"]) == ("local", "base_train", 3, 256)
    assert (values["model_tag"], values["resume_from_step"]) == ("d3", 100)
    options = {"source": "mid", "num_iterations": 50, "out_tag": "other", "seed": "no number", "unknown": 1}
    tuned = replace(row("sft", "d3", 7).one, stage="chat_sft", options=options)
    _, stage, values = resume_request(tuned)
    assert stage == "chat_sft" and values["num_iterations"] == 50 and values["out_tag"] == "d3"
    assert "seed" not in values and "unknown" not in values
    assert next_stage_request(tuned)[1:] == ("chat_rl", {"source": "sft", "model_tag": "d3", "model_step": 7})
    for without in (replace(one, optimizer=False), replace(one, upstream=True)):
        with pytest.raises(UserError, match="no optimizer state"):
            resume_request(without)
