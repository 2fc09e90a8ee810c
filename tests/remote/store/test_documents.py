"""A damaged document is one damaged run: whatever stands in it, all others are listed, and it says why."""

import asyncio
import dataclasses
import io
import json
import math
import sqlite3
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from nanochat.common.text import UNSAFE
from remote.cli.printer import progress_line, spent
from remote.cli.runs import list_runs
from remote.fleet.follower import Follower
from remote.key_metric import key_figure
from remote.runs import ENDED, LIVE, RunRow
from remote.store.documents import read_documents
from remote.store.store import Store

GOOD, BAD = "20260101-000000-tok_train-0001", "20260101-000001-base_train-0002"
RUN: dict[str, Any] = {
    "schema": 1,
    "run_id": BAD,
    "name": "n",
    "stage": "base_train",
    "options": {"depth": 4},
    "argv": ["python", "-m", "x"],
    "code": {"version": "0", "sha": ""},
    "host": "h",
    "env": ["A"],
    "created_at": 1.79e9,
    "cwd": "/",
    "plan": {"id": "p", "name": "plan", "index": 1, "needs": [GOOD]},
}
STATE: dict[str, Any] = {
    "schema": 1,
    "run_id": BAD,
    "status": "running",
    "attempt": 1,
    "pid": 7,
    "pid_start": 9,
    "boot_id": "b",
    "heartbeat": 1.79e9,
    "started_at": 1.79e9,
    "ended_at": None,
    "exit_code": None,
    "signal": None,
    "reason": "",
    "supervisor": {"pid": 1, "pid_start": 2},
    "events_offset": 0,
    "host": "h",
}
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1 << 70,
    -(1 << 70),
    10**400,
    1.5,
    -0.0,
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    -1e308,
    "",
    "word",
    "\ud83d",
    "\x1b]0;x\x07\x9b31m",
    "9" * 5_000,
    "a" * 3_000_000,
    [],
    [1, "a", None],
    ["\ud83d\x1b[2J"],
    {},
    {"a": {"b": [1e308]}},
    {"\ud83d": 1},
    [[[[[[[[[[1]]]]]]]]]],
    {"needs": 3, "index": "x"},
]
SPOILED = [
    (document, name, value)
    for document, fields in (("run", RUN), ("state", STATE))
    for name in fields
    for value in VALUES
]


def check_row(row: RunRow) -> None:
    """Every value of its type, in range and clean, and every way of printing it works."""
    assert row.status in LIVE | ENDED
    for name in ("created_at", "started_at", "ended_at", "heartbeat"):
        moment = getattr(row, name)
        assert moment is None or (type(moment) is float and 0 <= moment < 1e11)
    for name in ("exit_code", "signal"):
        assert getattr(row, name) is None or type(getattr(row, name)) is int
    assert type(row.attempt) is int and 0 <= row.attempt < 1 << 31
    assert not UNSAFE.search(json.dumps(dataclasses.asdict(row), ensure_ascii=False))
    assert progress_line(row) and isinstance(spent(row), str) and str(key_figure(row)) is not None


def listed(rows: list[RunRow]) -> str:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        list_runs(rows, as_json=False)
        list_runs(rows, as_json=True)
    return out.getvalue()


def good(store: Store) -> None:
    store.ingest_state("box", {**RUN, "run_id": GOOD, "name": "whole"}, {**STATE, "run_id": GOOD})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("store") / "c.sqlite")
    good(made)
    return made


def spoiled(document: str, name: str, value: object) -> tuple[dict[str, Any], dict[str, Any]]:
    run, state = dict(RUN), dict(STATE)
    (run if document == "run" else state)[name] = value
    return run, state


