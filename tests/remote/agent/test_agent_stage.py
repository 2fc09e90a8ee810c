"""The agent with real stages: what nanochat's own stages write is what the agent judges and streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from agenthost import AgentHost

from nanochat.run.events import read_events


@pytest.fixture
def agent(agent: AgentHost) -> AgentHost:
    """Stages find the checkout's nanochat, installed or not."""
    agent.env["PYTHONPATH"] = os.pathsep.join(sys.path)
    return agent


def stage(agent: AgentHost, name: str, *argv: str, run_id: str) -> dict[str, object]:
    return dict(agent.stage(run_id), stage=name, name=name, argv=["-m", f"nanochat.stages.{name}", *argv])


def texts(folder: Path) -> Path:
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(f"Document number {number}. " * 40)
    return folder


@pytest.mark.slow
def test_a_real_stage_succeeds_and_its_log_is_whole(agent: AgentHost, tmp_path: Path) -> None:
    run_id = "20260101-000000-data_build-0001"
    agent.submit(stage(agent, "data_build", str(texts(tmp_path / "texts")), run_id=run_id))
    state = agent.wait(run_id, seconds=60)
    assert state["status"] == "succeeded", agent.console(run_id)
    events, _ = read_events(agent.dir(run_id) / "events.jsonl")
    assert [event.seq for event in events] == list(range(len(events)))
    assert events[0].kind == "stage_start" and events[0].data["attempt"] == 1
    assert events[-1].kind == "stage_end" and events[-1].data["status"] == "succeeded"
    assert list((agent.base / "base_data").glob("*.parquet"))
    assert len(list((agent.base / "runs").glob("[!.]*"))) == 1


@pytest.mark.slow
def test_bad_input_of_a_real_stage_becomes_the_reason_of_the_failure(
    agent: AgentHost, tmp_path: Path
) -> None:
    missing, wrong = "20260101-000000-data_build-0001", "20260101-000000-data_build-0002"
    agent.submit(stage(agent, "data_build", str(tmp_path / "nothing"), run_id=missing))
    state = agent.wait(missing, seconds=60)
    assert (state["status"], state["exit_code"]) == ("failed", 2)
    assert str(tmp_path / "nothing") in state["reason"] and "Traceback" not in state["reason"]
    agent.submit(stage(agent, "data_build", "--no-such-option", "3", run_id=wrong))
    state = agent.wait(wrong, seconds=60)
    assert (state["status"], state["exit_code"]) == ("failed", 2)
    assert "no-such-option" in state["reason"].replace("_", "-")


@pytest.mark.slow
def test_a_real_stage_run_directly_is_seen_as_it_is(agent: AgentHost, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nanochat.stages.data_build", str(texts(tmp_path / "texts"))]
    env = {**agent.env, "NANOCHAT_BASE_DIR": str(agent.base)}
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=120)
    (entry,) = agent.call("ls")["runs"]
    assert entry["run"]["stage"] == "data_build" and entry["run"]["plan"] is None
    assert (entry["state"]["status"], entry["state"]["exit_code"]) == ("succeeded", 0)
    assert entry["state"]["supervisor"] is None
    run_id = entry["run"]["run_id"]
    with agent.following() as following:
        log = agent.dir(run_id) / "events.jsonl"
        following.until(lambda: following.data(run_id) == log.read_bytes(), "its events")
    assert json.loads(following.data(run_id).splitlines()[-1])["kind"] == "stage_end"
