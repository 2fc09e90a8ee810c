"""The fleet over a real agent, here and through a real sshd: launch, follow, lose the link, stop, resume."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from fakes import clean_events, fake_python
from sshd import Relay, Sshd

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.fleet.fleet import Fleet
from remote.hosts.book import HostBook
from remote.runs import Change, RunRequest, split_key
from remote.transport.base import ChangedHostKey, HostUnreachable, UnknownHostKey

pytestmark = pytest.mark.slow

TWO = [RunRequest("tok_train", {"vocab_size": 512}), RunRequest("base_train", {"depth": 2}, needs=(0,))]


@contextlib.asynccontextmanager
async def opened(layout: Layout) -> AsyncIterator[Fleet]:
    fleet = Fleet(layout)
    try:
        yield fleet
    finally:
        await fleet.aclose()


async def until(fleet: Fleet, true: Callable[[], bool], seconds: float = 40) -> None:
    """Waits for a change after which `true` holds."""
    changed = asyncio.Event()
    unsubscribe = fleet.subscribe(lambda _: changed.set())
    try:
        async with asyncio.timeout(seconds):
            while not true():
                changed.clear()
                await changed.wait()
    finally:
        unsubscribe()


def status(fleet: Fleet, key: str) -> str:
    run = fleet.store.run(key)
    return run.status if run else ""


def complete(fleet: Fleet, key: str, base: Path) -> bool:
    """Ended, and every byte of the host's log is in the store."""
    run = fleet.store.run(key)
    log = base / "runs" / split_key(key)[1] / "events.jsonl"
    if run is None or run.live or not log.exists():
        return False
    return fleet.store.offsets(run.host).get(run.run_id, {}).get("events.jsonl", 0) == log.stat().st_size


def same_as_the_host(fleet: Fleet, key: str, base: Path) -> None:
    """The store's events are the host's, `seq` from 0 without gap or repeat."""
    there = clean_events(base / "runs" / split_key(key)[1] / "events.jsonl")
    here = fleet.store.events(key)
    assert [event.seq for event in here] == list(range(len(there)))
    assert here == there


@pytest.fixture
def box(known_sshd: Sshd, layout: Layout, tmp_path: Path) -> Path:
    """A host `box` in the book, over SSH, with a paced fake stage; its base directory there."""
    base = tmp_path / "far away"
    HostBook(layout).add(known_sshd.host(base=base, python=str(fake_python(tmp_path))))
    return base


async def test_two_stages_run_one_after_the_other_and_all_arrives(layout: Layout, box: Path) -> None:
    async with opened(layout) as fleet:
        changes: list[Change] = []
        fleet.subscribe(changes.append)
        keys = await fleet.launch("box", TWO, plan="demo")
        first = fleet.store.run(keys[0])
        assert first is not None and first.plan_name == "demo" and first.options == {"vocab_size": 512}
        await until(fleet, lambda: all(complete(fleet, key, box) for key in keys))
        for key in keys:
            same_as_the_host(fleet, key, box)
        runs = [fleet.store.run(key) for key in keys]
        assert [run.status for run in runs if run] == ["succeeded", "succeeded"]
        assert runs[1] and runs[0] and runs[1].needs == (runs[0].run_id,)
        assert (runs[1].started_at or 0) >= (runs[0].ended_at or 1e99)
        assert runs[1].latest["val/bpb"] == pytest.approx(3.0 - 20 / 30)
        assert len(fleet.store.series(keys[1], "train/loss").points()) == 30
        assert {change.kind for change in changes} >= {"run", "events", "link"}
        assert fleet.link("box").status == "up" and fleet.link("box").latency_ms
        text, offset, size = await fleet.console(keys[0])
        assert text.startswith(b"step 0 of tok_train") and offset == 0 and size == len(text)
        shown = [record.command for record in fleet.commands("box")]
        assert any(" submit --base " in command for command in shown)


