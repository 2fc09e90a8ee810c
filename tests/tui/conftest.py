"""A real store filled through its own ingest, and a control room over it that follows no host."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.agent.search import MOST_SECONDS, Wanted, find_lines
from remote.checkpoints.saved import Listing, SavedCheckpoint
from remote.fleet.agent_client import AgentClient
from remote.fleet.answers import found_of
from remote.fleet.checkpoints import Copied, CopyProgress, FleetCheckpoints
from remote.fleet.fleet import Fleet
from remote.fleet.services import Service, Services, ServiceState
from remote.fleet.session import HostSession
from remote.fleet.tokenizers import FleetTokenizers, HostTokenizer
from remote.runs import Found, Gpu, Link, Probe, RunRequest, run_key
from remote.store.store import Store
from tui.app import ControlRoom

NOW = 1_790_000_000.0


class QuietServices(Services):
    """Services of hosts that nobody connects to: what they would tell is in `told`."""

    def __init__(self) -> None:
        super().__init__(self._nobody)
        self.told: dict[str, list[ServiceState]] = {}
        self.asked: list[tuple[str, str]] = []

    async def _nobody(self, name: str) -> HostSession:
        raise UserError(f"host '{name}' is unreachable: no test connects")

    async def states(self, host: str) -> list[ServiceState]:
        self._known[host] = self.told.get(host, [])
        return self.known(host)

    async def pin(self, service: Service | ServiceState, pinned: bool) -> None:
        self.asked.append(("pin" if pinned else "unpin", service.id))

    async def close(self, service: Service | ServiceState) -> None:
        self.asked.append(("end", service.id))


class QuietCheckpoints(FleetCheckpoints):
    """Checkpoints of hosts that nobody connects to: what they would tell is in `told`, what is asked of them
    in `asked`."""

    def __init__(self) -> None:
        super().__init__(self._no_agent)
        self.told: dict[str, Listing] = {}
        self.asked: list[tuple[str, str, str]] = []

    async def _no_agent(self, name: str) -> AgentClient:
        raise UserError(f"host '{name}' is unreachable: no test connects")

    async def refresh(self, host: str) -> Listing:
        self._listings[host] = self.told.get(host) or Listing(host, NOW)
        return self._listings[host]

    async def delete(self, one: SavedCheckpoint) -> None:
        self.asked.append(("delete", one.host, str(one.name)))
        kept = tuple(other for other in self.told[one.host].checkpoints if other.key != one.key)
        self.told[one.host] = replace(self.told[one.host], checkpoints=kept)
        await self.refresh(one.host)

    async def copy(self, one: SavedCheckpoint, to: str, progress: CopyProgress | None = None) -> Copied:
        self.asked.append(("copy", to, str(one.name)))
        if progress is not None:
            progress(one.bytes // 3, one.bytes)
        await asyncio.sleep(0 if to != "slow" else 60)
        return Copied(f"/{to}", one.bytes)


class QuietTokenizers(FleetTokenizers):
    """Tokenizers of hosts that nobody connects to: what they would tell is in `told`; a host without an entry
    does not answer. A copy is the folder that `copies` has for it."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, self._no_agent)
        self.told: dict[str, list[HostTokenizer]] = {}
        self.copies: dict[str, Path] = {}

    async def _no_agent(self, name: str) -> AgentClient:
        raise UserError(f"host '{name}' is unreachable: no test connects")

    async def listed(self, host: str) -> list[HostTokenizer]:
        return self.told[host] if host in self.told else await super().listed(host)

    async def copy(self, one: HostTokenizer) -> Path:
        return self.copies[one.identity] if one.identity in self.copies else await super().copy(one)


