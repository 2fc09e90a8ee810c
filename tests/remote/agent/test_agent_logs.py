"""The agent's own pieces without processes: logs read from their end, outcomes, limits of a control group."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanochat.run.events import parse_line
from remote.agent import logs
from remote.agent.outcome import Exited, outcome_of
from remote.agent.telemetry.cgroup import Cgroup

LINES = st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b" ")), max_size=30)
SHARED_TMP = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=[3, 64, logs.BLOCK])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Blocks smaller than a line, about a line, and as shipped."""
    monkeypatch.setattr(logs, "BLOCK", request.param)
    yield request.param


@SHARED_TMP
@given(lines=LINES, torn=st.binary(max_size=40), floor=st.integers(0, 400))
def test_reading_backwards_gives_the_whole_lines_reversed(
    tmp_path: Path, block: int, lines: list[bytes], torn: bytes, floor: int
) -> None:
    path = tmp_path / "log"
    torn = torn.replace(b"\n", b"")
    raw = b"".join(line + b"\n" for line in lines) + torn
    path.write_bytes(raw)
    forward = raw[floor:].split(b"\n")[:-1]
    assert list(logs.lines_backwards(path, floor)) == forward[::-1]
    assert logs.whole_size(path) == len(raw) - len(torn)


@SHARED_TMP
@given(cut=st.integers(0, 2000), more=st.integers(1, 5))
def test_seq_goes_on_without_gap_after_a_tear_at_any_byte(tmp_path: Path, cut: int, more: int) -> None:
    path = tmp_path / "telemetry.jsonl"
    path.unlink(missing_ok=True)
    first = logs.SeqLog(path)
    for number in range(6):
        first.append("telemetry", {"host/cpu": number, "text": "é" * number})
    first.close()
    with path.open("r+b") as file:
        file.truncate(min(cut, path.stat().st_size))
    second = logs.SeqLog(path)
    for number in range(more):
        second.append("telemetry", {"host/cpu": number})
    second.close()
    events = [parse_line(line) for line in path.read_bytes().splitlines()]
    assert all(event is not None and event.kind == "telemetry" for event in events)
    assert [event.seq for event in events if event] == list(range(len(events)))


def test_two_writers_of_one_telemetry_file_are_impossible(tmp_path: Path) -> None:
    first = logs.SeqLog(tmp_path / "telemetry.jsonl")
    with pytest.raises(BlockingIOError):
        logs.SeqLog(tmp_path / "telemetry.jsonl")
    first.close()
    logs.SeqLog(tmp_path / "telemetry.jsonl").close()