async def test_the_agent_is_put_in_place_once_and_mended_when_damaged(layout: Layout, box: Path) -> None:
    async with opened(layout) as fleet:
        await fleet.connect("box")
    (agent,) = (box / "agent").glob("*.pyz")
    whole, when = agent.read_bytes(), agent.stat().st_mtime_ns
    async with opened(layout) as fleet:
        await fleet.connect("box")
        assert not any("put nanochat-agent" in record.command for record in fleet.commands("box"))
    assert agent.stat().st_mtime_ns == when
    agent.write_bytes(whole[:1000])
    async with opened(layout) as fleet:
        probe = await fleet.probe("box")
        assert agent.stem.endswith(probe.agent)
        assert probe.interpreter is not None and probe.interpreter.ok and probe.interpreter.nanochat
    assert agent.read_bytes() == whole


async def test_a_killed_sshd_costs_no_event(layout: Layout, known_sshd: Sshd, tmp_path: Path) -> None:
    base = tmp_path / "far"
    python = fake_python(tmp_path, steps=60, pace=0.05)
    HostBook(layout).add(known_sshd.host(base=base, python=str(python)))
    async with opened(layout) as fleet:
        (key,) = await fleet.launch("box", TWO[:1])
        await until(fleet, lambda: len(fleet.store.events(key)) > 5)
        known_sshd.kill()
        await until(fleet, lambda: fleet.link("box").status == "down")
        link = fleet.link("box")
        assert link.retry_in and "box" in link.error and link.last_contact
        seen = len(fleet.store.events(key))
        known_sshd.start()
        await until(fleet, lambda: fleet.link("box").status == "up")
        await until(fleet, lambda: complete(fleet, key, base))
        assert len(fleet.store.events(key)) > seen
        same_as_the_host(fleet, key, base)
        assert status(fleet, key) == "succeeded"