class QuietFleet(Fleet):
    """The real fleet over the real store, that follows no host: requests to hosts are recorded instead."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, Store(layout.store))
        self.services = self.quiet_services = QuietServices()
        self.checkpoints = self.quiet_checkpoints = QuietCheckpoints()
        self.tokenizers = self.quiet_tokenizers = QuietTokenizers(layout)
        self.asked: list[tuple[str, Any]] = []
        self.text: dict[str, bytes] = {}
        self.links: dict[str, Link] = {}

    async def probe(self, name: str) -> Probe:
        gpus = (Gpu("NVIDIA H100 80GB HBM3", 81_559 << 20),) * 8
        return Probe(
            host=name,
            hostname="node7",
            python="3.11.7",
            agent="abc",
            cores=16,
            ram_total=128 << 30,
            disk_free=5 << 30,
            disk_total=100 << 30,
            in_container=False,
            gpus=gpus,
        )

    async def start(self, names: Iterable[str] | None = None) -> None:
        self.asked.append(("start", names))

    def link(self, name: str) -> Link:
        return self.links.get(name) or Link("up", NOW - 60, NOW, None, 2.0)

    async def stop(self, key: str, grace: float = 20.0) -> None:
        self.asked.append(("stop", key))

    async def resume(self, key: str, pass_env: Iterable[str] = ()) -> None:
        self.asked.append(("resume", key))

    async def launch(
        self, name: str, requests: Any, plan: Any = None, pass_env: Iterable[str] = ()
    ) -> list[str]:
        self.asked.append(("launch", (name, [*requests], plan)))
        self.asked.append(("pass_env", tuple(pass_env)))
        return []

    async def console(self, key: str, offset: int = -65536, size: int = 65536) -> tuple[bytes, int, int]:
        text = self.text.get(key, b"")
        at = max(0, len(text) + offset) if offset < 0 else min(offset, len(text))
        self.asked.append(("console", (key, at, size)))
        return text[at : at + size], at, len(text)

    async def search(
        self, key: str, file: str, text: str, *, offset: int = -1, back: bool = True, most: int = 1
    ) -> Found:
        log = self.text.get(key, b"")
        self.asked.append(("search", (key, text, offset, back)))
        wanted = Wanted(text, offset, back, most, MOST_SECONDS)
        return found_of("local", find_lines(lambda at, size: log[at : at + size], len(log), wanted))

    def launched(self) -> list[RunRequest]:
        """The requests of every launch."""
        return [request for what, value in self.asked if what == "launch" for request in value[1]]


@dataclass
class Bench:
    """A base directory with a store, and the fleet the control room gets."""

    layout: Layout
    fleet: QuietFleet

    @property
    def store(self) -> Store:
        return self.fleet.store

    def run(
        self,
        name: str,
        stage: str = "base_train",
        status: str = "succeeded",
        *,
        host: str = "local",
        age: float = 1000.0,
        state: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """A run that was made `age` seconds ago; returns its key."""
        run_id = time.strftime("%Y%m%d-%H%M%S", time.gmtime(NOW - age)) + f"-{stage}-{len(name):04x}"
        run = {"run_id": run_id, "name": name, "stage": stage, "created_at": NOW - age, **more}
        known = {"run_id": run_id, "status": status, "attempt": 1, "started_at": NOW - age + 10}
        if status not in ("running", "created", "starting"):
            known["ended_at"] = NOW - age + 500
        self.store.ingest_state(host, run, {**known, **(state or {})})
        return run_key(host, run_id)

    def events(self, key: str, events: Iterable[Mapping[str, Any]], file: str = "events.jsonl") -> None:
        """Appends events to a run's log as following would, from where it was left."""
        host, run_id = key.split("/", 1)
        offset = self.store.offsets(host).get(run_id, {}).get(file, 0)
        found = self.store.telemetry(key) if file == "telemetry.jsonl" else self.store.events(key)
        seq = found[-1].seq + 1 if found else 0
        lines = [
            json.dumps({"seq": seq + index, "t": NOW - 900 + seq + index, "step": None, "data": {}, **event})
            for index, event in enumerate(events)
        ]
        self.store.ingest(host, run_id, file, offset, ("\n".join(lines) + "\n").encode())

    def training(self, key: str, steps: int = 100, total: int = 400) -> None:
        """A training run's start, metrics and evaluations."""
        self.events(key, training_events(steps, total))

    def app(self, **options: Any) -> ControlRoom:
        return ControlRoom(self.layout, fleet=self.fleet, **options)

    def open(
        self, size: tuple[int, int] = (120, 40), **options: Any
    ) -> AbstractAsyncContextManager[tuple[ControlRoom, Pilot[str]]]:
        """The control room running headless at `size`."""
        return _open(self.app(**options), size)


@asynccontextmanager
async def _open(app: ControlRoom, size: tuple[int, int]) -> AsyncIterator[tuple[ControlRoom, Pilot[str]]]:
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        yield app, pilot
    assert not app.unexpected, "an error was caught that nobody expected"


async def settle(pilot: Pilot[str], until: Callable[[], bool] | None = None, timeout: float = 10.0) -> None:
    """Waits until pending messages are handled, then until `until` holds, for at most `timeout` seconds."""
    await pilot.pause()
    await pilot.pause(0.05)
    deadline = time.monotonic() + timeout
    while until is not None and not until():
        assert time.monotonic() < deadline, f"not so within {timeout:g} s"
        await pilot.pause(0.05)


def training_events(steps: int, total: int) -> list[dict[str, Any]]:
    """stage_start, then a metric a step and an evaluation every 25."""
    start = {"stage": "base_train", "attempt": 1, "from_step": 0, "total_steps": total, "unit": "step"}
    events: list[dict[str, Any]] = [{"kind": "stage_start", "data": start}]
    for step in range(steps):
        data = {
            "train/loss": 2.5 + 5.8 * math.exp(-step / 40) + 0.05 * math.sin(step * 7.1),
            "train/lrm": min(1.0, step / 10),
            "train/tok_per_sec": 3600 + 50 * math.sin(step),
            "train/grad_norm": 1 + 0.2 * math.sin(step * 3),
            "progress": step / total,
            "eta_s": (total - step) * 0.5,
        }
        events.append({"kind": "metric", "step": step, "data": data})
        if step % 25 == 0:
            events.append(
                {"kind": "eval", "step": step, "data": {"val/bpb": 2.0 + 1.4 * math.exp(-step / 60)}}
            )
    return events


@pytest.fixture
def bench(layout: Layout) -> Iterator[Bench]:
    """An empty base directory with a quiet fleet."""
    fleet = QuietFleet(layout)
    yield Bench(layout, fleet)
    fleet.store.close()


@pytest.fixture
def frozen_clock(monkeypatch: pytest.MonkeyPatch) -> float:
    """The wall clock stands at `NOW` in UTC, so that ages and times of day are the same on every machine."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: NOW)
    return NOW
