"""Result documents: written, read back, joined from parts, and the files of earlier releases."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.evals.results import (
    EvaluationResult,
    TaskFigure,
    checkpoint_name,
    merge,
    read_result,
    read_result_file,
    settings_that_differ,
)

CORE = EvaluationResult(
    "base/d4", 300, "core", settings={"max_per_task": 20, "dtype": "float32"},
    tasks={"copa": TaskFigure(0.6, 0.2, 0.1, 20), "piqa": TaskFigure(0.5, 0.0, 0.125, 16)},
    mean=0.1, mean_stderr=0.05, run="r1", t=1796025407.5, items="runs/r1/core-items.jsonl", complete=True,
)  # fmt: skip
CHAT = EvaluationResult(
    "sft/d4", 12, "chat", settings={"temperature": 0.0},
    tasks={"MMLU": TaskFigure(0.5, 1 / 3, 0.25, 4, {"anatomy": TaskFigure(1.0, 1.0, 0.0, 2)})},
    mean=0.25, means={"ChatCORE": 0.25, "ChatCORE_cat": 0.5},
)  # fmt: skip
BPB = EvaluationResult("base/d4", 300, "bpb", {"tokens": 640}, bpb={"train": 1.5, "val": 1.25}, complete=True)
TOKENIZER = EvaluationResult("tokenizer", None, "tokenizer", figures={"news/bytes_per_token": 2.5})


@pytest.mark.parametrize("result", [CORE, CHAT, BPB, TOKENIZER], ids=lambda result: result.kind)
def test_a_document_is_read_back_as_it_was(result: EvaluationResult) -> None:
    assert read_result(json.loads(json.dumps(result.as_json()))) == result


def test_the_document_has_the_shape_that_scripts_read() -> None:
    document = CORE.as_json()
    assert document["tasks"]["copa"] == {"accuracy": 0.6, "centered": 0.2, "stderr": 0.1, "n": 20}
    assert (document["checkpoint"], document["step"], document["core"]) == ("base/d4", 300, 0.1)
    assert CHAT.as_json()["chatcore"] == 0.25


def test_the_parts_of_an_evaluation_are_joined() -> None:
    start = EvaluationResult("base/d4", 300, "core", settings=CORE.settings, items=CORE.items)
    first = replace(start, tasks={"copa": CORE.tasks["copa"]}, run="r1", t=1.0)
    second = replace(start, tasks={"piqa": TaskFigure(0.1)}, t=2.0)
    again = replace(start, tasks={"piqa": CORE.tasks["piqa"]}, t=3.0)
    last = replace(start, mean=0.1, mean_stderr=0.05, t=CORE.t, complete=True)
    joined: EvaluationResult | None = None
    for part in (start, first, second, again, last, replace(start, t=1.0)):
        joined = merge(joined, part)
    assert joined == CORE


def test_files_of_earlier_releases_are_read(tmp_path: Path) -> None:
    core = tmp_path / "base_model_000300.json"
    model = "/data/base_checkpoints/d4/step_000300"
    figures = {"label": "copa", "items": 20, "accuracy": 0.6, "centered": 0.2, "stderr": 0.1, "seconds": 3}
    old: dict[str, Any] = {"model": model, "step": 300, "max_per_task": 20, "core": None, "stderr": None}
    core.write_text(json.dumps({**old, "tasks": {"copa": figures}}), encoding="utf-8")
    expected = EvaluationResult(
        "base/d4", 300, "core", {"max_per_task": 20}, {"copa": TaskFigure(0.6, 0.2, 0.1, 20)}, complete=True
    )
    assert read_result_file(core) == expected
    core.write_text(json.dumps({**old, "model": "gpt2", "step": None, "tasks": {}}), encoding="utf-8")
    found = read_result_file(core)
    assert found is not None and (found.checkpoint, found.step) == ("huggingface/gpt2", None)

    chat = tmp_path / "rl_d4_wide_000030.json"
    values = {"chat/GSM8K": 0.5, "chat/GSM8K_stderr": 0.1, "chat/ChatCORE": 0.3, "chat/ChatCORE_cat": 0.2}
    chat.write_text(json.dumps(values), encoding="utf-8")
    result = read_result_file(chat)
    assert result is not None
    assert (result.checkpoint, result.step, result.mean) == ("rl/d4_wide", 30, 0.3)
    assert result.tasks == {"GSM8K": TaskFigure(0.5, stderr=0.1)}
    assert result.items == str(tmp_path / "rl_d4_wide_000030.jsonl")


def test_what_is_no_result_is_none_and_a_missing_file_one_line(tmp_path: Path) -> None:
    for content in ("", "[1]", "{}", '{"kind": "core"}', '{"kind": "x", "checkpoint": "base/d4"}'):
        (tmp_path / "x.json").write_text(content, encoding="utf-8")
        assert read_result_file(tmp_path / "x.json") is None
    (tmp_path / "some_words.json").write_text('{"chat/GSM8K": 1.0}', encoding="utf-8")
    assert read_result_file(tmp_path / "some_words.json") is None
    with pytest.raises(UserError, match=r"cannot read .*gone\.json: No such file"):
        read_result_file(tmp_path / "gone.json")


ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*CORE.as_json(), *CHAT.as_json(), "bpb", "figures"]), ANY), ANY)
def test_foreign_documents_never_raise(odd: dict[str, Any], whole: Any) -> None:
    found = read_result({**CHAT.as_json(), **odd})
    if found is not None:
        assert read_result(json.loads(json.dumps(found.as_json()))) == found
    read_result(whole)


@pytest.mark.parametrize("odd", [5.0, -1e9, 1e308, "0.5", None])
def test_figures_that_none_can_be_are_left_out(odd: Any) -> None:
    task = {"accuracy": 0.5, "centered": odd, "stderr": odd if odd != 5.0 else -1.0}
    told = CORE.as_json() | {"tasks": {"copa": task, "piqa": {"accuracy": odd}}, "core": odd, "stderr": -1.0}
    found = read_result(told)
    assert found is not None and found.tasks.keys() == {"copa"}
    assert (found.mean, found.mean_stderr, found.tasks["copa"].centered) == (None, None, None)
    chat = read_result(CHAT.as_json() | {"means": {"ChatCORE": odd, "ChatCORE_cat": 0.5}})
    assert chat is not None and chat.means == {"ChatCORE_cat": 0.5}


def test_settings_that_both_tell_are_compared() -> None:
    other = replace(CORE, settings={"max_per_task": 500, "dtype": "float32", "bundle": "0a"})
    assert settings_that_differ(CORE, other) == {"max_per_task": (20, 500)}
    assert settings_that_differ(CORE, replace(CORE, settings={})) == {}


def test_a_checkpoint_is_named_by_its_path() -> None:
    assert checkpoint_name("/x/chatsft_checkpoints/d20/step_000650") == "sft/d20"
    assert checkpoint_name("/x/base_checkpoints/d20/model_000650.pt") == "base/d20"
    assert checkpoint_name("gpt2") == checkpoint_name("/models/x/gpt2") == checkpoint_name("") == ""
