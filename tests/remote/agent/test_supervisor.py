"""The supervisor of a plan: what is wrong with one run's documents costs that run, never the others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from remote.agent import files, procs
from remote.agent.files import read_json
from remote.agent.job import Job
from remote.agent.rundirs import RunDir, Runs
from remote.agent.stop_signals import puts_off_kill
from remote.agent.supervisor import ERROR_BACKOFF, UNREAD_PATIENCE, Supervisor

FIRST, BROKEN, LAST = "20260101-000000-a-0001", "20260101-000001-b-0002", "20260101-000002-c-0003"
NOBODY = 1 << 22
"""Above the highest pid there is."""
DOCUMENTS: dict[str, dict[str, Any]] = {
    "run.json": {"stage": "a", "argv": ["python"], "host": "", "name": "a", "plan": {"needs": []}},
    "state.json": {
        "status": "created",
        "attempt": 1,
        "reason": "",
        "supervisor": None,
        "heartbeat": 1.0,
        "pid_start": None,
        "boot_id": procs.boot_id(),
        "machine": "",
    },
    "launch.json": {"python": "python", "argv": ["x"], "env": {"A": "b"}, "group": "g"},
    "stop.json": {"grace": 1.0, "t": 1.0},
    "activity.json": {"doing": "saving", "pid": os.getpid(), "since": 1.0},
}
FIELDS = [(name, field) for name, document in DOCUMENTS.items() for field in [*document, "run_id", "pid"]]
TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)  # halves of surrogate pairs, too
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([1, os.getpid(), 1 << 70, 10**400, 1e308]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
HALF = "\ud83d"
FAST = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """An empty base directory. A stage that is started has succeeded, and none is sent a signal."""
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(Job, "start", lambda job, base: job.finish("succeeded", ""))
    monkeypatch.setattr(Job, "_escalate", lambda job, now: None)
    return Runs(tmp_path)


def make(runs: Runs, run_id: str, documents: dict[str, dict[str, Any]]) -> None:
    folder = runs.path / run_id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    whole = {name: DOCUMENTS[name] for name in ("run.json", "state.json", "launch.json")}
    for name, content in {**whole, **documents}.items():
        (folder / name).write_text(json.dumps(content) + "\n", encoding="utf-8")


def watch(runs: Runs, *run_ids: str) -> Supervisor:
    locks = {run_id: RunDir(runs.path / run_id).try_lock() for run_id in run_ids}
    return Supervisor(runs.base, {run_id: lock for run_id, lock in locks.items() if lock is not None})


def let_go(keeper: Supervisor) -> None:
    for job in keeper.jobs:
        os.close(job.lock)


def status(runs: Runs, run_id: str) -> object:
    return (read_json(runs.path / run_id / "state.json") or {}).get("status")


def check(runs: Runs, documents: dict[str, dict[str, Any]]) -> object:
    """How the broken run ended, beside two whole ones that have succeeded."""
    make(runs, FIRST, {})
    make(runs, BROKEN, documents)
    make(runs, LAST, {"run.json": {**DOCUMENTS["run.json"], "plan": {"needs": [FIRST]}}})
    keeper = watch(runs, FIRST, BROKEN, LAST)
    for look in range(6):
        keeper.tick(look * 2 * ERROR_BACKOFF)
    let_go(keeper)
    assert [status(runs, run_id) for run_id in (FIRST, LAST)] == ["succeeded"] * 2
    return status(runs, BROKEN)


def test_a_plan_of_whole_runs_succeeds(runs: Runs) -> None:
    assert check(runs, {}) == "succeeded"


@FAST
@given(where=st.sampled_from(FIELDS), value=VALUES, live=st.booleans())
@example(("state.json", "reason"), HALF, False)
@example(("state.json", "reason"), HALF, True)
@example(("state.json", "pid"), 1, True)
@example(("run.json", "plan"), {"needs": None}, False)
def test_any_value_of_any_field_costs_that_run_only(
    runs: Runs, where: tuple[str, str], value: Any, live: bool
) -> None:
    name, field = where
    alive = {**DOCUMENTS["state.json"], "status": "running", "pid": NOBODY} if live else {}
    documents = {"state.json": alive} if live else {}
    whole = documents.get(name, DOCUMENTS[name])
    check(runs, {**documents, name: {**whole, field: value}})


@FAST
@given(value=VALUES)
@example([FIRST, "no run id"])
@example(["../x"])
@example([HALF])
@example([BROKEN])
def test_any_needs_cost_that_run_only(runs: Runs, value: Any) -> None:
    check(runs, {"run.json": {**DOCUMENTS["run.json"], "plan": {"needs": value}}})


@pytest.mark.slow
@FAST
@given(status=VALUES | st.just("failed"), error=VALUES)
@example("failed", HALF)
@example("failed", ["a", "list"])
def test_whatever_a_stage_tells_of_its_end_it_is_recorded(runs: Runs, status: Any, error: Any) -> None:
    live = {**DOCUMENTS["state.json"], "status": "running", "pid": NOBODY, "pid_start": 1}
    told = {"seq": 0, "t": 1.0, "kind": "stage_end", "data": {"status": status, "error": error}}
    assert check(runs, {"state.json": live, "events.jsonl": told}) in (
        "lost",
        "failed",
        "stopped",
        "succeeded",
    )


@FAST
@given(doing=VALUES | st.just("saving"), pid=VALUES)
@example("saving", 10**400)
@example("saving", True)
def test_any_activity_is_one_or_none(runs: Runs, doing: Any, pid: Any) -> None:
    make(runs, BROKEN, {"activity.json": {"doing": doing, "pid": pid}})
    told = puts_off_kill(RunDir(runs.path / BROKEN), 0.0)
    assert told == "" or (told == doing and type(pid) is int and procs.alive(pid, None))


def test_a_pid_without_its_start_time_names_nobody() -> None:
    start = procs.start_time(os.getpid())
    assert procs.lives({"pid": os.getpid(), "pid_start": start})
    assert not procs.lives({"pid": os.getpid(), "pid_start": None})
    assert not procs.lives({"pid": 1}) and not procs.lives(None)


def test_a_run_whose_documents_cannot_be_used_is_let_go(runs: Runs) -> None:
    check(runs, {"run.json": {"plan": {"needs": 1}}})
    lock = RunDir(runs.path / BROKEN).try_lock()
    assert lock is not None
    os.close(lock)


def test_a_need_that_cannot_be_read_is_waited_for_a_while(runs: Runs) -> None:
    make(runs, FIRST, {})
    make(runs, LAST, {"run.json": {**DOCUMENTS["run.json"], "plan": {"needs": [FIRST]}}})
    whole = (runs.path / FIRST / "state.json").read_bytes()
    keeper = watch(runs, LAST)
    (runs.path / FIRST / "state.json").write_bytes(b"")
    for now in (0.0, UNREAD_PATIENCE):
        keeper.tick(now)
        assert status(runs, LAST) == "created"
    (runs.path / FIRST / "state.json").write_bytes(whole.replace(b"created", b"succeeded"))
    keeper.tick(UNREAD_PATIENCE + 1)
    assert status(runs, LAST) == "succeeded"


def test_a_need_that_is_damaged_for_good_is_told(runs: Runs) -> None:
    make(runs, FIRST, {"state.json": {"status": 7}})
    make(runs, LAST, {"run.json": {**DOCUMENTS["run.json"], "plan": {"needs": [FIRST]}}})
    keeper = watch(runs, LAST)
    keeper.tick(0.0)
    keeper.tick(UNREAD_PATIENCE + 1)
    state = read_json(runs.path / LAST / "state.json") or {}
    assert state["status"] == "stopped"
    assert state["reason"] == f"needs {FIRST}, which is damaged: status of state.json cannot be used"


def test_an_error_of_one_run_does_not_delay_the_others(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    poll = Job.poll

    def failing(job: Job, now: float) -> None:
        if job.directory.run_id == BROKEN:
            raise OSError(5, "Input/output error")
        poll(job, now)

    monkeypatch.setattr(Job, "poll", failing)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"slept {seconds} s"))
    check(runs, {})
