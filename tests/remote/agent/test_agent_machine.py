"""Runs of a machine that was renamed are its own; those of another are not, whatever its name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from agenthost import AgentHost, until

from remote.agent import control, job, machine, procs, recovery
from remote.agent.rundirs import RunDir


@pytest.fixture
def renamed(agent: AgentHost, monkeypatch: pytest.MonkeyPatch) -> AgentHost:
    """The agent as it runs after the machine got another host name."""
    words = ["unshare", "--uts", "sh", "-c", 'hostname renamed && exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to give itself another host name (unshare --uts)")
    plain = agent.command
    monkeypatch.setattr(agent, "command", lambda name, *args: [*words, *plain(name, *args)])
    return agent


def test_a_renamed_machine_stops_its_own_live_run(agent: AgentHost, request: pytest.FixtureRequest) -> None:
    (run_id,) = agent.submit(agent.stage(steps=1000, delay=0.1))
    agent.wait(run_id, "running")
    assert agent.state(run_id)["machine"] == machine.machine_id()
    renamed: AgentHost = request.getfixturevalue("renamed")
    (entry,) = renamed.call("ls")["runs"]
    assert entry["state"]["status"] == "running" and entry["here"] is True
    renamed.call("stop", "--run", run_id, "--grace", "5")
    assert renamed.wait(run_id)["status"] == "stopped"


def test_a_renamed_machine_judges_its_dead_run(agent: AgentHost, request: pytest.FixtureRequest) -> None:
    if not machine.machine_id():
        pytest.skip("needs a machine id (/etc/machine-id)")
    (run_id,) = agent.submit(agent.stage(steps=1000, delay=0.1))
    pid = agent.wait(run_id, "running")["pid"]
    agent.kill_supervisor(run_id)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not procs.alive(pid, None), "the stage to die")
    renamed: AgentHost = request.getfixturevalue("renamed")
    assert renamed.listed(run_id)["status"] == "lost"
    assert renamed.state(run_id)["status"] == "lost"  # on disk, too


NAME, ID, NS = "node-1", "a" * 16, "pid:[1]"
RUN = RunDir(Path("/nowhere/runs/a"))


@pytest.mark.parametrize(
    ("state", "host", "ours"),
    [
        ({"machine": ID, "boot_id": "boot", "pid_ns": NS}, NAME, True),
        ({"machine": ID, "boot_id": "boot", "pid_ns": NS}, "before", True),  # renamed
        ({"machine": ID, "boot_id": "boot", "pid_ns": "pid:[2]"}, "container", False),
        ({"machine": ID, "boot_id": "older", "heartbeat": 0.0}, "before", True),  # renamed and restarted
        ({"machine": ID, "boot_id": "other", "heartbeat": 1e12}, "copy", False),  # a copy that is at work
        ({"machine": "b" * 16, "boot_id": "other"}, NAME, False),  # two machines of one name
        ({"boot_id": "other"}, NAME, True),  # written before there were ids
        ({"boot_id": "other"}, "node-2", False),
        ({"machine": "", "boot_id": "boot"}, "node-2", False),
    ],
)
def test_the_machines_id_decides(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], host: str, ours: bool
) -> None:
    monkeypatch.setattr(machine, "machine_id", lambda: ID)
    monkeypatch.setattr(machine, "pid_namespace", lambda: NS)
    monkeypatch.setattr(procs, "boot_id", lambda: "boot")
    monkeypatch.setattr(machine.os, "uname", lambda: type("Uname", (), {"nodename": NAME})())
    assert recovery.is_local(RUN, {}, {**state, "host": host}) is ours


def test_a_living_process_is_ours_under_any_name() -> None:
    me = {"pid": os.getpid(), "pid_start": procs.start_time(os.getpid())}
    state = {**me, "boot_id": procs.boot_id(), "status": "running", "heartbeat": time.time()}
    assert recovery.is_local(RUN, {"host": "before"}, state)
    assert not recovery.is_local(RUN, {"host": "before"}, {**state, "pid_start": 1})
    assert recovery.is_local(RUN, {"host": "before"}, {**state, "pid": None, "supervisor": me})


@pytest.mark.parametrize("apart", [10800.0, -10800.0], ids=["ahead", "behind"])
def test_a_machine_whose_clock_is_not_ours_is_heard_by_the_clock_of_the_disk(
    agent: AgentHost, apart: float
) -> None:
    """A live run and a dead one of a machine that shares our disk, and has noted the disk's clock."""
    theirs = time.time() + apart
    for number, silent in enumerate((1.0, 120.0)):
        run_id = f"20260101-000000-fake-000{number}"
        agent.make_hand_run(run_id, host="node-7")
        told = {"machine": "b" * 16, "boot_id": "of node-7", "disk_ahead": -apart, "host": "node-7"}
        agent.write_hand_state(run_id, 1, heartbeat=theirs - silent, **told)
    listed = control.ls(agent.base)["runs"]
    assert [(entry["state"]["status"], entry["here"]) for entry in listed] == [
        ("running", False),
        ("lost", False),
    ]


@pytest.mark.parametrize("apart", [10800.0, -10800.0], ids=["ahead", "behind"])
def test_our_own_clock_need_not_be_that_of_the_disk(
    agent: AgentHost, monkeypatch: pytest.MonkeyPatch, apart: float
) -> None:
    heard = time.time()
    for number, silent in enumerate((1.0, 120.0)):
        run_id = f"20260101-000000-fake-000{number}"
        agent.make_hand_run(run_id, host="node-7")
        told = {"machine": "b" * 16, "boot_id": "of node-7", "disk_ahead": 0.0, "host": "node-7"}
        agent.write_hand_state(run_id, 1, heartbeat=heard - silent, **told)
    clock = SimpleNamespace(time=lambda: time.time() + apart, monotonic=time.monotonic)
    monkeypatch.setattr(machine, "time", clock)
    listed = control.ls(agent.base)["runs"]
    assert [entry["state"]["status"] for entry in listed] == ["running", "lost"]
    assert sorted(path.name for path in (agent.base / "runs").iterdir()) == [
        entry["run"]["run_id"] for entry in listed
    ]


def test_a_run_notes_how_far_the_disks_clock_is_from_its_machines(
    agent: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = "20260101-000000-fake-0001"
    agent.make_hand_run(run_id)
    agent.write_hand_state(run_id, 1)
    monkeypatch.setattr(
        job, "time", SimpleNamespace(time=lambda: time.time() + 600, monotonic=time.monotonic)
    )
    kept = job.Job(RunDir(agent.dir(run_id)), -1, {}, print)
    kept.save()
    kept.save()
    assert agent.state(run_id)["disk_ahead"] == pytest.approx(-600, abs=2)
