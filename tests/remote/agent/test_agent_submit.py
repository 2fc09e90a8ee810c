"""submit: what was asked runs in order, detached from everything that asked for it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from agenthost import AgentHost, until

from remote.agent import control, procs
from remote.agent.files import AgentError

pytestmark = pytest.mark.slow


def test_a_plan_runs_in_order_and_every_end_is_recorded(agent: AgentHost) -> None:
    first = agent.stage(steps=3)
    second = agent.stage(needs=(first["run_id"],), steps=2)
    third = agent.stage(needs=(second["run_id"],), steps=1)
    ids = agent.submit(first, second, third)
    states = [agent.wait(run_id) for run_id in ids]
    assert [state["status"] for state in states] == ["succeeded"] * 3
    assert [state["exit_code"] for state in states] == [0, 0, 0]
    assert [state["reason"] for state in states] == ["", "", ""]
    for earlier, later in ((states[0], states[1]), (states[1], states[2])):
        assert earlier["ended_at"] <= later["started_at"]
    run = json.loads((agent.dir(ids[1]) / "run.json").read_text())
    assert run["plan"] == {"id": "p1", "name": "test", "index": 1, "needs": [ids[0]]}
    assert run["argv"] == [sys.executable, *second["argv"]]
    assert run["stage"] == "fake" and run["schema"] == 1 and run["host"] == os.uname().nodename


def test_stages_that_need_nothing_of_each_other_still_take_turns(agent: AgentHost) -> None:
    ids = agent.submit(agent.stage(steps=10), agent.stage(steps=10))
    one, two = (agent.wait(run_id) for run_id in ids)
    assert one["ended_at"] <= two["started_at"]


def test_the_queue_is_there_at_once_as_created(agent: AgentHost) -> None:
    first = agent.stage(steps=1000, delay=0.1)
    second = agent.stage(needs=(first["run_id"],))
    agent.submit(first, second)
    assert agent.listed(second["run_id"])["status"] == "created"
    agent.wait(first["run_id"], "running")
    assert agent.listed(second["run_id"])["status"] == "created"


def test_what_needs_a_failed_stage_ends_stopped_and_says_why(agent: AgentHost) -> None:
    first = agent.stage(end="failed", error="no tokenizer there", exit=2)
    second = agent.stage(needs=(first["run_id"],))
    third = agent.stage(needs=(second["run_id"],))
    free = agent.stage()
    agent.submit(first, second, third, free)
    failed = agent.wait(first["run_id"])
    assert (failed["status"], failed["exit_code"], failed["reason"]) == ("failed", 2, "no tokenizer there")
    second_state, third_state = agent.wait(second["run_id"]), agent.wait(third["run_id"])
    assert second_state["status"] == third_state["status"] == "stopped"
    assert second_state["reason"] == f"needs {first['run_id']}, which failed"
    assert third_state["reason"] == f"needs {second['run_id']}, which was stopped"
    assert second_state["pid"] is None and second_state["started_at"] is None
    assert agent.wait(free["run_id"])["status"] == "succeeded"


def test_a_stage_killed_by_a_signal_failed_with_that_signal(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(signal=int(signal.SIGSEGV)))
    state = agent.wait(run_id)
    assert (state["status"], state["signal"], state["exit_code"]) == ("failed", signal.SIGSEGV, None)
    assert "SIGSEGV" in state["reason"]


def test_a_stage_that_ends_badly_without_a_word_is_explained_by_its_last_printed_line(
    agent: AgentHost,
) -> None:
    (run_id,) = agent.submit(
        dict(agent.stage(), argv=["-c", "raise SystemExit('base_train: error: no shards')"])
    )
    state = agent.wait(run_id)
    assert (state["status"], state["exit_code"]) == ("failed", 1)
    assert state["reason"] == "exit code 1: base_train: error: no shards"


@pytest.mark.parametrize("python", ["/no/such/python", "no-such-python-at-all", "/etc"])
def test_an_interpreter_that_is_not_there_fails_the_run_with_one_clear_line(
    agent: AgentHost, python: str
) -> None:
    first = agent.stage()
    second = agent.stage(needs=(first["run_id"],))
    agent.submit(first, second, python=python)
    state = agent.wait(first["run_id"])
    assert state["status"] == "failed" and state["exit_code"] == 127
    assert state["reason"].startswith(f"cannot run {python}: ")
    assert agent.console(first["run_id"]).splitlines() == [state["reason"]]
    assert agent.wait(second["run_id"])["reason"] == f"needs {first['run_id']}, which failed"


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_names_beyond_ascii_survive_a_plain_locale(agent: AgentHost, locale: str) -> None:
    """What sshd gives a command that no login shell has touched."""
    agent.base = agent.base.parent / "Größe 模型"
    agent.env = {"PATH": agent.env["PATH"], "LC_ALL": locale}
    entry = dict(agent.stage(), argv=["-c", "import sys; print(ascii(sys.argv[1]))", "模型 é"], name="模型")
    agent.submit(entry)
    assert agent.wait(entry["run_id"])["status"] == "succeeded"
    assert agent.console(entry["run_id"]) == ascii("模型 é") + "\n"
    assert agent.call("ls")["runs"][0]["run"]["name"] == "模型"


SHOW = """
import json, os, signal, sys
kept = ["NANOCHAT_BASE_DIR", "NANOCHAT_RUN_DIR", "NANOCHAT_ATTEMPT", "PYTHONUNBUFFERED", "MINE"]
fds = sorted(int(n) for n in os.listdir("/proc/self/fd"))
json.dump({
    "env": {n: os.environ.get(n) for n in kept}, "cwd": os.getcwd(), "fds": fds[:-1],
    "sid": os.getsid(0), "pgid": os.getpgid(0), "pid": os.getpid(), "stdin": os.readlink("/proc/self/fd/0"),
    "hup": signal.getsignal(signal.SIGHUP) == signal.SIG_DFL,
    "int": signal.getsignal(signal.SIGINT) == signal.default_int_handler,
    "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
}, open(os.environ["NANOCHAT_RUN_DIR"] + "/shown.json", "w"))
print("out"); print("err", file=sys.stderr)
"""


def test_the_stage_gets_its_own_session_a_clean_start_and_the_promised_environment(agent: AgentHost) -> None:
    submit = ["/bin/sh", "-c", 'trap "" INT HUP; exec "$@"', "sh", *agent.command("submit")]
    entry = dict(agent.stage(), argv=["-c", SHOW])
    request = {"plan": None, "python": sys.executable, "env": {"MINE": "x y"}, "runs": [entry]}
    done = subprocess.run(
        submit, input=json.dumps(request), env=agent.env, text=True, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    run_id = entry["run_id"]
    assert agent.wait(run_id)["status"] == "succeeded", agent.console(run_id)
    shown = json.loads((agent.dir(run_id) / "shown.json").read_text())
    assert shown["env"] == {
        "NANOCHAT_BASE_DIR": str(agent.base), "NANOCHAT_RUN_DIR": str(agent.dir(run_id)),
        "NANOCHAT_ATTEMPT": "1", "PYTHONUNBUFFERED": "1", "MINE": "x y",
    }  # fmt: skip
    assert shown["cwd"] == str(agent.base)
    assert shown["fds"] == [0, 1, 2] and shown["stdin"] == "/dev/null"
    assert shown["sid"] == shown["pgid"] == shown["pid"] == agent.state(run_id)["pid"]
    assert shown["hup"] and shown["int"] and shown["blocked"] == 0
    assert agent.console(run_id) == "out\nerr\n"


def test_values_of_the_environment_are_in_no_file_once_the_run_has_ended(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(wait=str(agent.base / "go")), env={"WANDB_API_KEY": "hush-hush"})
    launch = agent.dir(run_id) / "launch.json"
    assert launch.stat().st_mode & 0o777 == 0o600
    (agent.base / "go").touch()
    agent.wait(run_id)
    until(lambda: not launch.exists(), "launch.json to go")
    assert json.loads((agent.dir(run_id) / "run.json").read_text())["env"] == ["WANDB_API_KEY"]
    for path in agent.dir(run_id).iterdir():
        assert b"hush-hush" not in path.read_bytes(), path


def test_the_run_outlives_the_session_that_submitted_it(agent: AgentHost, tmp_path: Path) -> None:
    """What a dropped connection does: SIGHUP to the session, then its end by force."""
    entry = agent.stage(steps=40, delay=0.05)
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"plan": None, "python": sys.executable, "env": {}, "runs": [entry]}))
    line = " ".join(agent.command("submit")) + f" < {request}; echo done; sleep 60"
    shell = subprocess.Popen(
        ["/bin/sh", "-c", line], env=agent.env, start_new_session=True, stdout=subprocess.PIPE
    )
    assert shell.stdout is not None
    while shell.stdout.readline().strip() != b"done":
        pass
    agent.wait(entry["run_id"], "running")
    keeper = agent.state(entry["run_id"])["supervisor"]
    os.killpg(shell.pid, signal.SIGHUP)
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    shell.stdout.close()
    stat = procs.read_stat(keeper["pid"])
    assert stat is not None and stat.session == keeper["pid"] and stat.ppid != shell.pid
    os.kill(keeper["pid"], signal.SIGHUP)
    assert agent.wait(entry["run_id"])["status"] == "succeeded"
    assert [event["seq"] for event in agent.events(entry["run_id"])] == list(range(42))


def test_the_same_submission_again_is_no_second_start(agent: AgentHost) -> None:
    entry = agent.stage(steps=20, delay=0.05)
    agent.submit(entry)
    agent.wait(entry["run_id"], "running")
    pid = agent.state(entry["run_id"])["pid"]
    agent.submit(entry)
    assert agent.wait(entry["run_id"])["pid"] == pid
    agent.submit(entry)
    assert sum(event["kind"] == "stage_start" for event in agent.events(entry["run_id"])) == 1


def test_a_submission_cut_short_is_completed_by_sending_it_again(agent: AgentHost) -> None:
    first = agent.stage(steps=1)
    second = agent.stage(needs=(first["run_id"],), steps=1)
    agent.submit(first)
    agent.submit(first, second)
    assert agent.wait(second["run_id"])["status"] == "succeeded"
    assert sum(event["kind"] == "stage_start" for event in agent.events(first["run_id"])) == 1


def test_many_submitting_the_same_at_once_start_it_once(agent: AgentHost) -> None:
    entry = agent.stage(steps=20, delay=0.05)
    request = json.dumps({"plan": None, "python": sys.executable, "env": {}, "runs": [entry]})
    apps = [
        subprocess.Popen(
            agent.command("submit"), env=agent.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for app in apps:
        assert app.stdin is not None
        app.stdin.write(request.encode())
        app.stdin.close()
        app.stdin = None
    for app in apps:
        out, _ = app.communicate(timeout=30)
        assert app.returncode == 0, out
    assert agent.wait(entry["run_id"])["status"] == "succeeded"
    assert sum(event["kind"] == "stage_start" for event in agent.events(entry["run_id"])) == 1


def test_another_run_of_the_same_name_is_refused(agent: AgentHost) -> None:
    entry = agent.stage()
    agent.submit(entry)
    other = dict(entry, argv=["-c", "pass"])
    told = agent.refused("submit", request={"plan": None, "python": "python3", "env": {}, "runs": [other]})
    assert told["code"] == "conflict" and entry["run_id"] in told["error"]


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        ("{torn", "no JSON"),
        ("[]", "JSON object"),
        ({"runs": []}, "at least one"),
        ({"runs": [{"run_id": "../../etc", "stage": "x", "argv": ["a"]}]}, "not a run id"),
        ({"runs": [{"run_id": ".hidden", "stage": "x", "argv": ["a"]}]}, "not a run id"),
        ({"runs": [{"run_id": "a", "argv": ["a"]}]}, "no stage"),
        ({"runs": [{"run_id": "a", "stage": "x", "argv": []}]}, "empty argv"),
        ({"runs": [{"run_id": "a", "stage": "x", "argv": "-m x"}]}, "list of texts"),
        ({"runs": [{"run_id": "a", "stage": "x", "argv": ["a\0b"]}]}, "list of texts"),
        ({"runs": [{"run_id": "a", "stage": "x", "argv": ["a"], "needs": ["zz"]}]}, "needs zz"),
        ({"runs": [{"run_id": "a", "stage": "x", "argv": ["a"], "needs": ["a"]}]}, "needs a"),
        ({"runs": [{"run_id": "a", "stage": "x", "argv": ["a"]}] * 2}, "twice"),
        ({"env": {"A=B": "c"}, "runs": [{"run_id": "a", "stage": "x", "argv": ["a"]}]}, "A=B"),
        ({"env": {"A": 3}, "runs": [{"run_id": "a", "stage": "x", "argv": ["a"]}]}, "text value"),
        ('{"runs": [{"run_id": "a", "stage": "x", "argv": ["\\ud800"]}]}', "list of texts"),
        ({"python": "a\0b", "runs": [{"run_id": "a", "stage": "x", "argv": ["a"]}]}, "'python'"),
        ({"plan": "p", "runs": [{"run_id": "a", "stage": "x", "argv": ["a"]}]}, "'plan'"),
    ],
)
def test_a_wrong_request_is_told_in_one_line_and_makes_nothing(
    agent: AgentHost, request_: object, part: str
) -> None:
    told = agent.refused("submit", request=request_)
    assert part in told["error"]
    assert not list((agent.base / "runs").glob("[!.]*"))


@pytest.mark.parametrize("argv", [["nonsense"], ["ls"], ["read", "--base", "/tmp"], []])
def test_a_wrong_command_line_is_told_as_json(agent: AgentHost, argv: list[str]) -> None:
    done = subprocess.run([agent.python, agent.pyz, *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and json.loads(done.stdout)["code"] == "usage" and done.stderr == ""


def test_a_base_directory_that_cannot_be_made_is_told(pyz: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    agent = AgentHost(pyz, tmp_path / "file" / "base")
    request = {"plan": None, "python": "python3", "env": {}, "runs": [agent.stage()]}
    told = agent.refused("submit", request=request)
    assert told["code"] == "os" and "file" in told["error"]


def test_a_submission_whose_supervisor_cannot_start_is_taken_back(
    agent: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {"plan": None, "python": sys.executable, "env": {}, "runs": [agent.stage(), agent.stage()]}
    with monkeypatch.context() as broken:
        broken.setattr("remote.agent.recovery.agent_argv", lambda: ["/no/such/python", "agent"])
        with pytest.raises(AgentError, match="cannot start a supervisor"):
            control.submit(agent.base, request)
    assert agent.call("ls")["runs"] == []  # nothing that a later look could start
    assert [path.name for path in (agent.base / "runs").iterdir()] == [".lock"]
    agent.call("submit", request=request)
    assert [agent.wait(run["run_id"])["status"] for run in request["runs"]] == ["succeeded"] * 2


def test_a_resume_whose_supervisor_cannot_start_leaves_the_run_as_it_ended(
    agent: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_id,) = agent.submit(agent.stage(end="failed", exit=1))
    ended = agent.wait(run_id)
    until(lambda: not agent.supervisors(), "the supervisor to end")
    request = {"run_id": run_id, "python": sys.executable, "env": {}}
    with monkeypatch.context() as broken:
        broken.setattr("remote.agent.recovery.agent_argv", lambda: ["/no/such/python", "agent"])
        with pytest.raises(AgentError, match="cannot start a supervisor"):
            control.resume(agent.base, request)
    assert agent.listed(run_id) == ended == agent.state(run_id)
    assert not (agent.dir(run_id) / "launch.json").exists() and not agent.supervisors()