def test_every_field_with_every_wrong_value_is_one_damaged_run(store: Store) -> None:
    for document, name, value in SPOILED:
        run, state = spoiled(document, name, value)
        Follower(store, "box").take({"type": "state", "run_id": BAD, "run": run, "state": state})
        rows = store.runs()
        assert {row.run_id for row in rows} == {GOOD, BAD}, (document, name)
        for row in rows:
            check_row(row)
        whole = next(row for row in rows if row.run_id == GOOD)
        assert (whole.name, whole.problem, whole.status) == ("whole", "", "running")
    assert "whole" in listed(store.runs())


@pytest.mark.parametrize(
    ("document", "name", "value", "said"),
    [
        ("state", "exit_code", "x", "damaged: exit_code of state.json"),
        ("state", "status", "asleep", "damaged: status of state.json"),
        ("run", "created_at", 1e308, "damaged: created_at of run.json"),
        ("run", "plan", [1], "damaged: plan of run.json"),
        ("run", "plan", {"index": "x"}, "damaged: index of run.json plan"),
        ("run", "argv", "python", "damaged: argv of run.json"),
        ("state", "started_at", 10**400, "damaged: started_at of state.json"),
        ("run", "run_id", GOOD, f"damaged: run.json says it is {GOOD}'s: a copied folder?"),
        ("run", "name", "a" * 3_000_000, "damaged: run.json is larger than 1 MiB, or nested too deep"),
    ],
)
def test_the_run_says_which_field_it_is(document: str, name: str, value: object, said: str) -> None:
    found = read_documents(*spoiled(document, name, value), BAD)
    assert found.problem == said
    assert (found.status == "lost") == (name in ("status", "run_id", "name"))


def test_documents_without_a_fault_have_no_problem() -> None:
    assert read_documents(RUN, STATE, BAD).problem == ""
    assert read_documents({"run_id": BAD, "stage": "x"}, {"status": "failed"}, BAD).problem == ""


@pytest.mark.parametrize("document", [None, 3, "x", [], True, "\ud83d"])
def test_a_document_that_is_no_object_is_a_damaged_run(store: Store, document: object) -> None:
    for run, state in ((document, STATE), (RUN, document), (document, document)):
        store.ingest_state("box", run, state, run_id=BAD)
        row = store.run(f"box/{BAD}")
        assert row is not None and row.status == "lost" and "is no object" in row.problem
        assert row.reason == row.problem
        check_row(row)


@pytest.mark.slow
def test_what_an_old_store_holds_is_read_as_carefully(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with Store(path) as store:
        good(store)
    summaries = [
        "{}",
        "",
        "[]",
        "no json",
        '{"step": "x", "latest": [1], "attempts": [3, {"attempt": 1e300}]}',
        json.dumps({"unknown": 1, "attempts": {"a": 1}, "results": 7, "alerts": None, "unit": 4}),
        json.dumps({"latest": {"\ud83d\x1b[2J": 10**400, "train/loss": 10**400}, "total_steps": -4}),
    ]
    raw = [spoiled(document, name, value) for document, name, value in SPOILED]
    texts = [(json.dumps(run), json.dumps(state)) for run, state in raw if len(json.dumps(run)) < 100_000]
    texts += [
        ("", ""),
        ("[1]", "3"),
        ("{" * 100_000, "[" * 100_000),
        ('{"created_at": ' + "9" * 6_000 + "}", "{}"),
    ]
    with closing(sqlite3.connect(path)) as db:
        for index, (run, state) in enumerate(texts):
            db.execute(
                "INSERT INTO runs (host, run_id, run, state, summary) VALUES (?, ?, ?, ?, ?)",
                ("old", f"r{index}", run, state, summaries[index % len(summaries)]),
            )
        db.commit()
    with Store(path) as store:
        rows = store.runs()
        assert len(rows) == len(texts) + 1
        for row in rows:
            check_row(row)
            store.summary(row.key)
            store.attempts(row.key)
        assert "whole" in listed(rows)


def test_a_problem_that_the_agent_tells_is_shown_and_goes_when_it_is_mended(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        good(store)
        follower = Follower(store, "box")
        frame = {"type": "problem", "run_id": BAD, "error": "state.json is \x1b[31mtorn", "damaged": True}
        assert [change.run_id for change in follower.take(frame)] == [BAD]
        assert not follower.take(frame)
        row = store.run(f"box/{BAD}")
        assert row is not None and (row.status, row.problem) == ("lost", "damaged: state.json is torn")
        assert "damaged: state.json is torn" in listed(store.runs())
        follower.take({"type": "state", "run_id": BAD, "run": RUN, "state": STATE})
        row = store.run(f"box/{BAD}")
        assert row is not None and (row.status, row.problem) == ("running", "")


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "problem"},
        {"type": "problem", "run_id": "../x", "error": "e"},
        {"type": "state", "run": 3},
        {"type": "problem", "run_id": BAD, "error": 7},
        {"type": "chunk", "run_id": BAD, "file": [], "offset": 0},
        {"type": "chunk", "run_id": BAD, "file": "events.jsonl", "offset": 1 << 80, "data": "x"},
        {"type": "skip", "run_id": BAD, "file": "events.jsonl", "offset": 0, "next": 1 << 80},
        {"type": ["state"]},
        {},
    ],
)
def test_a_frame_of_a_wrong_shape_changes_nothing_for_others(tmp_path: Path, frame: dict[str, Any]) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        good(store)
        Follower(store, "box").take(frame)
        assert GOOD in {row.run_id for row in store.runs()}
        for row in store.runs():
            check_row(row)


