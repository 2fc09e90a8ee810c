"""stop and resume: an end that comes for certain, and a new attempt in the same directory."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agenthost import AgentHost, until

from nanochat.run import activity as run_activity
from remote.agent import procs
from remote.agent.rundirs import RunDir
from remote.agent.stop_signals import AGAIN, PATIENCE, SAVING, Escalation, puts_off_kill

pytestmark = pytest.mark.slow


def stop(agent: AgentHost, run_id: str, grace: float) -> None:
    agent.call("stop", "--run", run_id, "--grace", str(grace))


def signals_sent(agent: AgentHost, run_id: str) -> list[str]:
    log = (agent.dir(run_id) / "supervisor.log").read_text()
    return [line.split()[-1] for line in log.splitlines() if line.split()[-1].startswith("SIG")]


def test_a_stage_that_listens_saves_and_ends_stopped(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(steps=10000, delay=0.02, save=0.5))
    agent.wait_events(run_id, 3)
    stop(agent, run_id, grace=10)
    state = agent.wait(run_id)
    assert (state["status"], state["exit_code"], state["signal"]) == ("stopped", 4, None)
    assert agent.events(run_id)[-1]["kind"] == "stage_end"
    assert signals_sent(agent, run_id) == ["SIGINT"]


@pytest.mark.parametrize(
    ("ignored", "last"),
    [("INT", signal.SIGTERM), ("INT,TERM", signal.SIGKILL)],
    ids=["to SIGTERM", "to SIGKILL"],
)
def test_a_stage_that_does_not_listen_is_met_with_more_force(
    agent: AgentHost, ignored: str, last: int
) -> None:
    python = (
        "import signal, time, os\n"
        f"for n in {ignored.split(',')!r}: signal.signal(getattr(signal, 'SIG' + n), signal.SIG_IGN)\n"
        "open(os.environ['NANOCHAT_RUN_DIR'] + '/ready', 'w')\n"
        "time.sleep(600)"
    )
    (run_id,) = agent.submit(dict(agent.stage(), argv=["-c", python]))
    until(lambda: (agent.dir(run_id) / "ready").exists(), "the stage to be deaf")
    stop(agent, run_id, grace=0.5)
    state = agent.wait(run_id)
    assert (state["status"], state["signal"]) == ("stopped", last)
    assert state["reason"].startswith("stopped on request, killed by signal")
    wanted = ["SIGINT", "SIGTERM", "SIGKILL"]
    assert signals_sent(agent, run_id) == wanted[: wanted.index(signal.Signals(last).name) + 1]
    assert state["ended_at"] - state["started_at"] < 10


@pytest.mark.parametrize("child", [1, 2], ids=["in the stage's group", "in a session of its own"])
def test_nothing_of_a_stopped_stage_is_left(agent: AgentHost, child: int) -> None:
    """A worker that moved to its own session, as torchrun's do, is found as well."""
    (run_id,) = agent.submit(agent.stage(steps=10000, child=child))
    until(lambda: (agent.dir(run_id) / "child.pid").exists(), "the child")
    pid = int((agent.dir(run_id) / "child.pid").read_text() or 0)
    started = procs.start_time(pid)
    assert procs.alive(pid, started)
    stop(agent, run_id, grace=0.3)
    assert agent.wait(run_id)["status"] == "stopped"
    assert not procs.alive(pid, started)


def test_workers_of_a_stage_that_died_are_ended_before_the_next_begins(agent: AgentHost) -> None:
    first = agent.stage(steps=2, child=2, signal=9)
    second = agent.stage(steps=1)
    agent.submit(first, second)
    until(lambda: (agent.dir(first["run_id"]) / "child.pid").exists(), "the child")
    pid = int((agent.dir(first["run_id"]) / "child.pid").read_text() or 0)
    assert agent.wait(first["run_id"])["status"] == "failed"
    assert not procs.alive(pid, None)
    assert agent.wait(second["run_id"])["status"] == "succeeded"


def test_a_queued_run_is_stopped_before_it_starts(agent: AgentHost) -> None:
    first = agent.stage(steps=200, delay=0.05)
    second = agent.stage(needs=(first["run_id"],))
    third = agent.stage(needs=(second["run_id"],))
    agent.submit(first, second, third)
    agent.wait(first["run_id"], "running")
    stop(agent, second["run_id"], grace=20)
    state = agent.wait(second["run_id"])
    assert (state["status"], state["reason"], state["pid"]) == ("stopped", "stopped before it started", None)
    stop(agent, first["run_id"], grace=5)
    assert agent.wait(third["run_id"])["status"] == "stopped"
    assert agent.events(second["run_id"]) == []


