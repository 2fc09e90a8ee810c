"""What a row of the table and the window's title say about a run."""

import pytest

from remote.cli.printer import figures
from remote.key_metric import key_figure
from remote.run_summary import elapsed, extent, progress, steps, title
from remote.runs import RunRow
from tui.data.window_title import window_title


def test_progress_time_and_titles_of_a_run() -> None:
    run = RunRow("a/b", "a", "b", name="base_train", stage="base_train", plan_name="demo", status="running")
    assert run.label == "demo"
    assert progress(run) is None
    run = RunRow(
        "a/b", "a", "b", name="x", status="running", step=50, total_steps=200, started_at=10.0, ended_at=None
    )
    assert progress(run) == 0.25
    assert elapsed(run, 70.0) == 60.0
    assert title(run) == "25% x"
    assert (
        str(key_figure(RunRow("a/b", "a", "b", latest={"train/loss": 3.0, "val/bpb": 0.82137})))
        == "bpb 0.8214"
    )
    assert window_title([run], "") == "25% x · nanochat"
    assert window_title([], "") == "nanochat"


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"train/loss": 1.5, "rl/reward": 0.9, "rl/held_out_reward": 0.84}, "reward 0.8400"),
        ({"chat/SpellingBee": 0.925, "chat/SpellingBee_stderr": 0.02}, "SpellingBee 92.5 %"),
        ({"chat/SpellingBee": 0.925, "chat/Arithmetic": 0.915}, "2 tasks 92.0 %"),
        ({"chat/SpellingBee": 0.925, "chat/ChatCORE": 0.2913}, "ChatCORE 0.2913"),
        ({"news/bytes_per_token": 2.5, "val/bytes_per_token": 3.498}, "B/token 3.498"),
        ({"seconds": 3.0}, ""),
    ],
)
def test_a_run_is_shown_by_its_most_important_metric(values: dict[str, float], shown: str) -> None:
    for run in (RunRow("a/b", "a", "b", results=values), RunRow("a/b", "a", "b", latest=values)):
        assert str(key_figure(run)) == shown
        assert figures(run).startswith(shown)


def test_the_step_of_an_evaluated_checkpoint_is_not_the_progress_of_its_evaluation() -> None:
    run = RunRow("a/b", "a", "b", stage="chat_eval", status="running", step=30, total_steps=400, unit="item")
    assert (steps(run), extent(run), progress(run)) == ("30", "400 items", None)
    run = RunRow("a/b", "a", "b", status="running", step=30, total_steps=400)
    assert (steps(run), extent(run)) == ("30/400", "step 30/400")


def test_a_window_title_cannot_end_its_own_sequence() -> None:
    run = RunRow("a/b", "a", "b", name="x\x07\x1b]0;y", status="running")
    assert "\x07" not in window_title([run], "")
    assert "\x1b" not in window_title([run], "")