def test_one_bad_line_is_counted_at_its_run(tmp_path: Path) -> None:
    lines = [
        {
            "seq": 0,
            "t": 1e9,
            "kind": "stage_start",
            "data": {"attempt": 1e300, "total_steps": 10**400, "unit": []},
        },
        {"seq": 1, "t": 10**400, "kind": "metric", "step": 1, "data": {"train/loss": 1.0}},
        {"seq": 2, "t": 1e9, "kind": "\ud83d", "data": {}},
        {"seq": 3, "t": 1e9, "kind": "metric", "step": 1, "data": {"train/loss": 10**400, "\ud83d\x1b": 1.0}},
        {"seq": 4, "t": 1e9, "kind": "stage_end", "data": {"results": {"x": 10**400, "y": [1]}}},
    ]
    raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    raw += b'{"seq": ' + b"9" * 6_000 + b"}\n" + b"[" * 50_000 + b"\n"
    with Store(tmp_path / "c.sqlite") as store:
        good(store)
        store.ingest_state("box", RUN, STATE)
        for _ in range(8):
            done = store.ingest(
                "box", BAD, "events.jsonl", store.offsets("box").get(BAD, {}).get("events.jsonl", 0), raw
            )
            if done.outcome != "diverged":
                break
        row = store.run(f"box/{BAD}")
        assert row is not None and row.problem == "4 lines of its logs could not be read"
        assert row.latest["train/loss"] == math.inf and row.step == 1
        check_row(row)
        assert store.series(f"box/{BAD}", "train/loss").points()[0][3] == math.inf
        assert [event.seq for event in store.events(f"box/{BAD}")] == [0, 3, 4]
        assert {row.problem for row in store.runs() if row.run_id == GOOD} == {""}


def test_names_of_metrics_are_bounded_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    values = [{f"m{i}-{j}" + "x" * 300: 1.0 for j in range(50)} for i in range(60)]
    lines = [{"seq": i, "t": 1e9, "kind": "metric", "step": i, "data": data} for i, data in enumerate(values)]
    raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    with Store(tmp_path / "c.sqlite") as store:
        store.ingest_state("box", RUN, STATE)
        store.ingest("box", BAD, "events.jsonl", 0, raw)
        names = store.metric_names(f"box/{BAD}")
        assert len(names) == 2_000 and max(map(len, names)) < 200
        row = store.run(f"box/{BAD}")
        assert row is not None and row.problem == "1,000 values of more than 2,000 metrics left out"


