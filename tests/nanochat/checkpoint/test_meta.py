"""meta.json of anybody: one that is damaged is one checkpoint less, never its whole tag."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from training_data import byte_tokenizer

from nanochat.checkpoint.files import MODEL, OPTIM, find_checkpoint, list_checkpoints, newest_complete
from nanochat.checkpoint.meta import MAX_RANKS, read_meta
from nanochat.checkpoint.weights import load_model, read_weights
from nanochat.checkpoint.write import save_checkpoint
from nanochat.common.errors import UserError
from nanochat.compute.ranks import Ranks
from nanochat.model.architecture import ModelConfig, flags_to_meta
from nanochat.model.gpt import build_model
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups
from nanochat.train.resume import restore_training

VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    10**400,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    "x",
    "\ud800",
    [],
    [1],
    {},
    {"a": 1},
]
FIELDS = [
    "saved_at",
    "ranks",
    "run_id",
    "files",
    "user_config",
    "model_config",
    "parts",
    "val_bpb",
    "loop_state",
    "optimizer_steps",
    "dataloader_state_dict",
    "tokenizer_sha256",
    "step",
]


@pytest.fixture
def tag(tmp_path: Path) -> Path:
    """Three checkpoints; the last is the one to damage."""
    model = build_model(
        ModelConfig(sequence_len=16, vocab_size=50, n_layer=1, n_head=2, n_kv_head=1, n_embd=32), "cpu"
    )
    model.init_weights(1)
    meta = {"model_config": model.config.to_meta(), "parts": flags_to_meta(model.config.parts), "run_id": "a"}
    for step in (1, 2, 3):
        files = {MODEL: dict(model.state_dict()), OPTIM: {"m": torch.ones(3)}}
        save_checkpoint(tmp_path / "d1", step, files, meta)
    return tmp_path / "d1"


def edit(tag: Path, change: dict[str, Any]) -> Path:
    path = tag / "step_000003" / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return path


@pytest.mark.parametrize("name", FIELDS)
def test_any_value_of_any_field_leaves_the_others_readable(tag: Path, name: str) -> None:
    for value in VALUES:
        edit(tag, {name: value})
        steps = [checkpoint.step for checkpoint in list_checkpoints(tag)]
        assert sorted(steps)[:2] == [1, 2]
        newest = newest_complete(tag)
        assert newest is not None
        assert find_checkpoint(tag.parent, "d1", 2).tensors(OPTIM)["m"].tolist() == [1, 1, 1]
        for checkpoint in list_checkpoints(tag):
            try:
                model = load_model(checkpoint)
                optimizer = MuonAdamW(
                    parameter_groups(model, LearningRates(1, 1, 1, 1, 0)), torch.float32, Ranks()
                )
                restore_training(checkpoint, byte_tokenizer(), optimizer)
            except UserError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize(
    "files",
    [
        {MODEL: 1},
        {MODEL: {"bytes": "1", "sha256": "x"}},
        {MODEL: {"bytes": 1, "sha256": 2}},
        {MODEL: {}},
        {"../../other": {"bytes": 0, "sha256": ""}},
        {"/etc/passwd": {"bytes": 0, "sha256": ""}},
    ],
)
def test_a_file_entry_is_of_a_file_in_the_folder(tag: Path, files: Any) -> None:
    assert read_meta(edit(tag, {"files": files})) is None
    assert [checkpoint.step for checkpoint in list_checkpoints(tag)] == [1, 2]


def test_more_ranks_than_there_can_be_are_no_endless_list_of_names(tag: Path) -> None:
    assert read_meta(edit(tag, {"ranks": MAX_RANKS})) is not None
    assert read_meta(edit(tag, {"ranks": 10**12})) is None


def test_a_damaged_one_that_is_asked_for_is_named(tag: Path) -> None:
    edit(tag, {"saved_at": "yesterday"})
    with pytest.raises(UserError, match=r"metadata of step_000003 is missing or damaged.*there are: 1, 2"):
        find_checkpoint(tag.parent, "d1", 3)


@pytest.mark.timeout(30)
def test_a_pipe_is_no_file_of_a_checkpoint(tag: Path) -> None:
    """Whoever opens it waits for a writer for ever."""
    last = find_checkpoint(tag.parent, "d1", 3)
    for name in (MODEL, "meta.json"):
        (last.path / name).unlink()
        os.mkfifo(last.path / name)
    with pytest.raises(UserError, match="missing, or no file"):
        last.tensors(MODEL)
    assert [checkpoint.step for checkpoint in list_checkpoints(tag)] == [1, 2]
    with pytest.raises(UserError, match="no weights file"):
        read_weights(last.path / MODEL)
