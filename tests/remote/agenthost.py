"""A base directory with the real agent over it, as a transport would use it: one process a command."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from remote.agent import procs
from remote.fleet import agent_archive

FAKE_STAGE = Path(__file__).with_name("fake_stage.py")
ENDED = ("succeeded", "failed", "stopped", "lost")


class AgentHost:
    """The agent's zipapp under `python` for the base directory `base`."""

    def __init__(self, pyz: Path, base: Path, python: str = sys.executable) -> None:
        self.pyz = pyz
        self.base = base
        self.python = python
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("NANOCHAT_")}
        self._ids = 0

    def command(self, name: str, *args: str) -> list[str]:
        return [self.python, str(self.pyz), name, "--base", str(self.base), *args]

    def raw(self, name: str, *args: str, request: Any = None) -> subprocess.CompletedProcess[str]:
        text = request if isinstance(request, str) else json.dumps(request)
        return subprocess.run(
            self.command(name, *args), input=text, env=self.env, capture_output=True, text=True, timeout=60
        )

    def call(self, name: str, *args: str, request: Any = None) -> dict[str, Any]:
        done = self.raw(name, *args, request=request)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def refused(self, name: str, *args: str, request: Any = None) -> dict[str, str]:
        """The agent's one-line answer to what it cannot do."""
        done = self.raw(name, *args, request=request)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stdout + done.stderr
        answer: dict[str, str] = json.loads(done.stdout)
        assert set(answer) == {"error", "code"} and "\n" not in answer["error"]
        return answer

    def stage(self, run_id: str = "", needs: tuple[str, ...] = (), **arguments: object) -> dict[str, Any]:
        """One entry of a submission: the fake stage with these arguments."""
        self._ids += 1
        return {
            "run_id": run_id or f"20260101-0000{self._ids:02d}-fake-{self._ids:04x}",
            "name": "fake", "stage": "fake", "options": {},
            "argv": [str(FAKE_STAGE), *(f"{k}={v}" for k, v in arguments.items())],
            "needs": list(needs), "code": {"version": "0", "sha": ""},
        }  # fmt: skip

    def submit(
        self,
        *runs: dict[str, Any],
        python: str = sys.executable,
        env: Mapping[str, str] | None = None,
        plan: str | None = "p1",
    ) -> list[str]:
        request = {
            "plan": {"id": plan, "name": "test"} if plan else None, "python": python, "env": dict(env or {}),
            "runs": list(runs),
        }  # fmt: skip
        self.call("submit", request=request)
        return [run["run_id"] for run in runs]

    def dir(self, run_id: str) -> Path:
        return self.base / "runs" / run_id

    def state(self, run_id: str) -> dict[str, Any]:
        """The state on disk, read the way a bystander would: without the agent."""
        state: dict[str, Any] = json.loads((self.dir(run_id) / "state.json").read_bytes())
        return state

    def listed(self, run_id: str) -> dict[str, Any]:
        """The state as `ls` judges it now."""
        return {e["run"]["run_id"]: e["state"] for e in self.call("ls")["runs"]}[run_id]

    def events(self, run_id: str, name: str = "events.jsonl") -> list[dict[str, Any]]:
        path = self.dir(run_id) / name
        raw = path.read_bytes() if path.exists() else b""
        return [json.loads(line) for line in raw.split(b"\n")[:-1]]

    def console(self, run_id: str) -> str:
        path = self.dir(run_id) / "console.log"
        return path.read_text() if path.exists() else ""

    def wait(self, run_id: str, *statuses: str, seconds: float = 20) -> dict[str, Any]:
        """The state once it is one of `statuses` (any end when none is given)."""
        wanted = statuses or ENDED
        until(lambda: self.state(run_id)["status"] in wanted, f"{run_id} to be {wanted}", seconds)
        return self.state(run_id)

    def make_hand_run(self, run_id: str, **fields: object) -> None:
        """The directory and run.json that a stage run directly makes for itself."""
        self.dir(run_id).mkdir(parents=True)
        run = {
            "schema": 1, "run_id": run_id, "name": "fake", "stage": "fake",
            "argv": [sys.executable, str(FAKE_STAGE)], "host": os.uname().nodename, "plan": None, "env": [],
        }  # fmt: skip
        (self.dir(run_id) / "run.json").write_text(json.dumps({**run, **fields}))

    def write_hand_state(self, run_id: str, pid: int, **fields: object) -> None:
        """The state.json that a stage run directly keeps: it names no supervisor."""
        now = time.time()
        state = {
            "schema": 1, "run_id": run_id, "status": "running", "attempt": 1, "pid": pid,
            "pid_start": procs.start_time(pid), "boot_id": procs.boot_id(), "heartbeat": now,
            "started_at": now, "ended_at": None, "exit_code": None, "signal": None, "reason": "",
            "supervisor": None,
        }  # fmt: skip
        (self.dir(run_id) / "state.json").write_text(json.dumps({**state, **fields}))

    def write_events(self, run_id: str, *events: tuple[str, dict[str, Any]]) -> None:
        """Appends events (kind, data) as a stage would."""
        seq = len(self.events(run_id))
        with (self.dir(run_id) / "events.jsonl").open("a") as file:
            for index, (kind, data) in enumerate(events):
                file.write(
                    json.dumps({"seq": seq + index, "t": time.time(), "kind": kind, "data": data}) + "\n"
                )

    def wait_events(self, run_id: str, count: int, name: str = "events.jsonl") -> None:
        until(lambda: len(self.events(run_id, name)) >= count, f"{count} events of {run_id}")

    def supervisors(self) -> list[int]:
        """Pids of this base directory's living supervisors."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"supervise" in words and str(self.base).encode() in words:
                    found.append(int(entry.name))
        # a stage that is just being forked still looks like its supervisor
        parents = {pid: procs.read_stat(pid) for pid in found}
        return [pid for pid, stat in parents.items() if stat is not None and stat.ppid not in found]

    def kill_supervisor(self, run_id: str) -> int:
        """kill -9 of the run's supervisor; returns its pid once it is gone."""
        keeper = self.state(run_id)["supervisor"]
        os.kill(keeper["pid"], signal.SIGKILL)
        until(lambda: not procs.alive(keeper["pid"], keeper["pid_start"]), "the supervisor to die")
        return int(keeper["pid"])

    @contextlib.contextmanager
    def following(self, **request: Any) -> Iterator["Following"]:
        following = Following(self, request)
        try:
            yield following
        finally:
            following.close()

    def end_all(self) -> None:
        """Ends what the test left running, by the pids of its own state files."""
        for pid in self.supervisors():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for path in (self.base / "runs").glob("*/state.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                state = json.loads(path.read_bytes())
                if state["status"] in ENDED:
                    continue
                mark = procs.mark_of(path.parent, state["attempt"])
                procs.signal_each(procs.members(state["pid"] or 0, mark, False), signal.SIGKILL)


class Following:
    """A running `agent follow`, its frames read by a thread."""

    def __init__(self, host: AgentHost, request: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            host.command("follow"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=host.env
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"interval": 0.05, **request}).encode() + b"\n")
        self.process.stdin.flush()
        self.frames: list[dict[str, Any]] = []
        self.largest = 0
        self._queue: queue.Queue[bytes] = queue.Queue()
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)

    def until(self, done: Callable[[], bool], what: str, seconds: float = 20) -> None:
        """Takes frames until `done`."""
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            assert left > 0, f"waited {seconds} s for {what}; had {[f['type'] for f in self.frames[-20:]]}"
            with contextlib.suppress(queue.Empty):
                line = self._queue.get(timeout=min(left, 0.2))
                self.largest = max(self.largest, len(line))
                self.frames.append(json.loads(line))

    def data(self, run_id: str, name: str = "events.jsonl") -> bytes:
        """The bytes of one file as streamed, which must join without gap or overlap."""
        joined = b""
        place = None
        for frame in self.frames:
            if frame["type"] == "chunk" and (frame["run_id"], frame["file"]) == (run_id, name):
                assert place is None or frame["offset"] == place, "chunks must join"
                raw = frame["data"].encode()
                assert frame["next"] == frame["offset"] + len(raw)
                assert raw.endswith(b"\n")
                place = frame["next"]
                joined += raw
        return joined

    def of(self, kind: str, run_id: str = "") -> list[dict[str, Any]]:
        """Frames of one kind, of one run when named."""
        return [
            f for f in self.frames
            if f["type"] == kind and run_id in ("", f.get("run_id"), f.get("state", {}).get("run_id"))
        ]  # fmt: skip

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._thread.join(5)
            self.process.stdout.close()


def until(done: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Waits until `done`, failing with `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's file, as it would be put on a host."""
    return agent_archive.build(tmp_path_factory.mktemp("agent")).path


@pytest.fixture
def agent(pyz: Path, tmp_path: Path) -> Iterator[AgentHost]:
    """An agent over an empty base directory; what runs at the end of the test is ended."""
    agent = AgentHost(pyz, tmp_path / "base")
    yield agent
    agent.end_all()
