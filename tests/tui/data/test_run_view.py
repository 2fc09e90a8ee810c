"""The lines of the table of runs: filtered, sorted and grouped, the same however the rows came to be."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from remote.filter.kept_runs import RunFilter
from remote.filter.run_filter import parse
from remote.runs import RunRow
from tui.data.ordering import SortValue, arranged, natural
from tui.data.run_view import GROUPINGS, RunGroup, RunView
from tui.widgets.run_table import ORDERS

A_RUN = st.builds(
    RunRow,
    st.just(""),
    host=st.sampled_from(["box", "local"]),
    run_id=st.just("r"),
    name=st.sampled_from(["a", "b", "d4"]),
    stage=st.sampled_from(["base_train", "tok_train", ""]),
    status=st.sampled_from(["running", "failed", "succeeded"]),
    plan_name=st.sampled_from(["", "demo"]),
    latest=st.dictionaries(st.just("train/loss"), st.floats(0, 5)),
    tags=st.sampled_from([(), ("x",), ("y", "x")]),
    pinned=st.booleans(),
    archived=st.booleans(),
)


def numbered(runs: list[RunRow]) -> list[RunRow]:
    return [replace(run, key=f"h/{n}", created_at=1e9 - n) for n, run in enumerate(runs)]


def shown(lines: list[RunRow | RunGroup]) -> list[str]:
    return [line.key if isinstance(line, RunRow) else f"{line.key}={len(line.runs)}" for line in lines]


@given(
    st.lists(A_RUN, max_size=8).map(numbered),
    st.lists(st.tuples(st.integers(0, 7), A_RUN), max_size=5),
    st.sampled_from(sorted(ORDERS)),
    st.booleans(),
    st.sampled_from(sorted(GROUPINGS)),
    st.sampled_from(["", "stage:base", "loss<2", "is:any", "not tag:x"]),
)
def test_a_view_that_is_kept_shows_what_a_new_one_does(
    rows: list[RunRow],
    changes: list[tuple[int, RunRow]],
    order: str,
    descending: bool,
    grouping: str,
    text: str,
) -> None:
    def view() -> RunView:
        made = RunView()
        made.group_by, made.filter = grouping, keep
        return made

    keep, kept = parse(text, rows), RunView()
    kept.group_by, kept.filter = grouping, keep
    kept.lines(rows, ORDERS[order], descending)
    for at, run in changes:
        if at < len(rows):
            rows = [
                *rows[:at],
                replace(run, key=rows[at].key, created_at=rows[at].created_at),
                *rows[at + 1 :],
            ]
        fresh = view().lines(rows, ORDERS[order], descending)
        assert shown(kept.lines(rows, ORDERS[order], descending)) == shown(fresh)
        listed = [line for line in fresh if isinstance(line, RunRow)]
        assert sorted(run.key for run in listed) == sorted(run.key for run in rows if keep.keeps(run))


def test_groups_hold_their_runs_and_fold() -> None:
    rows = numbered(
        [
            RunRow("", "h", "r", plan_name="demo"),
            RunRow("", "h", "r"),
            RunRow("", "h", "r", plan_name="demo"),
            RunRow("", "h", "r", plan_name="speedrun"),
        ]
    )
    view = RunView()
    assert view.next_grouping() == "plan"
    whole = ["plan:demo=2", "h/0", "h/2", "plan:speedrun=1", "h/3", "plan:=1", "h/1"]
    assert shown(view.lines(rows, None, False)) == whole
    view.fold("plan:demo")
    assert shown(view.lines(rows, None, False)) == ["plan:demo=2", *whole[3:]]
    assert view.fold_all()
    assert shown(view.lines(rows, None, False)) == ["plan:demo=2", "plan:speedrun=1", "plan:=1"]
    assert not view.fold_all()
    assert shown(view.lines(rows, None, False)) == whole


def test_archived_runs_are_left_out_until_they_are_asked_for_or_live_again() -> None:
    rows = numbered(
        [
            RunRow("", "h", "r", status="failed"),
            RunRow("", "h", "r", status="failed", archived=True),
            RunRow("", "h", "r", status="running", archived=True),
        ]
    )
    view = RunView()
    assert shown(view.lines(rows, None, False)) == ["h/0", "h/2"]
    view.filter = parse("is:archived")
    assert shown(view.lines(rows, None, False)) == ["h/1", "h/2"]


def test_of_a_thousand_rows_only_the_changed_one_is_asked_about() -> None:
    asked: list[str] = []

    def test(run: RunRow) -> bool:
        asked.append(run.key)
        return True

    rows = numbered([RunRow("", "h", "r", name=f"d{n}") for n in range(1000)])
    view = RunView()
    view.filter = RunFilter("all", test)
    view.lines(rows, ORDERS["started"], True)
    assert len(asked) == 1000 and view.built == 1
    asked.clear()
    rows = [*rows]
    rows[500] = replace(rows[500], step=7)
    lines = view.lines(rows, ORDERS["started"], True)
    assert asked == ["h/500"] and view.built == 1
    assert lines[500] is rows[500]


def test_texts_stand_as_people_count_and_apart_from_numbers() -> None:
    names = ["d12", "d4", "d4b", "d", "4d", "d-4", "D04", "x", "d4-a", "12", "d999999999999999999999"]
    told = arranged(names, natural, False)
    assert told == ["4d", "12", "d", "d4", "D04", "d4-a", "d4b", "d12", "d999999999999999999999", "d-4", "x"]
    mixed: dict[str, SortValue | None] = {
        "a": (1, natural("auto")[1]),
        "b": (0, 3.0),
        "c": None,
        "d": (0, 2.0),
    }
    assert arranged(mixed, mixed.__getitem__, False) == ["d", "b", "a", "c"]
    assert arranged(mixed, mixed.__getitem__, True) == ["b", "d", "a", "c"]
