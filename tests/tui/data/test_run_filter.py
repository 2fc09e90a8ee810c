"""The filter of the Runs screen."""

import pytest

from nanochat.common.errors import UserError
from remote.runs import RunRow
from tui.data.run_filter import parse

RUNS = [
    RunRow(
        "local/a",
        "local",
        "a",
        name="demo",
        stage="base_train",
        status="running",
        plan_name="speedrun",
        plan_id="1",
    ),
    RunRow("box/b", "box", "b", name="d4 try", stage="tok_train", status="failed", alerts=2),
    RunRow(
        "box/c", "box", "c", name="d20", stage="base_train", status="succeeded", tags=("paper",), pinned=True
    ),
]


def found(text: str) -> list[str]:
    keep = parse(text)
    return [run.run_id for run in RUNS if keep(run)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", ["a", "b", "c"]),
        ("base", ["a", "c"]),
        ("BASE box", ["c"]),
        ("stage:base host:box", ["c"]),
        ("status:running", ["a"]),
        ("status:live", ["a"]),
        ("status:ended", ["b", "c"]),
        ("-status:live", ["b", "c"]),
        ("-base", ["b"]),
        ("paper", ["c"]),
        ("has:alerts", ["b"]),
        ("has:pin", ["c"]),
        ("plan:speed", ["a"]),
        ("tag:paper", ["c"]),
        ("nothing", []),
        ("queued", []),
    ],
)
def test_words_and_fields_must_all_hold(text: str, ids: list[str]) -> None:
    assert found(text) == ids


def test_an_unknown_field_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'status'"):
        parse("statsu:running")