def test_a_second_stop_with_less_grace_hastens_the_first(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(steps=100000, ignore="INT,TERM"))
    agent.wait_events(run_id, 2)
    stop(agent, run_id, grace=300)
    time.sleep(0.6)
    assert agent.state(run_id)["status"] == "running"
    stop(agent, run_id, grace=0)
    assert agent.wait(run_id, seconds=10)["status"] == "stopped"


def test_a_stop_of_an_ended_run_changes_nothing(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage())
    before = agent.wait(run_id)
    answer = agent.call("stop", "--run", run_id)
    assert answer["state"] == before == agent.state(run_id)
    assert not (agent.dir(run_id) / "stop.json").exists()


def test_a_stop_of_no_run_is_refused(agent: AgentHost) -> None:
    assert agent.refused("stop", "--run", "nothing")["code"] == "no_run"
    assert agent.refused("stop", "--run", "../x")["code"] == "usage"
    for grace in ("nan", "-1", "inf", "soon"):
        assert agent.refused("stop", "--run", "x", f"--grace={grace}")["code"] == "usage"


def test_a_run_without_supervisor_can_still_be_stopped(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(steps=10000))
    agent.wait_events(run_id, 2)
    agent.kill_supervisor(run_id)
    stop(agent, run_id, grace=5)
    assert agent.wait(run_id)["status"] == "stopped"


def test_sigterm_to_the_supervisor_stops_the_stage_and_starts_no_other(agent: AgentHost) -> None:
    """What a shutdown or a spot preemption sends."""
    first, second = agent.stage(steps=10000), agent.stage()
    agent.submit(first, second)
    agent.wait_events(first["run_id"], 2)
    os.kill(agent.state(first["run_id"])["supervisor"]["pid"], signal.SIGTERM)
    state = agent.wait(first["run_id"])
    assert state["status"] == "stopped" and "shutting down" in state["reason"]
    until(lambda: agent.supervisors() == [], "the supervisor to leave")
    assert agent.state(second["run_id"])["status"] == "created"


