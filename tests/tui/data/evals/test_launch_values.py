"""The form that evaluates a checkpoint, filled in as another evaluation was made."""

from typing import Any

import pytest

from nanochat.checkpoint.names import CheckpointName
from nanochat.config.options import option_fields
from nanochat.config.stages import STAGES
from remote.store.evaluations import Kind
from tui.data.chat.target import CheckpointTarget
from tui.data.evals.launch_values import evaluation_request

BASE, SFT = (
    CheckpointTarget("local", CheckpointName(source, "d4", 300)) for source in ("base", "sft")
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "target", "settings", "options"),
    [
        (
            "core", BASE, {"max_per_task": 20, "tasks": "all", "dtype": "bfloat16", "bundle": "46b57fa056d9"},
            {"max_per_task": 20, "dtype": "bfloat16", "eval": ("core",)},
        ),
        ("core", BASE, {"tasks": "copa,piqa"}, {"tasks": ("copa", "piqa"), "eval": ("core",)}),
        (
            "bpb", BASE, {"tokens": 640, "context": 64, "rows": "packed", "data": "pipeline/data"},
            {"split_tokens": 640, "rows": "packed", "data_dir": "{base}/pipeline/data"},
        ),
        ("bpb", BASE, {"rows": 512, "data": "/far/data"}, {"data_dir": "/far/data"}),
        ("chat", SFT, {"temperature": 0.5, "top_k": 1}, {"temperature": 0.5, "top_k": 1}),
    ],
)  # fmt: skip
def test_the_form_is_filled_in_with_what_another_evaluation_was_asked(
    kind: Kind, target: CheckpointTarget, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    request = evaluation_request(kind, target, settings)
    assert request is not None
    host, stage, values = request
    which = {"source": target.name.source, "model_tag": "d4", "step": 300}
    assert host == "local" and values == options | which
    assert values.keys() <= {field.name for field in option_fields(STAGES[stage].options)}


def test_a_chat_evaluation_of_some_tasks_is_made_of_the_same() -> None:
    request = evaluation_request("chat", SFT, {}, ["Arithmetic", "SpellingBee"])
    assert request is not None and request[2]["task_name"] == ("Arithmetic", "SpellingBee")
