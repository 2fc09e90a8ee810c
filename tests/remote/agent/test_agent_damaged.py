"""Whatever lies in a run directory costs that run only: it is told, and stands beside two whole ones."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agenthost import AgentHost

from remote.agent import control
from remote.agent.files import open_bytes, read_json
from remote.agent.follow import Follower
from remote.agent.logs import last_console_line, last_stage_end
from remote.agent.rundirs import Runs

FIRST, BROKEN, LAST = "20260101-000000-a-0001", "20260101-000001-b-0002", "20260101-000002-c-0003"
VALUES = [
    None,
    True,
    -1,
    1 << 70,
    10**400,
    1.5,
    float("nan"),
    1e308,
    "",
    "x",
    "\ud83d",
    [],
    [1],
    {},
    {"a": {}},
]


@pytest.fixture
def three(agent: AgentHost) -> Iterator[AgentHost]:
    """Three ended runs, the one in the middle to be broken; old enough to be settled."""
    for run_id in (FIRST, BROKEN, LAST):
        agent.make_hand_run(run_id)
        agent.write_hand_state(run_id, 1, status="succeeded")
        (agent.dir(run_id) / "events.jsonl").write_bytes(b'{"seq":0,"t":1,"kind":"log","data":{}}\n')
    age(agent)
    yield agent
    shutil.rmtree(agent.dir(BROKEN))  # what ends the agent's runs after a test reads their states


def age(agent: AgentHost) -> None:
    for path in (agent.base / "runs").iterdir():
        os.utime(path, (time.time() - 100,) * 2)


def look(agent: AgentHost) -> tuple[set[str], dict[str, str]]:
    """The runs that are listed and those told as damaged, by `ls` and by `follow`, which agree."""
    answer = control.ls(agent.base)
    json.dumps(answer)
    listed = {entry["run_id"] for entry in answer["runs"]}
    damaged = {problem["run_id"]: problem["error"] for problem in answer["problems"] if problem["damaged"]}
    frames = list(Follower(Runs(agent.base), {}).pass_over(time.monotonic()))
    json.dumps(frames)
    assert {frame["run_id"] for frame in frames if frame["type"] == "state"} == listed
    assert {f["run_id"]: f["error"] for f in frames if f["type"] == "problem"} == damaged
    assert {f["run_id"] for f in frames if f["type"] == "chunk"} >= listed - {BROKEN}
    return listed, damaged


def test_three_whole_runs_are_listed(three: AgentHost) -> None:
    assert look(three) == ({FIRST, BROKEN, LAST}, {})


@pytest.mark.parametrize("name", ["run.json", "state.json"])
def test_a_field_of_a_wrong_type_costs_that_run_only(three: AgentHost, name: str) -> None:
    path = three.dir(BROKEN) / name
    whole = json.loads(path.read_bytes())
    for field in [*whole, "supervisor", "events_offset", "plan", "boot_id"]:
        for value in VALUES:
            path.write_text(json.dumps({**whole, field: value}), encoding="utf-8")
            age(three)
            listed, damaged = look(three)
            assert listed | damaged.keys() == {FIRST, BROKEN, LAST}
            assert listed >= {FIRST, LAST} and not listed & damaged.keys()


@pytest.mark.parametrize("name", ["run.json", "state.json"])
@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900, b" " * (2 << 20)],
)
def test_a_document_that_is_none_costs_that_run_only(three: AgentHost, name: str, raw: bytes) -> None:
    (three.dir(BROKEN) / name).write_bytes(raw)
    age(three)
    assert look(three) == ({FIRST, LAST}, {BROKEN: f"{name} is damaged"})


@pytest.mark.parametrize("name", ["run.json", "state.json", "events.jsonl", "stop.json", "launch.json"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "socket"])
def test_what_is_no_file_is_not_waited_for(three: AgentHost, name: str, kind: str) -> None:
    path = three.dir(BROKEN) / name
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mknod(path, 0o140644)
    age(three)
    listed, damaged = look(three)
    assert listed >= {FIRST, LAST} and (BROKEN in damaged) == (name in ("run.json", "state.json"))
    assert not last_stage_end(path, 0) and not last_console_line(path) and read_json(path) is None
    with pytest.raises(OSError, match=r"no regular file|Is a directory|No such device"):
        open_bytes(path)


def test_a_real_agent_lists_and_stops_beside_a_fifo(three: AgentHost) -> None:
    path = three.dir(BROKEN) / "state.json"
    path.unlink()
    os.mkfifo(path)
    age(three)
    answer = three.call("ls")
    assert [entry["run_id"] for entry in answer["runs"]] == [FIRST, LAST]
    told = three.refused("stop", "--run", BROKEN)
    assert told["code"] == "damaged" and "state.json is damaged" in told["error"]
    assert three.refused("read", "--run", BROKEN, "--file", "state.json")["code"] == "os"


def test_a_copied_run_folder_is_a_damaged_run_and_leaves_the_original_alone(three: AgentHost) -> None:
    copy = f"{FIRST}-copy"
    shutil.copytree(three.dir(FIRST), three.dir(copy))
    age(three)
    before = {path: path.read_bytes() for path in three.dir(FIRST).iterdir() if path.is_file()}
    listed, damaged = look(three)
    assert listed == {FIRST, BROKEN, LAST} and damaged.keys() == {copy}
    assert f"run.json says it is {FIRST}'s" in damaged[copy]
    for command in ("stop", "resume"):
        request = {"run_id": copy, "python": "python3", "env": {}} if command == "resume" else None
        words = () if request else ("--run", copy)
        assert three.refused(command, *words, request=request)["code"] == "damaged"
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_that_is_just_being_made_is_no_damaged_one(three: AgentHost) -> None:
    (three.dir(BROKEN) / "state.json").unlink()
    answer = control.ls(three.base)
    assert [(p["run_id"], p["damaged"]) for p in answer["problems"]] == [(BROKEN, False)]
    assert not [f for f in Follower(Runs(three.base), {}).pass_over(0.0) if f["type"] == "problem"]


def test_a_mended_run_is_told_as_whole(three: AgentHost) -> None:
    path = three.dir(BROKEN) / "state.json"
    raw = path.read_bytes()
    path.write_bytes(b"{")
    age(three)
    follower = Follower(Runs(three.base), {})
    first = list(follower.pass_over(time.monotonic()))
    again = list(follower.pass_over(time.monotonic() + 5))
    assert [f["run_id"] for f in first if f["type"] == "problem"] == [BROKEN]
    assert not [f for f in again if f["type"] == "problem"]
    path.write_bytes(raw)
    mended = list(follower.pass_over(time.monotonic() + 10))
    assert [f["run_id"] for f in mended if f["type"] == "state"] == [BROKEN]


def test_a_stop_with_a_strange_grace_is_still_a_stop(three: AgentHost) -> None:
    run = Runs(three.base).get(BROKEN)
    for grace in ("x", float("nan"), 1e308, None, -1, [], 10**400):
        (run.path / "stop.json").write_text(json.dumps({"grace": grace}), encoding="utf-8")
        assert run.read_stop() == {}
    (run.path / "stop.json").write_text('{"grace": 5}', encoding="utf-8")
    assert run.read_stop() == {"grace": 5}


def test_a_log_without_a_line_end_is_read_within_bounds(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    end = b'{"seq":0,"t":1,"kind":"stage_end","data":{"status":"succeeded"}}\n'
    log.write_bytes(end + b"x" * (9 << 20) + b"\n" + b"y" * 10)
    assert last_stage_end(log, 0) == {"status": "succeeded"}
