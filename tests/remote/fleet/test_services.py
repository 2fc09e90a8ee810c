"""Services over a real sshd: opened, chatted with, kept over a cut link, gone with the app unless pinned."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_chat_web import fake_server_python
from sshd import Sshd

from nanochat.checkpoint.names import CheckpointName
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.serve.client import ChatClient, CutError
from nanochat.serve.conversation import AnswerSettings, Part
from remote.agent.files import read_json
from remote.fleet.fleet import Fleet
from remote.fleet.service_answers import checkpoint_of, offer_of, told_of
from remote.fleet.services import DeviceChoice, Service
from remote.hosts.book import HostBook

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
LEASE = 3.0
GREEDY = AnswerSettings(temperature=0.0, max_tokens=24)
LONG = AnswerSettings(temperature=0.0, max_tokens=200)
QUESTION = [{"role": "user", "content": "Who are you?"}]

APP = """
import asyncio, sys
from pathlib import Path
from nanochat.common.paths import Layout
from remote.fleet.fleet import Fleet

async def main():
    fleet = Fleet(Layout(Path(sys.argv[1])))
    fleet.services.lease_seconds = float(sys.argv[2])
    service = await fleet.services.open("box", None, lambda line: None)
    print(service.id, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
"""An app that keeps a service until it is killed."""


def real_python(folder: Path) -> Path:
    """A host's interpreter that has nanochat."""
    path = folder / "real python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" OMP_NUM_THREADS=1 exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """The base directory on the host."""
    return tmp_path / "far"


@asynccontextmanager
async def fleet_of(layout: Layout) -> AsyncIterator[Fleet]:
    fleet = Fleet(layout)
    fleet.services.lease_seconds = LEASE
    try:
        yield fleet
    finally:
        await fleet.aclose()


@pytest.fixture
def box(layout: Layout, known_sshd: Sshd, far: Path, tmp_path: Path) -> Sshd:
    """A host whose interpreter is the stand-in for a server."""
    HostBook(layout).add(known_sshd.host(base=far, python=str(fake_server_python(tmp_path))))
    return known_sshd


async def until(done: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.02)
    assert done(), what


def server_pid(far: Path, service_id: str) -> int:
    state = json.loads((far / "services" / service_id / "state.json").read_bytes())
    return int(state["pid"])


def statuses(far: Path) -> list[str]:
    states = (far / "services").glob("cpu-*/state.json")
    return [str(found["status"]) for state in states if (found := read_json(state)) is not None]


async def gone(far: Path, service_id: str, pid: int, seconds: float = 20.0) -> None:
    folder = far / "services" / service_id
    await until(lambda: not folder.exists() and not psutil.pid_exists(pid), "the service to end", seconds)


async def answer(service: Service, settings: AnswerSettings = GREEDY) -> str:
    async with ChatClient(service.url, service.key) as client:
        stream = client.stream("sft/d2@5", QUESTION, settings)
        return "".join([part.text async for part in stream if isinstance(part, Part)])


async def test_a_chat_with_a_hosts_checkpoint_goes_on_over_a_cut_link(
    layout: Layout, known_sshd: Sshd, far: Path, tmp_path: Path
) -> None:
    from chat_models import make_chat_base

    make_chat_base(far)
    HostBook(layout).add(known_sshd.host(base=far, python=str(real_python(tmp_path))))
    said: list[str] = []
    async with fleet_of(layout) as fleet:
        fleet.services.lease_seconds = 30.0
        found = await fleet.services.checkpoints("box")
        assert [(str(one.name), one.steps, one.run) for one in found] == [
            ("base/d2", (3,), "seed-1"), ("sft/classic", (4,), "seed-4"), ("sft/d2", (5, 8), "seed-3")
        ]  # fmt: skip
        service = await fleet.services.open("box", "cpu", said.append)
        assert said[0].startswith("looking for a server on box") and "starting the server" in said[-1]
        first = await answer(service)
        assert first
        with pytest.raises(UserError, match="API key is missing or wrong"):
            async with ChatClient(service.url, "guessed") as stranger:
                await stranger.models()
        [state] = await fleet.services.states("box")
        assert (state.models, state.kept, state.pinned) == (("sft/d2@5",), True, False)

        async with ChatClient(service.url, service.key) as client:
            stream = client.stream("sft/d2@5", QUESTION, LONG)
            await anext(stream)
            known_sshd.kill()
            with pytest.raises(CutError):
                async for _ in stream:
                    pass
        await until(lambda: fleet.link("box").status != "up", "the link to be down")
        with pytest.raises(UserError):
            await answer(service)
        known_sshd.start()
        await until(lambda: fleet.link("box").status == "up", "the link to be up again")
        assert await answer(service) == first  # at the same address
        assert fleet.services.running() == [service]
        joined = await fleet.services.open("box", None, said.append)
        assert joined == service
        pid = server_pid(far, service.id)
    await gone(far, service.id, pid)


async def test_a_service_ends_with_the_app_that_is_killed(layout: Layout, box: Sshd, far: Path) -> None:
    argv = [sys.executable, "-c", APP, str(layout.base), str(LEASE)]
    app = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert app.stdout is not None
    service_id = (await asyncio.to_thread(app.stdout.readline)).strip()
    pid = server_pid(far, service_id)
    [lease] = (far / "services" / service_id / "leases").iterdir()
    for _ in range(2):
        before = lease.stat().st_mtime_ns
        await until(lambda before=before: lease.stat().st_mtime_ns != before, "the lease to be renewed")
    assert psutil.pid_exists(pid)
    app.kill()
    app.wait()
    await gone(far, service_id, pid)


async def test_panes_share_a_service_that_ends_at_once_with_the_app_unless_it_is_pinned(
    layout: Layout, box: Sshd, far: Path
) -> None:
    async with fleet_of(layout) as fleet:
        fleet.services.lease_seconds = 3600.0
        opened = await asyncio.gather(*(fleet.services.open("box", None, lambda _: None) for _ in range(4)))
        assert len(set(opened)) == 1 and fleet.services.running() == opened[:1]
        service = opened[0]
        pid = server_pid(far, service.id)
        await fleet.services.pin(service, True)
        assert fleet.services.running()[0].pinned
    async with fleet_of(layout) as other:
        [state] = await other.services.states("box")
        assert (state.id, state.status, state.pinned, state.kept) == (service.id, "ready", True, False)
        assert (await other.services.open("box", "cpu", lambda _: None)).id == service.id
        await other.services.pin(state, False)
        assert psutil.pid_exists(pid) and not other.services.running()[0].pinned
    await gone(far, service.id, pid)


async def test_a_server_that_dies_is_told_and_the_next_open_starts_another(
    layout: Layout, box: Sshd, far: Path
) -> None:
    async with fleet_of(layout) as fleet:
        service = await fleet.services.open("box", None, lambda _: None)
        psutil.Process(server_pid(far, service.id)).kill()
        await until(lambda: not fleet.services.running(), "the end to be heard of")
        assert "killed" in fleet.services.why_ended(service)
        again = await fleet.services.open("box", None, lambda _: None)
        assert again.id != service.id and fleet.services.why_ended(again) == ""


async def test_one_that_its_host_did_not_end_is_still_kept(
    layout: Layout, box: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: str) -> None:
        raise UserError("the host says no")

    async with fleet_of(layout) as fleet:
        service = await fleet.services.open("box", None, lambda _: None)
        with monkeypatch.context() as patch:
            patch.setattr(fleet.services, "_change", refuses)
            with pytest.raises(UserError, match="says no"):
                await fleet.services.close(service)
        assert fleet.services.running() == [service] and fleet.services.why_ended(service) == ""
        await fleet.services.close(service)
        assert fleet.services.running() == [] and fleet.services.why_ended(service) == "it was ended"


async def test_of_a_host_that_is_left_nothing_is_known_any_more(layout: Layout, box: Sshd) -> None:
    async with fleet_of(layout) as fleet:
        first = await fleet.services.open("box", None, lambda _: None)
        assert [state.id for state in await fleet.services.states("box")] == [first.id]
        await fleet.disconnect("box")
        assert fleet.services.running() == fleet.services.known("box") == []
        assert not fleet.services._ports  # its forward is gone


async def test_a_server_that_nobody_waits_for_any_more_ends(
    layout: Layout, box: Sshd, far: Path, tmp_path: Path
) -> None:
    (tmp_path / "mode").write_text("slow")
    starting = asyncio.Event()
    async with fleet_of(layout) as fleet:
        fleet.services.lease_seconds = 3600.0
        opening = asyncio.create_task(
            fleet.services.open("box", "cpu", lambda line: starting.set() if "starting" in line else None)
        )
        await starting.wait()
        [folder] = (far / "services").glob("cpu-*")
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await until(lambda: not folder.exists(), "the service to end")


async def test_what_keeps_a_host_from_serving_is_one_line(
    layout: Layout, box: Sshd, far: Path, tmp_path: Path
) -> None:
    async def refused(fleet: Fleet, device: str | None = None) -> str:
        with pytest.raises(UserError) as error:
            await fleet.services.open("box", device, lambda _: None)
        assert not isinstance(error.value, DeviceChoice) and "\n" not in str(error.value)
        return str(error.value)

    mode = tmp_path / "mode"
    async with fleet_of(layout) as fleet:
        mode.write_text("refuses")
        assert await refused(fleet) == (
            "host 'box': the server did not start: no CUDA device is used here (models run on: cpu)"
        )
        mode.write_text("missing")
        assert "has no nanochat to serve with" in await refused(fleet)
        mode.write_text("old")
        assert "is too old to serve: update it there" in await refused(fleet)
        mode.write_text("fine")
        assert "there is no device cuda:3 here: there are cpu" in await refused(fleet, "cuda:3")
        assert fleet.services.running() == []
    box.kill()
    box.more_config = "AllowTcpForwarding no\n"
    box.start()
    async with fleet_of(layout) as fleet:
        assert "host 'box' forwards no ports" in await refused(fleet)
        # Nobody keeps what was started: only those that failed are left, for their logs.
        await until(lambda: statuses(far) == ["failed"], "the service to end")


async def test_an_agent_of_another_version_is_one_line(
    layout: Layout, box: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet_of(layout) as fleet:
        agent = await fleet.services._agent("box")
        fenced = agent._fenced
        old = {"devices": "not-yet-invented"}
        monkeypatch.setattr(agent, "_fenced", lambda name, *words: fenced(old.get(name, name), *words))
        with pytest.raises(UserError, match="is of another version and knows no services"):
            await fleet.services.offers("box")


@pytest.mark.parametrize("entry", [{}, {"id": 3}, {"id": "../x", "device": "cpu"}, {"id": "a", "device": []}])
def test_a_service_without_a_name_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="an answer we cannot read"):
        told_of("box", entry)


def test_what_a_host_tells_is_read_field_by_field() -> None:
    told = told_of(
        "box",
        {
            "id": "a", "device": "cpu", "status": "ready", "port": 99_999, "key": "\x1b]0;x", "idle": "NaN",
            "models": ["sft/\x1b[31md2", 3], "pinned": "yes", "reason": "a\nb\x07", "started_at": -1,
        },
    )  # fmt: skip
    assert told.port is None and told.key == "" and told.state.models == () and not told.state.pinned
    assert told.state.idle_seconds is None and told.state.problem.isprintable()
    assert told_of("box", {"id": "a", "device": "tpu", "status": "ready"}).state.status == "failed"
    assert told_of("box", {"id": "a", "status": "damaged", "reason": "why"}).state.problem == "why"
    offer = offer_of(
        "box", {"device": "cuda:0", "title": "H100\x1b", "free": 2**99, "total": "x", "run": "../x"}
    )
    assert (offer.free_bytes, offer.total_bytes, offer.busy_run) == (None, None, None)
    assert offer.label.isprintable()
    with pytest.raises(UserError):
        offer_of("box", {"device": "cuda:x"})
    good = {"source": "sft", "tag": "d2", "steps": [5, 8], "bytes": 7, "modified": 1.0, "run": "r"}
    found = checkpoint_of(good)
    assert found is not None and (found.name, found.steps) == (CheckpointName("sft", "d2"), (5, 8))
    for field, value in [("source", "x"), ("tag", "a@1"), ("tag", "a\x1b"), ("steps", []), ("steps", [-1])]:
        assert checkpoint_of({**good, field: value}) is None