def test_a_stage_run_directly_is_stopped_without_touching_its_neighbours(agent: AgentHost) -> None:
    """It shares its process group with whatever started it: only the stage itself may be signalled."""
    entry = agent.stage(run_id="20260101-000000-fake-beef", steps=10000)
    agent.make_hand_run(entry["run_id"])
    script = " ".join(
        [sys.executable, *entry["argv"], ">/dev/null & echo $!; wait $!; echo neighbour lives; sleep 60"]
    )
    env = {**agent.env, "NANOCHAT_RUN_DIR": str(agent.dir(entry["run_id"])), "NANOCHAT_ATTEMPT": "1"}
    shell = subprocess.Popen(
        ["/bin/sh", "-c", script], env=env, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert shell.stdout is not None
        agent.write_hand_state(entry["run_id"], int(shell.stdout.readline()))
        agent.wait_events(entry["run_id"], 3)
        assert agent.listed(entry["run_id"])["status"] == "running"
        stop(agent, entry["run_id"], grace=1)
        assert agent.wait(entry["run_id"])["status"] == "stopped"
        assert shell.stdout.readline() == b"neighbour lives\n"
        assert shell.poll() is None
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
        assert shell.stdout is not None
        shell.stdout.close()


def test_resume_is_a_new_attempt_in_the_same_directory(agent: AgentHost) -> None:
    again = {"2:end": "succeeded", "2:exit": 0}
    (run_id,) = agent.submit(agent.stage(steps=2, end="failed", error="a shard is torn", exit=1, **again))
    assert agent.wait(run_id)["status"] == "failed"
    run_before = (agent.dir(run_id) / "run.json").read_bytes()
    request = {"run_id": run_id, "python": sys.executable, "env": {}}
    assert agent.call("resume", request=request)["state"]["status"] == "starting"
    until(lambda: agent.state(run_id)["status"] == "succeeded", "the second attempt")
    state = agent.state(run_id)
    assert (state["attempt"], state["exit_code"], state["reason"]) == (2, 0, "")
    events = agent.events(run_id)
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert [e["data"]["attempt"] for e in events if e["kind"] == "stage_start"] == [1, 2]
    assert (agent.dir(run_id) / "run.json").read_bytes() == run_before


def test_the_end_of_an_earlier_attempt_is_not_taken_for_that_of_the_new_one(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(steps=2))
    assert agent.wait(run_id)["status"] == "succeeded"
    agent.call("resume", request={"run_id": run_id, "python": "/no/such/python", "env": {}})
    until(
        lambda: agent.state(run_id)["attempt"] == 2 and agent.state(run_id)["ended_at"], "the second attempt"
    )
    assert agent.state(run_id)["status"] == "failed"


def test_a_live_run_is_not_resumed(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(steps=10000))
    agent.wait(run_id, "running")
    told = agent.refused("resume", request={"run_id": run_id, "python": sys.executable, "env": {}})
    assert told["code"] == "alive" and "stop it first" in told["error"]


def test_two_resumes_at_once_make_one_attempt(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(steps=2, exit=1, end="failed", **{"2:steps": 30}))
    agent.wait(run_id)
    request = {"run_id": run_id, "python": sys.executable, "env": {}}
    apps = [
        subprocess.Popen(
            agent.command("resume"), env=agent.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for app in apps:
        assert app.stdin is not None
        app.stdin.write(json.dumps(request).encode())
        app.stdin.close()
        app.stdin = None
    answers = [json.loads(app.communicate(timeout=30)[0]) for app in apps]
    assert sum("state" in answer for answer in answers) == 1, answers
    agent.wait(run_id)
    assert agent.state(run_id)["attempt"] == 2
    assert sum(event["kind"] == "stage_start" for event in agent.events(run_id)) == 2


def test_the_signals_of_a_stop_come_a_grace_apart() -> None:
    stop_ = Escalation(100.0, 20.0)
    sent = [(t, number) for t in range(100, 150) if (number := stop_.due(float(t))) is not None]
    assert sent[:3] == [(100, signal.SIGINT), (120, signal.SIGTERM), (140, signal.SIGKILL)]
    assert sent[3:] == [(140 + int(AGAIN) * k, signal.SIGKILL) for k in range(1, 5)]


BUSY = """
import json, os, signal, time
from pathlib import Path
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
run = Path(os.environ["NANOCHAT_RUN_DIR"])

def doing(what):
    (run / "activity.json").write_text(json.dumps({"doing": what, "pid": PID}).ljust(256))

doing(WHAT)
(run / "ready").touch()
while not (run / "go").exists():
    time.sleep(0.02)
doing("")
time.sleep(600)
"""


@pytest.mark.parametrize("doing", ["saving", "evaluating"])
def test_a_stage_is_not_killed_while_it_saves_or_evaluates(agent: AgentHost, doing: str) -> None:
    script = BUSY.replace("PID", "os.getpid()").replace("WHAT", repr(doing))
    (run_id,) = agent.submit(dict(agent.stage(), argv=["-c", script]))
    until(lambda: (agent.dir(run_id) / "ready").exists(), "the stage to be busy")
    stop(agent, run_id, grace=0.2)
    log = agent.dir(run_id) / "supervisor.log"
    until(lambda: f"not killed while it is {doing}" in log.read_text(encoding="utf-8"), "the kill to wait")
    time.sleep(0.5)
    assert signals_sent(agent, run_id) == ["SIGINT", "SIGTERM"]
    (agent.dir(run_id) / "go").touch()
    assert agent.wait(run_id)["signal"] == signal.SIGKILL


def activity(folder: Path, content: object) -> RunDir:
    (folder / "activity.json").write_text(json.dumps(content), encoding="utf-8")
    return RunDir(folder)


def test_what_puts_off_a_kill_and_for_how_long(tmp_path: Path) -> None:
    here = os.getpid()
    saving = activity(tmp_path, {"doing": "saving", "pid": here})
    assert puts_off_kill(saving, 1e9) == "saving"
    evaluating = activity(tmp_path, {"doing": "evaluating", "pid": here})
    assert puts_off_kill(evaluating, PATIENCE["evaluating"] - 1) == "evaluating"
    assert puts_off_kill(evaluating, PATIENCE["evaluating"]) == ""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    for content in (
        {"doing": "", "pid": here},
        {"doing": "saving", "pid": done.pid},
        {"doing": ["saving"], "pid": here},
        {"doing": "saving", "pid": "1"},
        ["saving"],
    ):
        assert puts_off_kill(activity(tmp_path, content), 0.0) == ""
    (tmp_path / "activity.json").unlink()
    assert puts_off_kill(RunDir(tmp_path), 0.0) == ""


def test_the_names_of_activities_are_those_of_the_stage() -> None:
    assert {SAVING, *PATIENCE} == {run_activity.SAVING, run_activity.EVALUATING}
