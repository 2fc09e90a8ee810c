"""A full disk: the agent outlives it, and every end is on record once there is space again."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agenthost import AgentHost, until

from remote.agent import procs

pytestmark = pytest.mark.slow


@pytest.fixture
def small(pyz: Path, tmp_path: Path) -> Iterator[AgentHost]:
    """A base directory on a disk of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a small tmpfs: {mounted.stderr.strip()}")
    agent = AgentHost(pyz, disk / "base")
    try:
        yield agent
    finally:
        agent.end_all()
        until(lambda: agent.supervisors() == [], "supervisors to end")
        subprocess.run(["umount", "-l", disk], check=True)


def fill(agent: AgentHost) -> Path:
    """Takes the disk's last byte."""
    path = agent.base / "ballast"
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
    return path


def test_the_supervisor_outlives_a_full_disk_and_says_so(small: AgentHost, tmp_path: Path) -> None:
    go = tmp_path / "go"
    (run_id,) = small.submit(small.stage(steps=2, wait=str(go), end="none"))
    small.wait_events(run_id, 3)
    small.wait(run_id, "running")
    small.wait_events(run_id, 1, "telemetry.jsonl")
    keeper = small.state(run_id)["supervisor"]["pid"]
    ballast = fill(small)
    until(lambda: "disk is full" in small.state(run_id)["reason"], "the reason to be shown")
    assert small.state(run_id)["status"] == "running"
    time.sleep(2.5)  # longer than a heartbeat and several attempts to write it
    assert small.supervisors() == [keeper]
    ballast.unlink()
    until(lambda: small.state(run_id)["reason"] == "", "the reason to go")
    until(lambda: time.time() - small.state(run_id)["heartbeat"] < 2, "the heartbeat to go on")
    small.wait_events(run_id, len(small.events(run_id, "telemetry.jsonl")) + 1, "telemetry.jsonl")
    fill(small)
    go.touch()
    assert small.wait(run_id)["status"] == "succeeded"  # from the blocks kept in reserve
    assert [event["seq"] for event in small.events(run_id)] == [0, 1, 2]
    telemetry = small.events(run_id, "telemetry.jsonl")
    assert [event["seq"] for event in telemetry] == list(range(len(telemetry)))


def test_an_end_that_cannot_be_written_at_all_is_written_when_space_returns(
    small: AgentHost, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    (run_id,) = small.submit(small.stage(steps=1, wait=str(go), end="none", exit=3))
    small.wait_events(run_id, 2)
    small.wait(run_id, "running")
    ballast = fill(small)
    reserve = small.dir(run_id) / ".state.spare"

    def no_reserve() -> bool:
        reserve.unlink(missing_ok=True)
        fill(small)
        return not reserve.exists() and os.statvfs(small.base).f_bavail == 0

    until(no_reserve, "the reserve to be gone")
    go.touch()
    until(lambda: not procs.alive(small.state(run_id)["pid"], None), "the stage to end")
    time.sleep(1.5)
    assert small.state(run_id)["status"] == "running"
    ballast.unlink()
    state = small.wait(run_id)
    assert (state["status"], state["exit_code"]) == ("failed", 3)


def test_a_submission_for_which_there_is_no_space_leaves_nothing(small: AgentHost) -> None:
    small.base.mkdir()
    ballast = fill(small)
    request = {"plan": None, "python": sys.executable, "env": {}, "runs": [small.stage(), small.stage()]}
    told = small.refused("submit", request=request)
    assert told["code"] == "disk_full" and "No space left" in told["error"]
    runs = small.base / "runs"
    assert not runs.exists() or [p.name for p in runs.iterdir() if p.is_dir()] == []
    ballast.unlink()
    small.call("submit", request=request)
    for run in request["runs"]:
        assert small.wait(run["run_id"])["status"] == "succeeded"


def test_following_a_full_disk_goes_on(small: AgentHost) -> None:
    """Looking at orphans wants to write; that it cannot must not end the stream."""
    dead = "20260101-000000-fake-0001"
    small.make_hand_run(dead)
    small.write_hand_state(dead, 1, pid_start=1)
    fill(small)
    with small.following() as following:
        following.until(lambda: bool(following.of("problem")), "the problem to be told")
        following.until(lambda: len(following.of("ping")) >= 3, "it to go on", seconds=10)
    assert following.of("problem")[0]["run_id"] == dead
    answer = small.call("ls")
    assert [problem["run_id"] for problem in answer["problems"]] == [dead]
    assert json.loads((small.dir(dead) / "state.json").read_text())["status"] == "running"