def test_the_fleet_takes_each_entry_of_an_answer_by_itself(tmp_path: Path) -> None:
    from nanochat.common.paths import Layout
    from remote.fleet.fleet import Fleet

    entries = [3, None, {"run": 3}, {"run": {"run_id": []}}, {"run": RUN, "state": {**STATE, "attempt": "x"}}]
    whole = {
        "run": {**RUN, "run_id": GOOD},
        "state": {**STATE, "run_id": GOOD},
        "sizes": {"events.jsonl": "x"},
    }
    answer = {"runs": [*entries, whole], "problems": [7, {"run_id": "r3", "error": ["x"], "damaged": True}]}

    class Answering:
        async def call(self, command: str) -> dict[str, Any]:
            return answer

    async def refresh() -> list[RunRow]:
        fleet = Fleet(Layout(tmp_path))
        try:
            await fleet._refresh("box", Answering())  # type: ignore[arg-type]
            return fleet.store.runs()
        finally:
            await fleet.aclose()

    rows = {row.run_id: row for row in asyncio.run(refresh())}
    assert set(rows) == {GOOD, BAD, "r3"}
    assert rows[BAD].problem == "damaged: attempt of state.json" and not rows[GOOD].problem


def test_a_run_that_two_hosts_see_is_listed_once_where_it_runs(tmp_path: Path) -> None:
    with Store(tmp_path / "c.sqlite") as store:
        run = {**RUN, "run_id": GOOD, "host": "node-b"}
        for host, here in (("a", False), ("b", True), ("c", False)):
            frame = {
                "type": "state",
                "run_id": GOOD,
                "here": here,
                "run": run,
                "state": {**STATE, "run_id": GOOD},
            }
            Follower(store, host).take(frame)
        store.ingest_state("other", {**RUN, "run_id": GOOD, "created_at": 1.5e9}, STATE, run_id=GOOD)
        assert [row.key for row in store.runs()] == [f"b/{GOOD}", f"other/{GOOD}"]
        assert store.find(f"a/{GOOD}").host == "a"
        assert store.find(f"b/{GOOD}").host == "b"
    with Store(tmp_path / "d.sqlite") as store:
        for host in ("y", "x"):
            store.ingest_state(host, {**RUN, "run_id": GOOD}, {**STATE, "run_id": GOOD})
        assert [row.host for row in store.runs()] == ["x"]


def test_marks_stay_with_a_run_whose_row_moves_to_the_host_where_it_runs(tmp_path: Path) -> None:
    run, state = {**RUN, "run_id": GOOD}, {**STATE, "run_id": GOOD}
    with Store(tmp_path / "c.sqlite") as store:
        store.ingest_state("login", run, state, run_id=GOOD, here=False)
        store.tag(f"login/{GOOD}", "best")
        store.note(f"login/{GOOD}", "of the login node")
        store.pin(f"login/{GOOD}")
        store.let_have([f"login/{GOOD}"], ["A_SECRET"])
        store.ingest_state("node", run, state, run_id=GOOD, here=True)
        store.ingest_state("other", {**run, "created_at": 1.5e9}, state, run_id=GOOD)
        moved, another = store.runs()
        assert (moved.host, moved.tags, moved.note, moved.pinned) == (
            "node",
            ("best",),
            "of the login node",
            True,
        )
        assert moved.pass_env == ()  # another host: what may be handed to it, the person says
        assert (another.host, another.tags, another.note) == ("other", (), "")
        store.tag(moved.key, "best", on=False)
        store.note(moved.key, "")
        store.archive(moved.key)
        assert [
            (row.tags, row.note, row.archived)
            for row in (store.run(f"login/{GOOD}"), store.run(moved.key))
            if row
        ] == [((), "", True)] * 2
