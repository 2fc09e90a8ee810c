"""Runs of a machine that was renamed are its own; those of another are not, whatever its name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from typing import Any

import pytest
from agenthost import AgentHost, until

from remote.agent import machine, procs, recovery


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
    assert recovery.is_local({}, {**state, "host": host}) is ours


def test_a_living_process_is_ours_under_any_name() -> None:
    me = {"pid": os.getpid(), "pid_start": procs.start_time(os.getpid())}
    state = {**me, "boot_id": procs.boot_id(), "status": "running", "heartbeat": time.time()}
    assert recovery.is_local({"host": "before"}, state)
    assert not recovery.is_local({"host": "before"}, {**state, "pid_start": 1})
    assert recovery.is_local({"host": "before"}, {**state, "pid": None, "supervisor": me})