def test_an_event_that_cannot_be_written_whole_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "telemetry.jsonl"
    log = logs.SeqLog(path)
    log.append("telemetry", {"a": 1})
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, raw: write(fd, raw[: len(raw) // 2]))
    with pytest.raises(OSError, match="No space"):
        log.append("telemetry", {"a": 2})
    monkeypatch.undo()
    log.append("telemetry", {"a": 3})
    log.close()
    assert [(e["seq"], e["data"]["a"]) for e in map(json.loads, path.read_text().splitlines())] == [
        (0, 1),
        (1, 3),
    ]


def test_no_sample_with_a_nan_reaches_the_file(tmp_path: Path) -> None:
    log = logs.SeqLog(tmp_path / "telemetry.jsonl")
    with pytest.raises(ValueError):
        log.append("telemetry", {"a": float("nan")})
    log.close()
    assert (tmp_path / "telemetry.jsonl").read_bytes() == b""


def end(status: str, error: str = "") -> dict[str, str]:
    return {"status": status, "error": error}


@pytest.mark.parametrize(
    ("exited", "stage_end", "asked", "status", "part"),
    [
        (Exited(0, None), None, False, "succeeded", ""),
        (Exited(0, None), end("succeeded"), False, "succeeded", ""),
        (None, end("succeeded"), False, "succeeded", ""),
        (Exited(0, None), end("succeeded"), True, "succeeded", ""),
        (Exited(None, 11), end("succeeded"), False, "succeeded", "then killed by signal 11 (SIGSEGV)"),
        (Exited(1, None), None, False, "failed", "exit code 1: last words"),
        (Exited(2, None), end("failed", "no shards"), False, "failed", "no shards"),
        (Exited(None, 9), None, False, "failed", "killed by signal 9 (SIGKILL)"),
        (None, end("failed", "no shards"), False, "failed", "no shards"),
        (Exited(4, None), end("stopped", "as asked"), True, "stopped", "as asked"),
        (Exited(4, None), end("stopped"), False, "stopped", "stopped"),
        (Exited(None, 9), None, True, "stopped", "SIGKILL"),
        (Exited(1, None), end("failed", "KeyboardInterrupt"), True, "stopped", "KeyboardInterrupt"),
        (None, None, True, "stopped", "on request"),
        (None, None, False, "lost", "nobody watched"),
    ],
)
def test_how_a_stage_ended(
    exited: Exited, stage_end: dict[str, str], asked: bool, status: str, part: str
) -> None:
    outcome = outcome_of(exited, stage_end, asked, "last words")
    assert outcome.status == status and part in outcome.reason


def describe(root: Path, files: dict[str, str]) -> Cgroup:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Cgroup(root)


def test_limits_of_a_version_2_group_and_its_parents(tmp_path: Path) -> None:
    """A Slurm job on a bare node: the limit sits on a parent of our group."""
    top = "sys/fs/cgroup"
    group = describe(tmp_path, {
        "proc/self/cgroup": "0::/slurm/job_7/step\n",
        f"{top}/cgroup.controllers": "cpu memory\n",
        f"{top}/slurm/memory.max": "max\n", f"{top}/slurm/cpu.max": "max 100000\n",
        f"{top}/slurm/job_7/memory.max": "8589934592\n", f"{top}/slurm/job_7/memory.current": "3221225472\n",
        f"{top}/slurm/job_7/memory.stat": "anon 1\ninactive_file 1073741824\n",
        f"{top}/slurm/job_7/cpu.max": "350000 100000\n",
        f"{top}/slurm/job_7/step/memory.max": "max\n", f"{top}/slurm/job_7/step/cpu.max": "max 100000\n",
        f"{top}/slurm/job_7/step/cpu.stat": "usage_usec 2500000\n",
    })  # fmt: skip
    assert group.cpu_quota() == 3.5
    assert group.memory_limit() == 8 << 30
    assert group.memory_used() == 2 << 30
    assert group.cpu_seconds() == 2.5
    assert not group.root_is_limited()


def test_limits_of_a_version_2_container_whose_group_is_its_root(tmp_path: Path) -> None:
    top = "sys/fs/cgroup"
    group = describe(tmp_path, {
        "proc/self/cgroup": "0::/\n", f"{top}/cgroup.controllers": "cpu memory\n",
        f"{top}/memory.max": "1073741824\n", f"{top}/memory.current": "536870912\n", f"{top}/memory.stat": "",
        f"{top}/cpu.max": "200000 100000\n",
    })  # fmt: skip
    assert (group.memory_limit(), group.memory_used(), group.cpu_quota()) == (1 << 30, 512 << 20, 2.0)
    assert group.root_is_limited()


def test_limits_of_a_version_1_container(tmp_path: Path) -> None:
    """Its /proc/self/cgroup still names the path outside, which does not exist inside."""
    top = "sys/fs/cgroup"
    group = describe(tmp_path, {
        "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
        f"{top}/memory/memory.limit_in_bytes": "2147483648\n",
        f"{top}/memory/memory.usage_in_bytes": "1073741824\n",
        f"{top}/memory/memory.stat": "inactive_file 5\ntotal_inactive_file 1048576\n",
        f"{top}/cpu/cpu.cfs_quota_us": "150000\n", f"{top}/cpu/cpu.cfs_period_us": "100000\n",
        f"{top}/cpuacct/cpuacct.usage": "7000000000\n",
    })  # fmt: skip
    assert (group.memory_limit(), group.cpu_quota(), group.cpu_seconds()) == (2 << 30, 1.5, 7.0)
    assert group.memory_used() == (1 << 30) - (1 << 20)


@pytest.mark.parametrize("limit", ["9223372036854771712\n", "max\n", "", "garbage\n"])
def test_no_limit_is_no_limit(tmp_path: Path, limit: str) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/\n3:cpu:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": limit,
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }  # fmt: skip
    group = describe(tmp_path, files)
    assert group.memory_limit() is None and group.memory_used() is None and group.cpu_quota() is None


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    group = Cgroup(tmp_path)
    assert (group.cpu_quota(), group.cpu_seconds(), group.memory_limit(), group.memory_used()) == (None,) * 4
