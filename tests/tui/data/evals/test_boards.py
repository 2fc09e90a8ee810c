"""Which evaluations are columns, and what is told of each."""

from dataclasses import replace

import pytest

from nanochat.common.text import sanitize
from remote.store.evaluations import TaskFigure
from tests.tui.conftest import NOW
from tests.tui.screens.evals_bench import core_tasks, evaluation, published
from tui.data.evals import board
from tui.data.evals.board import Board


def names(board_: Board, evaluations: list, kind: str = "core") -> list[str]:  # type: ignore[type-arg]
    return [one.name for one in board_.columns(evaluations, kind)]  # type: ignore[arg-type]


def test_the_newest_step_of_what_is_alike_is_a_column_and_published_tables_come_last() -> None:
    known = [
        published(9, "gpt2-xl", 0.4),
        published(8, "gpt2", 0.2),
        evaluation(1, "base/d12", 500),
        evaluation(2, "base/d12", 1000),
        evaluation(3, "base/d12", 1000, settings={"max_per_task": -1}),
        evaluation(4, "base/d20", 300),
        evaluation(5, "base/d20", 300, kind="chat"),
    ]
    columns = Board().columns(known, "core")
    assert [one.id for one in columns] == [4, 2, 3, 8, 9]


def test_of_two_evaluations_of_one_step_with_the_same_settings_the_newer_one_is_a_column() -> None:
    known = [evaluation(1, "base/d12", t=NOW), evaluation(2, "base/d12", t=NOW - 60)]
    assert [one.id for one in Board().columns(known, "core")] == [1]


@pytest.mark.parametrize("tasks", [{}, {"copa": TaskFigure(0.9, 0.8)}])
def test_an_attempt_that_failed_takes_no_column_away(tasks: dict[str, TaskFigure]) -> None:
    whole = evaluation(1, "base/d12", 500)
    failed = replace(whole, id=2, t=NOW, tasks=tasks, mean=None, status="ended")
    assert [one.id for one in Board().columns([whole, failed], "core")] == [1]
    assert [one.id for one in Board().columns([failed], "core")] == [2] * bool(tasks)
    again = replace(failed, id=3, status="running")
    assert [one.id for one in Board().columns([whole, failed, again], "core")] == [3]


def test_chat_columns_go_stage_by_stage_of_a_tag() -> None:
    known = [
        evaluation(1, "rl/d20", 30, kind="chat"),
        evaluation(2, "sft/d20", 650, kind="chat"),
        evaluation(3, "base/d20", 9000, kind="chat"),
        evaluation(4, "mid/d20", 800, kind="chat"),
    ]
    assert names(Board(), known, "chat") == ["base/d20@9000", "mid/d20@800", "sft/d20@650", "rl/d20@30"]


def test_what_is_chosen_stays_and_what_comes_later_joins() -> None:
    old = [evaluation(1, "base/d12", 500), evaluation(2, "base/d12", 1000), evaluation(3, "base/d20")]
    chosen = Board()
    chosen.choose(old, "core", {1, 2})
    assert names(chosen, old) == ["base/d12@500", "base/d12@1000"]
    again = Board()
    again.restore(chosen.document())
    new = [*old, evaluation(4, "base/d26", t=NOW)]
    assert names(again, new) == ["base/d26@1000", "base/d12@500", "base/d12@1000"]


@pytest.mark.parametrize("kept", [None, 3, [], {"shown": 3}, {"shown": ["1", True, None], "hidden": {}}])
def test_settings_that_make_no_sense_are_left_out(kept: object) -> None:
    one = Board()
    one.restore(kept)
    assert one.document() == {"shown": [], "hidden": []}


def test_the_line_below_a_name_tells_how_far_it_is() -> None:
    hosts = frozenset({"local"})
    running = evaluation(1, "base/d12", status="running", progress=0.34)
    assert board.note(running, hosts) == ("◐ 34% · 500 a task", "live")
    whole = evaluation(2, "base/d12", settings={"max_per_task": -1})
    assert board.note(whole, hosts) == ("all items", "muted")
    assert board.note(whole, {"local", "box"}) == ("local · all items", "muted")
    partial = evaluation(3, "base/d12", status="partial", tasks=core_tasks(0.2, first=3), settings={})
    assert board.note(partial, hosts) == ("3 tasks", "muted")
    assert board.note(replace(partial, asked=22), hosts) == ("◌ 3 of 22 tasks", "warn")
    ended = evaluation(4, "base/d12", status="ended", progress=0.5, settings={})
    assert board.note(ended, hosts) == ("■ ended at 50%", "warn")
    gone = evaluation(5, "base/d12", gone=True, settings={})
    assert board.note(gone, hosts) == ("✗ deleted", "warn")


def test_of_two_evaluations_of_one_step_the_line_tells_what_differs() -> None:
    first = evaluation(1, "base/d12", settings={"max_per_task": 20, "dtype": "float32", "tasks": "all"})
    second = evaluation(2, "base/d12", settings={"max_per_task": 20, "dtype": "bfloat16", "tasks": "all"})
    columns = [first, second, evaluation(3, "base/d20", settings={"max_per_task": 20, "dtype": "float16"})]
    notes = [board.note(one, {"local"}, columns)[0] for one in columns]
    assert notes == ["float32 · 20 a task", "bfloat16 · 20 a task", "20 a task"]


def test_a_command_names_an_evaluation_by_its_checkpoint_or_by_its_number() -> None:
    first, second = evaluation(1, "base/d12"), evaluation(2, "base/d12", settings={})
    other = evaluation(3, "base/d12", kind="chat")
    assert board.command_name(first, [first, other]) == "base/d12@1000"
    assert board.command_name(first, [first, second, other]) == "1"
    assert board.command_name(evaluation(4, "", 5), [first]) == "4"


def test_what_hosts_and_settings_say_is_cleaned() -> None:
    hostile = evaluation(
        1, "base/\x1b[31mred", host="a\x1b]0;x", settings={"dtype": "\x1b[2J"}, problem="\x07"
    )
    told = board.about(hostile, NOW) + board.title(hostile) + board.note(hostile, {"a", "b"})[0]
    assert told == sanitize(told)