async def test_a_stalled_link_is_told_and_made_good(
    layout: Layout, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remote.fleet.session.SILENCE", 3.0)
    base = tmp_path / "far"
    async with Relay(sshd.port) as relay:
        python = fake_python(tmp_path, steps=60, pace=0.05)
        HostBook(layout).add(sshd.host(base=base, python=str(python), port=relay.port))
        layout.known_hosts.write_text(sshd.known_hosts_line().replace(f":{sshd.port}", f":{relay.port}"))
        async with opened(layout) as fleet:
            (key,) = await fleet.launch("box", TWO[:1])
            await until(fleet, lambda: len(fleet.store.events(key)) > 5)
            relay.stall()
            await until(fleet, lambda: fleet.link("box").status == "down")
            assert "silent" in fleet.link("box").error
            relay.flow()
            await until(fleet, lambda: complete(fleet, key, base))
            same_as_the_host(fleet, key, base)


async def test_a_stopped_run_ends_stopped_and_what_needs_it_never_starts(
    layout: Layout, known_sshd: Sshd, tmp_path: Path
) -> None:
    base = tmp_path / "far"
    HostBook(layout).add(known_sshd.host(base=base, python=str(fake_python(tmp_path, steps=3000, pace=0.05))))
    async with opened(layout) as fleet:
        keys = await fleet.launch("box", TWO)
        await until(fleet, lambda: len(fleet.store.events(keys[0])) > 3)
        await fleet.stop(keys[0])
        await until(fleet, lambda: complete(fleet, keys[0], base))
        assert status(fleet, keys[0]) == "stopped"
        await until(fleet, lambda: status(fleet, keys[1]) == "stopped")
        run = fleet.store.run(keys[1])
        assert run is not None and split_key(keys[0])[1] in run.reason and run.started_at is None


async def test_a_resumed_run_is_a_second_attempt_whose_steps_supersede(layout: Layout, box: Path) -> None:
    async with opened(layout) as fleet:
        (key,) = await fleet.launch("box", TWO[:1])
        await until(fleet, lambda: complete(fleet, key, box))
        before = len(fleet.store.events(key))
        await fleet.resume(key)
        await until(fleet, lambda: len(fleet.store.attempts(key)) == 2 and complete(fleet, key, box))
        same_as_the_host(fleet, key, box)
        assert len(fleet.store.events(key)) > before
        series = fleet.store.series(key, "train/loss")
        marked = {
            (a, s): bool(x) for a, s, x in zip(series.attempt, series.step, series.superseded, strict=True)
        }
        assert marked[(1, 14)] is False and marked[(1, 15)] is True and marked[(2, 15)] is False
        current = [s for s, x in zip(series.step, series.superseded, strict=True) if not x]
        assert current == list(range(30))


async def test_an_app_that_comes_later_sees_what_another_started(
    layout: Layout, box: Path, known_sshd: Sshd, tmp_path: Path
) -> None:
    async with opened(layout) as fleet:
        keys = await fleet.launch("box", TWO)
    other = Layout(tmp_path / "another laptop")
    other.base.mkdir()
    HostBook(other).add(known_sshd.host(base=box))
    other.known_hosts.write_text(known_sshd.known_hosts_line())
    async with opened(other) as fleet:
        await fleet.start()
        await until(fleet, lambda: all(complete(fleet, key, box) for key in keys))
        for key in keys:
            same_as_the_host(fleet, key, box)


async def test_two_apps_at_once_on_one_base_directory_store_everything_once(
    layout: Layout, box: Path
) -> None:
    async with opened(layout) as one, opened(layout) as two:
        await two.start(["box"])
        keys = await one.launch("box", TWO)
        await until(one, lambda: all(complete(one, key, box) for key in keys))
        await until(two, lambda: all(complete(two, key, box) for key in keys))
        for key in keys:
            same_as_the_host(two, key, box)


async def test_an_unknown_host_key_is_asked_once_and_a_no_is_final(
    layout: Layout, sshd: Sshd, tmp_path: Path
) -> None:
    HostBook(layout).add(sshd.host(base=tmp_path / "far"))
    asked: list[str] = []

    async def answer(key: UnknownHostKey) -> bool:
        asked.append(key.fingerprint)
        return len(asked) > 1

    async with opened(layout) as fleet:
        fleet.ask_host_key = answer
        with pytest.raises(UnknownHostKey):
            await fleet.connect("box")
        assert fleet.link("box").status == "down" and fleet.link("box").retry_in is None
        await fleet.connect("box")
        assert asked == [sshd.fingerprint()] * 2
        assert fleet.link("box").status == "up"
    sshd.kill()
    sshd.rekey()
    sshd.start()
    async with opened(layout) as fleet:
        fleet.ask_host_key = answer
        with pytest.raises(ChangedHostKey):
            await fleet.connect("box")
        assert len(asked) == 2


async def test_a_host_that_is_down_is_tried_again_in_the_background(
    layout: Layout, known_sshd: Sshd, tmp_path: Path
) -> None:
    HostBook(layout).add(known_sshd.host(base=tmp_path / "far"))
    known_sshd.kill()
    async with opened(layout) as fleet:
        with pytest.raises(HostUnreachable):
            await fleet.launch("box", TWO)
        assert fleet.store.runs() == []
        known_sshd.start()
        await until(fleet, lambda: fleet.link("box").status == "up")


async def test_a_bad_request_is_refused_before_anything_is_sent(layout: Layout) -> None:
    async with opened(layout) as fleet:
        for requests, told in (
            ([RunRequest("base_trian")], "base_train"),
            ([RunRequest("base_train", {"dept": 3})], "depth"),
            ([RunRequest("base_train", {"depth": "many"})], "depth"),
            ([RunRequest("base_train", needs=(1,)), RunRequest("tok_train")], "needs"),
            ([], "nothing"),
        ):
            with pytest.raises(UserError, match=told):
                await fleet.launch("local", requests)
        with pytest.raises(UserError, match="no host"):
            await fleet.launch("bax", TWO)
    assert not layout.runs.exists()


async def test_nothing_is_left_running_after_aclose(layout: Layout, box: Path) -> None:
    before = asyncio.all_tasks()
    fleet = Fleet(layout)
    await fleet.start()
    await fleet.connect("local")
    await fleet.connect("box")
    await fleet.aclose()
    assert asyncio.all_tasks() == before
