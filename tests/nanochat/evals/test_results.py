"""Result documents: written, read back, and those of earlier releases."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.evals.results import EvaluationResult, TaskFigure, checkpoint_name, read_result

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


def test_core_of_earlier_releases_is_read() -> None:
    model = "/data/base_checkpoints/d4/step_000300"
    figures = {"label": "copa", "items": 20, "accuracy": 0.6, "centered": 0.2, "stderr": 0.1, "seconds": 3}
    old: dict[str, Any] = {"model": model, "step": 300, "max_per_task": 20, "core": None, "stderr": None}
    assert read_result({**old, "tasks": {"copa": figures}}) == EvaluationResult(
        "base/d4", 300, "core", {"max_per_task": 20}, {"copa": TaskFigure(0.6, 0.2, 0.1, 20)}, complete=True
    )
    found = read_result({**old, "model": "gpt2", "step": None, "tasks": {}})
    assert found is not None and (found.checkpoint, found.step) == ("huggingface/gpt2", None)


@pytest.mark.parametrize(
    "document", [None, [1], {}, {"kind": "core"}, {"kind": "x", "checkpoint": "base/d4"}, {"chat/GSM8K": 1.0}]
)
def test_what_is_no_result_is_none(document: object) -> None:
    assert read_result(document) is None


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


def test_a_checkpoint_is_named_by_its_path() -> None:
    assert checkpoint_name("/x/chatsft_checkpoints/d20/step_000650") == "sft/d20"
    assert checkpoint_name("/x/base_checkpoints/d20/model_000650.pt") == "base/d20"
    assert checkpoint_name("gpt2") == checkpoint_name("/models/x/gpt2") == checkpoint_name("") == ""
