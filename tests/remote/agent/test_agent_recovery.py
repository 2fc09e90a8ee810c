"""When the supervisor dies, or the stage, or both, or the machine: the run ends with the truth on record."""

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from agenthost import ENDED, AgentHost, until

from remote.agent import procs

pytestmark = pytest.mark.slow

SUCCEEDED = ("stage_end", {"status": "succeeded", "error": "", "results": {}})


def kill_both(agent: AgentHost, run_id: str) -> None:
    """The supervisor and then the stage, both with -9, so that nobody sees the stage end."""
    agent.kill_supervisor(run_id)
    pid = agent.state(run_id)["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not procs.alive(pid, None), "the stage to die")


def test_a_stage_goes_on_without_its_supervisor_and_is_adopted(agent: AgentHost) -> None:
    first = agent.stage(steps=3, wait=str(agent.base / "go"))
    second = agent.stage(needs=(first["run_id"],), steps=2)
    agent.submit(first, second)
    run_id = first["run_id"]
    agent.wait_events(run_id, 4)
    killed = agent.kill_supervisor(run_id)
    before = agent.state(run_id)
    assert agent.listed(run_id)["status"] == "running"
    until(
        lambda: (agent.state(run_id)["supervisor"] or {}).get("pid") not in (None, killed), "a new supervisor"
    )
    assert (agent.state(run_id)["pid"], agent.state(run_id)["attempt"]) == (before["pid"], 1)
    (agent.base / "go").touch()
    state = agent.wait(run_id)
    assert (state["status"], state["exit_code"], state["reason"]) == ("succeeded", None, "")
    assert agent.wait(second["run_id"])["status"] == "succeeded"
    assert [event["seq"] for event in agent.events(run_id)] == list(range(5))


def test_an_adopted_run_goes_on_beating(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(steps=10000))
    agent.wait_events(run_id, 2)
    agent.kill_supervisor(run_id)
    agent.call("ls")
    beats: list[float] = []

    def several() -> bool:
        beat = agent.state(run_id)["heartbeat"]
        if time.time() - beat < 1 and beat not in beats:
            beats.append(beat)
        return len(beats) > 3

    until(several, "heartbeats")
    assert all(1.5 < late - early < 3.5 for early, late in itertools.pairwise(beats[1:]))


@pytest.mark.parametrize("adopt", ["ls", "follow", "submit"])
def test_every_command_that_looks_adopts(agent: AgentHost, adopt: str) -> None:
    (run_id,) = agent.submit(agent.stage(steps=10000))
    agent.wait_events(run_id, 2)
    killed = agent.kill_supervisor(run_id)
    if adopt == "ls":
        agent.call("ls")
    elif adopt == "submit":
        agent.submit(agent.stage(steps=1))
    with agent.following() if adopt == "follow" else contextlib.nullcontext():
        until(lambda: agent.state(run_id)["supervisor"]["pid"] != killed, "adoption")
    assert procs.alive(agent.state(run_id)["supervisor"]["pid"], None)


@pytest.mark.parametrize("apps", [6])
def test_many_apps_adopting_at_once_make_one_supervisor(agent: AgentHost, apps: int) -> None:
    first, second = agent.stage(steps=10000), agent.stage()
    agent.submit(first, second)
    agent.wait_events(first["run_id"], 2)
    agent.kill_supervisor(first["run_id"])
    looking = [
        subprocess.Popen(agent.command("ls"), env=agent.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        for _ in range(apps)
    ]
    for app in looking:
        out, _ = app.communicate(timeout=30)
        assert app.returncode == 0 and not json.loads(out)["problems"]
    until(lambda: len(agent.supervisors()) == 1, "one supervisor")
    time.sleep(0.5)
    (keeper,) = agent.supervisors()
    for run in (first, second):
        until(
            lambda run=run: agent.state(run["run_id"])["supervisor"]["pid"] == keeper, "it to have both runs"
        )


def test_a_queue_whose_supervisor_died_is_taken_up_again(agent: AgentHost) -> None:
    first = agent.stage(steps=10000)
    second = agent.stage(steps=1)
    agent.submit(first, second)
    agent.wait(first["run_id"], "running")
    kill_both(agent, first["run_id"])
    assert agent.listed(first["run_id"])["status"] == "lost"
    assert agent.wait(second["run_id"])["status"] == "succeeded"


def test_both_dead_is_lost(agent: AgentHost) -> None:
    first = agent.stage(steps=10000)
    second = agent.stage(needs=(first["run_id"],))
    agent.submit(first, second)
    agent.wait_events(first["run_id"], 2)
    kill_both(agent, first["run_id"])
    state = agent.listed(first["run_id"])
    assert state["status"] == "lost" and state["exit_code"] is None and state["reason"]
    assert state == agent.state(first["run_id"])
    assert agent.wait(second["run_id"])["reason"] == f"needs {first['run_id']}, which was lost"


@pytest.mark.parametrize("end", ["succeeded", "failed", "stopped"])
def test_both_dead_but_the_stage_had_written_its_end(agent: AgentHost, end: str) -> None:
    (run_id,) = agent.submit(agent.stage(steps=2, end=end, error="why", wait=str(agent.base / "go")))
    agent.wait_events(run_id, 3)
    agent.kill_supervisor(run_id)
    (agent.base / "go").touch()
    agent.wait_events(run_id, 4)
    until(lambda: not procs.alive(agent.state(run_id)["pid"], None), "the stage to end")
    assert agent.listed(run_id)["status"] == end
    assert agent.state(run_id)["status"] == end


def test_an_end_that_is_torn_or_of_an_earlier_attempt_does_not_count(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(steps=1, **{"2:steps": 10000}))
    agent.wait(run_id)
    agent.call("resume", request={"run_id": run_id, "python": sys.executable, "env": {}})
    until(lambda: len(agent.events(run_id)) > 5, "the second attempt to run")
    kill_both(agent, run_id)
    with (agent.dir(run_id) / "events.jsonl").open("a") as file:
        file.write('{"seq": 99, "t": 1, "kind": "stage_end", "data": {"status": "succeeded"}}')
    assert agent.listed(run_id)["status"] == "lost"


def test_after_a_reboot_what_ran_is_lost(agent: AgentHost) -> None:
    agent.make_hand_run("20260101-000000-fake-0001")
    agent.write_hand_state("20260101-000000-fake-0001", os.getpid(), boot_id="another boot")
    state = agent.listed("20260101-000000-fake-0001")
    assert state["status"] == "lost" and "restarted" in state["reason"]


def test_a_pid_that_now_is_another_process_is_not_taken_for_the_stage(agent: AgentHost) -> None:
    run_id = "20260101-000000-fake-0001"
    agent.make_hand_run(run_id)
    start = procs.start_time(os.getpid())
    assert start is not None
    agent.write_hand_state(run_id, os.getpid(), pid_start=start - 1)
    assert agent.listed(run_id)["status"] == "lost"
    agent.call("stop", "--run", run_id, "--grace", "0")  # we are still here to see the test pass


def test_a_zombie_counts_as_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: (procs.read_stat(child.pid) or procs.Stat("R", 0, 0, 0, 0)).state == "Z", "the zombie")
    assert not procs.alive(child.pid, procs.start_time(child.pid))
    child.wait()
    assert not procs.alive(child.pid, None)
    assert procs.alive(os.getpid(), procs.start_time(os.getpid()))


def test_a_stage_run_directly_is_shown_as_it_stands_and_judged_when_dead(agent: AgentHost) -> None:
    alive, done, gone = (f"20260101-00000{i}-fake-000{i}" for i in range(3))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for run_id in (alive, done, gone):
        agent.make_hand_run(run_id)
    agent.write_hand_state(alive, os.getpid())
    agent.write_hand_state(done, dead.pid, pid_start=1)
    agent.write_hand_state(gone, dead.pid, pid_start=1)
    agent.write_events(done, ("metric", {"train/loss": 1.0}), SUCCEEDED)
    agent.write_events(gone, ("metric", {"train/loss": 1.0}))
    assert [agent.listed(run_id)["status"] for run_id in (alive, done, gone)] == [
        "running",
        "succeeded",
        "lost",
    ]
    assert agent.supervisors() == []
    assert agent.state(alive)["supervisor"] is None


def test_a_run_of_another_machine_on_a_shared_disk_is_left_alone(agent: AgentHost) -> None:
    """Its pid means nothing here: only its heartbeat tells, and nothing is written for it."""
    beating, silent = "20260101-000000-fake-0001", "20260101-000000-fake-0002"
    for run_id, heartbeat in ((beating, time.time()), (silent, time.time() - 3600)):
        agent.make_hand_run(run_id, host="node-7")
        agent.write_hand_state(run_id, 1, boot_id="of node-7", heartbeat=heartbeat)
    before = (agent.dir(silent) / "state.json").read_bytes()
    assert agent.listed(beating)["status"] == "running"
    state = agent.listed(silent)
    assert state["status"] == "lost" and "node-7" in state["reason"]
    assert (agent.dir(silent) / "state.json").read_bytes() == before
    told = agent.refused("stop", "--run", beating)
    assert told["code"] == "elsewhere" and "node-7" in told["error"]


def test_a_damaged_run_directory_does_not_hide_the_others(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage())
    agent.wait(run_id)
    torn, empty = agent.dir("20260101-000000-torn-0001"), agent.dir("20260101-000000-empty-0001")
    torn.mkdir()
    empty.mkdir()
    (torn / "run.json").write_text("{")
    (torn / "state.json").write_text("{}")
    answer = agent.call("ls")
    assert [entry["run"]["run_id"] for entry in answer["runs"]] == [run_id]
    assert {p["run_id"] for p in answer["problems"]} == {torn.name, empty.name}


def test_sizes_of_the_files_are_listed(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage())
    agent.wait(run_id)
    (entry,) = agent.call("ls")["runs"]
    for name in ("events.jsonl", "console.log"):
        assert entry["sizes"][name] == (agent.dir(run_id) / name).stat().st_size > 0


def test_no_stage_runs_unrecorded_when_its_supervisor_dies_as_it_starts_it(agent: AgentHost) -> None:
    """The child waits for word that its pid is on record; when the word does not come, it never starts."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from remote.agent import spawn\n"
        "base = Path(sys.argv[1])\n"
        "argv = [sys.executable, '-c', 'open(\"started\", \"w\")']\n"
        "held = spawn.hold(argv, os.environ, base, base / 'out')\n"
        "print(held.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    agent.base.mkdir()
    keeper = subprocess.Popen(
        [sys.executable, "-c", script, str(agent.base)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert keeper.stdout is not None
    child = int(keeper.stdout.readline())
    assert procs.alive(child, None)
    keeper.kill()
    keeper.communicate()
    until(lambda: not procs.alive(child, None), "the held child to end")
    assert not (agent.base / "started").exists()


def test_a_storm_of_kills_and_apps_neither_doubles_nor_loses_a_run(agent: AgentHost) -> None:
    """Supervisors die at random moments, also while they start a stage, and several apps keep looking."""
    draw = random.Random(20)
    runs = [agent.stage(steps=12, delay=0.05)]
    for _ in range(5):
        runs.append(agent.stage(needs=(runs[-1]["run_id"],), steps=4, delay=0.05))
    ids = agent.submit(*runs)
    with agent.following(), agent.following():
        deadline = time.monotonic() + 60
        while any(agent.state(run_id)["status"] not in ENDED for run_id in ids):
            assert time.monotonic() < deadline, [agent.state(run_id)["status"] for run_id in ids]
            agent.call("ls")
            keepers = agent.supervisors()
            assert len(keepers) <= 1
            time.sleep(draw.uniform(0.0, 0.4))
            for pid in keepers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    for run_id in ids:
        state, events = agent.state(run_id), agent.events(run_id)
        assert sum(event["kind"] == "stage_start" for event in events) <= 1
        assert [event["seq"] for event in events] == list(range(len(events)))
        if events and events[-1]["kind"] == "stage_end":
            assert state["status"] == "succeeded"
        elif state["status"] == "lost":
            assert events == [], "only a stage that was never let go may be lost"
            break
