"""follow and read: every byte once, whole lines only, from anywhere, at little cost."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agenthost import AgentHost, Following

from remote.agent.follow import CHUNK

RUN = "20260101-000000-fake-0001"


def make_run(agent: AgentHost, run_id: str = RUN, **state: object) -> Path:
    """A finished run made by hand; returns its event log."""
    agent.make_hand_run(run_id)
    agent.write_hand_state(run_id, 1, **{"status": "succeeded", **state})
    return agent.dir(run_id) / "events.jsonl"


def make_live_run(agent: AgentHost, run_id: str = RUN) -> Path:
    """A run that is going on: this test is its process. Returns its event log."""
    agent.make_hand_run(run_id)
    agent.write_hand_state(run_id, os.getpid())
    return agent.dir(run_id) / "events.jsonl"


def numbered(first: int, count: int) -> bytes:
    return b"".join(
        b'{"seq":%d,"t":1,"kind":"log","data":{"text":"\xc3\xa9"}}\n' % n for n in range(first, first + count)
    )


def test_a_live_run_is_streamed_from_its_first_state_to_its_last_event(agent: AgentHost) -> None:
    with agent.following() as following:
        (run_id,) = agent.submit(agent.stage(steps=20))
        log = agent.dir(run_id) / "events.jsonl"
        agent.wait(run_id)
        following.until(lambda: following.data(run_id) == log.read_bytes(), "the whole log")
        following.until(
            lambda: following.of("state", run_id)[-1]["state"] == agent.state(run_id), "the last state"
        )
        telemetry = agent.dir(run_id) / "telemetry.jsonl"
        following.until(
            lambda: following.data(run_id, "telemetry.jsonl") == telemetry.read_bytes(), "telemetry"
        )
    first = following.of("state", run_id)[0]
    assert first["run"] == json.loads((agent.dir(run_id) / "run.json").read_text())
    assert set(first["sizes"]) == {"events.jsonl", "telemetry.jsonl", "console.log"}
    order = [frame["type"] for frame in following.frames if frame["type"] != "ping"]
    assert order[0] == "state"
    statuses = [frame["state"]["status"] for frame in following.of("state", run_id)]
    ranks = [["created", "starting", "running", "succeeded"].index(status) for status in statuses]
    assert ranks == sorted(ranks)


@pytest.mark.slow
def test_new_runs_are_picked_up_and_console_is_not_streamed(agent: AgentHost) -> None:
    with agent.following() as following:
        for _ in range(3):
            (run_id,) = agent.submit(agent.stage(steps=1))
            following.until(lambda r=run_id: bool(following.of("state", r)), f"the state of {run_id}")
            agent.wait(run_id)
    assert {frame["file"] for frame in following.of("chunk")} <= {"events.jsonl", "telemetry.jsonl"}


@pytest.mark.parametrize("cut", [0, 1, 17, 100])
def test_it_resumes_at_any_byte(agent: AgentHost, cut: int) -> None:
    log = make_run(agent)
    log.write_bytes(numbered(0, 50))
    with agent.following(offsets={RUN: {"events.jsonl": cut}}) as following:
        following.until(lambda: len(following.data(RUN)) == log.stat().st_size - cut, "the rest")
    assert following.data(RUN) == log.read_bytes()[cut:]
    assert following.of("chunk")[0]["offset"] == cut


def test_a_torn_last_line_waits_until_it_is_whole(agent: AgentHost) -> None:
    log = make_live_run(agent)
    log.write_bytes(numbered(0, 2))
    with agent.following() as following:
        following.until(lambda: following.data(RUN) == numbered(0, 2), "two lines")
        line = numbered(2, 1)
        with log.open("ab", buffering=0) as file:
            for byte in range(len(line) - 1):
                file.write(line[byte : byte + 1])
            time.sleep(0.3)
            following.until(lambda: len(following.of("ping")) >= 2, "a ping")
            assert following.data(RUN) == numbered(0, 2)
            file.write(line[-1:])
        following.until(lambda: following.data(RUN) == numbered(0, 3), "the third")


def test_a_backlog_comes_in_bounded_frames_and_no_run_starves_another(agent: AgentHost) -> None:
    big = make_run(agent, RUN)
    small = make_run(agent, "20260101-000000-fake-0002")
    block = numbered(0, 4000)
    with big.open("wb") as file:
        for _ in range(40):
            file.write(block)
    small.write_bytes(numbered(0, 3))
    with agent.following() as following:
        following.until(
            lambda: following.frames and _received(following, RUN) == big.stat().st_size, "the backlog"
        )
    chunks = following.of("chunk")
    assert all(0 < frame["next"] - frame["offset"] <= CHUNK for frame in chunks)
    assert following.largest < 2 * CHUNK
    place = next(i for i, frame in enumerate(chunks) if frame["run_id"] != RUN)
    assert place <= 1


def _received(following: Following, run_id: str) -> int:
    return sum(f["next"] - f["offset"] for f in following.of("chunk", run_id))


def test_a_line_longer_than_a_chunk_is_passed_over_and_said(agent: AgentHost) -> None:
    log = make_live_run(agent)
    huge = b'{"seq":1,"data":{"text":"' + b"x" * (3 * CHUNK) + b'"}}\n'
    log.write_bytes(numbered(0, 1) + huge[:-1])
    with agent.following() as following:
        following.until(lambda: following.data(RUN) == numbered(0, 1), "the line before")
        with log.open("ab") as file:
            file.write(huge[-1:] + numbered(2, 1))
        following.until(lambda: bool(following.of("skip")), "the skip")
        (skip,) = following.of("skip")
        assert skip["next"] - skip["offset"] == len(huge)
        following.until(lambda: following.of("chunk")[-1]["offset"] == skip["next"], "the line after")
    assert following.of("chunk")[-1]["data"].encode() == numbered(2, 1)
    assert following.largest < 2 * CHUNK


def test_bytes_that_are_no_text_do_not_shift_the_offsets(agent: AgentHost) -> None:
    log = make_run(agent)
    log.write_bytes(b'{"bad":"\xff\xfe\x00"}\n' + numbered(1, 1))
    with agent.following() as following:
        following.until(lambda: bool(following.of("chunk")), "a chunk")
    (chunk,) = following.of("chunk")
    assert chunk["next"] == log.stat().st_size and "\ufffd" in chunk["data"]


def test_a_file_that_shrank_is_said_and_read_again(agent: AgentHost) -> None:
    log = make_live_run(agent)
    log.write_bytes(numbered(0, 10))
    with agent.following() as following:
        following.until(lambda: following.data(RUN) == numbered(0, 10), "the log")
        log.write_bytes(numbered(50, 2))
        following.until(lambda: bool(following.of("reset")), "the reset")
        (reset,) = following.of("reset")
        assert (reset["offset"], reset["size"]) == (len(numbered(0, 10)), len(numbered(50, 2)))
        following.until(lambda: following.of("chunk")[-1]["data"].encode() == numbered(50, 2), "the new text")
        assert following.of("chunk")[-1]["offset"] == 0


@pytest.mark.slow
def test_it_pings_every_two_seconds_even_without_any_run(agent: AgentHost) -> None:
    with agent.following() as following:
        following.until(lambda: len(following.of("ping")) == 3, "three pings", seconds=8)
    times = [frame["t"] for frame in following.of("ping")]
    assert 3.0 < times[-1] - times[0] < 6.0


def test_it_ends_when_its_input_closes(agent: AgentHost) -> None:
    """A dropped SSH connection closes both pipes: nothing of us may stay behind."""
    with agent.following() as following:
        following.until(lambda: bool(following.of("ping")), "it to start")
        assert following.process.stdin is not None
        following.process.stdin.close()
        assert following.process.wait(5) == 0


def test_it_ends_when_nobody_reads(agent: AgentHost) -> None:
    process = subprocess.Popen(
        agent.command("follow"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=agent.env,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write(b"{}\n")
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(10) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
    process.stdin.close()


@pytest.mark.parametrize(
    "line", ["no json", '{"offsets": 3}', '{"offsets": {"r": {"events.jsonl": "x"}}}', "[1]"]
)
def test_a_wrong_request_is_told(agent: AgentHost, line: str) -> None:
    assert agent.refused("follow", request=line + "\n")["code"] == "usage"


def test_a_resume_of_an_ended_run_is_seen(agent: AgentHost) -> None:
    again = {"2:end": "succeeded", "2:exit": 0}
    (run_id,) = agent.submit(agent.stage(steps=1, end="failed", exit=1, **again))
    agent.wait(run_id)
    with agent.following() as following:
        following.until(lambda: bool(following.of("ping")), "it to start")
        agent.call("resume", request={"run_id": run_id, "python": sys.executable, "env": {}})
        asked = time.monotonic()
        following.until(
            lambda: any(f["state"]["status"] == "succeeded" for f in following.of("state", run_id)),
            "the second attempt's end",
        )
        assert time.monotonic() - asked < 5
        log = agent.dir(run_id) / "events.jsonl"
        following.until(lambda: following.data(run_id) == log.read_bytes(), "its events")


@pytest.mark.slow
def test_thousands_of_finished_runs_cost_next_to_nothing(agent: AgentHost) -> None:
    agent.base.mkdir()
    for number in range(3000):
        make_run(agent, f"20250101-{number:06d}-fake-0001").write_bytes(b"")
    with agent.following(interval=0.5) as following:
        following.until(lambda: len(following.of("state")) == 3000, "all states", seconds=120)
        pid = following.process.pid
        before, started = _cpu_seconds(pid), time.monotonic()
        time.sleep(4)
        share = (_cpu_seconds(pid) - before) / (time.monotonic() - started)
        (run_id,) = agent.submit(agent.stage(steps=1))
        following.until(lambda: bool(following.of("state", run_id)), "a new run among them", seconds=30)
    assert share < 0.05, f"{share:.1%} of a processor to watch 3000 finished runs"


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_its_memory_does_not_grow_with_the_backlog(agent: AgentHost) -> None:
    log = make_run(agent)
    with log.open("wb") as file:
        for _ in range(400):
            file.write(numbered(0, 4000))
    size = log.stat().st_size
    assert size > 60 << 20
    with agent.following() as following:
        following.until(lambda: _received(following, RUN) > size // 2, "half of it", seconds=40)
        status = Path(f"/proc/{following.process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        following.frames.clear()
        with contextlib.suppress(ProcessLookupError):
            following.process.kill()
    assert peak * 1024 < 60 << 20


def test_read_gives_bytes_from_the_start_or_the_end(agent: AgentHost) -> None:
    make_run(agent)
    console = agent.dir(RUN) / "console.log"
    console.write_bytes(bytes(range(256)) * 4)
    whole = console.read_bytes()

    def read(offset: int, limit: int) -> tuple[int, bytes]:
        args = ["--run", RUN, "--file", "console.log", "--offset", str(offset), "--max", str(limit)]
        answer = agent.call("read", *args)
        assert answer["size"] == len(whole)
        return answer["offset"], base64.b64decode(answer["b64"])

    assert read(0, 10) == (0, whole[:10])
    assert read(1000, 100) == (1000, whole[1000:])
    assert read(-24, 100) == (1000, whole[1000:])
    assert read(-5000, 3) == (0, whole[:3])
    assert read(99999, 3) == (1024, b"")
    assert read(0, -1) == (0, b"")


def test_read_of_a_file_that_is_not_there_yet_is_empty(agent: AgentHost) -> None:
    make_run(agent)
    assert agent.call("read", "--run", RUN, "--file", "console.log") == {"offset": 0, "size": 0, "b64": ""}


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "launch.json", ".", "", "a/b", ".state.spare"])
def test_read_stays_in_the_run_directory_and_off_secrets(agent: AgentHost, name: str) -> None:
    make_run(agent)
    (agent.dir(RUN) / "launch.json").write_text("{}")
    assert agent.refused("read", "--run", RUN, "--file", name)["code"] == "usage"


def test_read_follows_no_link(agent: AgentHost) -> None:
    make_run(agent)
    (agent.dir(RUN) / "console.log").symlink_to("/etc/passwd")
    assert agent.refused("read", "--run", RUN, "--file", "console.log")["code"] == "os"
    assert (
        agent.refused("read", "--run", "20260101-000000-none-0001", "--file", "console.log")["code"]
        == "no_run"
    )
