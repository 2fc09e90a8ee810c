"""Hosts: the inventory, adding and removing, tests with fixes, and the question about an unknown key."""

import asyncio
from pathlib import Path

import pytest
from textual.widgets import Input

from nanochat.common.errors import UserError
from remote.fleet.services import ServiceState
from remote.hosts.book import Host, HostBook
from remote.hosts.preflight import checks
from remote.runs import CommandRecord, Gpu, Interpreter, Link, Probe
from remote.transport.base import UnknownHostKey
from tests.tui.conftest import NOW, Bench, settle
from tui.screens.add_host import AddHost
from tui.screens.confirm import Confirm
from tui.screens.host_key import HostKey
from tui.screens.host_services import HostServices
from tui.screens.hosts import HostsScreen

PROBE = Probe(
    host="local",
    hostname="node7",
    python="3.11.7",
    agent="abc",
    cores=16,
    ram_total=128 << 30,
    disk_free=5 << 30,
    disk_total=100 << 30,
    in_container=False,
    gpus=(Gpu("NVIDIA H100", 80 << 30),) * 8,
    driver="570.1",
    interpreter=Interpreter("/opt/python", False, error="No module named 'nanochat'"),
)


def test_every_failed_check_says_what_to_do() -> None:
    found = list(checks(PROBE))
    assert all(check.fix for check in found if check.level != "good")
    text = " ".join(check.what for check in found)
    assert "8 × NVIDIA H100 80.0G" in text
    assert [check.level for check in found if "python" in check.what] == ["bad"]
    assert [check.level for check in found if "free" in check.what] == ["warn"]


async def hosts_screen(app, pilot) -> HostsScreen:  # type: ignore[no-untyped-def]
    await pilot.press("7")
    await settle(pilot, lambda: isinstance(app.screen, HostsScreen))
    return app.screen  # type: ignore[no-any-return]


async def test_a_test_shows_a_line_per_check(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def probe(name: str) -> Probe:
        return PROBE

    monkeypatch.setattr(bench.fleet, "probe", probe)
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await hosts_screen(app, pilot)
        await pilot.press("t")
        await settle(pilot, lambda: "cannot import nanochat" in str(screen.query_one("#detail").render()))
        assert "NVIDIA H100" in "".join(screen.table.render_line(1).text)


async def test_a_host_that_cannot_be_probed_shows_the_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def probe(name: str) -> Probe:
        raise UserError("host 'local' is unreachable: no route", "is it on?")

    monkeypatch.setattr(bench.fleet, "probe", probe)
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await hosts_screen(app, pilot)
        await settle(pilot, lambda: "no route (is it on?)" in str(screen.query_one("#detail").render()))


async def test_adding_a_host_checks_it_and_writes_the_book(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[str] = []

    async def connect(name: str) -> None:
        connected.append(name)

    monkeypatch.setattr(bench.fleet, "connect", connect)
    bench.run("one")
    async with bench.open() as (app, pilot):
        await hosts_screen(app, pilot)
        await pilot.press("a")
        await settle(pilot, lambda: isinstance(app.screen, AddHost))
        form = app.screen
        form.query_one("#name", Input).value = "box"
        form.query_one("#target", Input).value = "me@node:22x"
        await pilot.press("ctrl+s")
        await settle(pilot)
        assert "bad port" in str(form.query_one("#problem").render())
        form.query_one("#target", Input).value = "me@node:2222"
        form.query_one("#pass_env", Input).value = "HF_TOKEN, PATH"
        await pilot.press("ctrl+s")
        await settle(pilot)
        assert "PATH is not passed on" in str(form.query_one("#problem").render())
        form.query_one("#pass_env", Input).value = "HF_TOKEN, WANDB_API_KEY"
        await pilot.press("ctrl+s")
        await settle(pilot, lambda: connected == ["box"])
        host = HostBook(bench.layout).get("box")
        assert (host.user, host.address, host.port) == ("me", "node", 2222)
        assert host.pass_env == ("HF_TOKEN", "WANDB_API_KEY")
        assert app.screen.table.current_key == "box"  # type: ignore[attr-defined]


async def test_removing_a_host_needs_its_name_typed(bench: Bench) -> None:
    HostBook(bench.layout).add(Host("box", "ssh", "me", "node"))
    bench.run("one")
    async with bench.open() as (app, pilot):
        await hosts_screen(app, pilot)
        await pilot.press("d")
        await settle(pilot)
        assert isinstance(app.screen, HostsScreen), "box comes before local only by name"
        await pilot.press("down", "d")
        await settle(pilot, lambda: bool(app.screen.query("#word")))
        await pilot.press(*"bo", "enter")
        await settle(pilot)
        assert "box" in {host.name for host in HostBook(bench.layout).all()}
        await pilot.press("x", "enter")
        await settle(pilot, lambda: isinstance(app.screen, HostsScreen))
        await settle(pilot, lambda: "box" not in {host.name for host in HostBook(bench.layout).all()})


async def test_the_command_log_hides_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    record = CommandRecord(NOW, "local", "python3 agent.pyz ls --base '/a b'", 1, 0.4, "no such folder")
    monkeypatch.setattr(bench.fleet, "commands", lambda name: [record])
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await hosts_screen(app, pilot)
        await pilot.press("c")
        await settle(pilot)
        shown = str(screen.query_one("#detail").render())
        assert record.command in shown
        assert "no such folder" in shown
        assert "exit 1" in shown


async def test_a_link_that_is_down_says_since_when_and_why(bench: Bench) -> None:
    bench.fleet.links["local"] = Link(
        "down", NOW, NOW - 12, 4.0, None, "host 'local' is unreachable: refused"
    )
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await hosts_screen(app, pilot)
        shown = str(screen.query_one("#detail").render())
        assert "no contact for" in shown
        assert "refused" in shown


@pytest.mark.parametrize(("key", "trusted"), [("y", True), ("escape", False), ("enter", None)])
async def test_an_unknown_host_key_is_shown_and_asked_about(
    bench: Bench, tmp_path: Path, key: str, trusted: bool | None
) -> None:
    unknown = UnknownHostKey(
        "box", "node:22", "ssh-ed25519", "SHA256:abcdef", tmp_path / "known_hosts", "line"
    )
    bench.run("one")
    async with bench.open() as (app, pilot):
        await settle(pilot, lambda: bench.fleet.ask_host_key is not None)
        assert bench.fleet.ask_host_key is not None
        answer = asyncio.ensure_future(bench.fleet.ask_host_key(unknown))
        await settle(pilot, lambda: isinstance(app.screen, HostKey))
        assert "SHA256:abcdef" in " ".join(str(widget.render()) for widget in app.screen.query("Static"))
        await pilot.press(key)
        await settle(pilot)
        if trusted is None:
            assert not answer.done()
            await pilot.press("escape")
        assert await asyncio.wait_for(answer, 5) is bool(trusted)


SERVING = ServiceState("cpu-1", "local", "cpu", "ready", ("sft/d20",), pinned=True, idle_seconds=130.0)
BROKEN = ServiceState("cuda-0-2", "local", "cuda:0", "failed", problem="out of memory")


async def test_what_is_served_is_told_beside_its_host_and_can_be_pinned_or_ended(bench: Bench) -> None:
    bench.run("one")
    services = bench.fleet.quiet_services
    services.told["local"] = [SERVING, BROKEN]
    async with bench.open() as (app, pilot):
        screen = await hosts_screen(app, pilot)

        def detail() -> str:
            return str(screen.query_one("#detail").render())

        await settle(pilot, lambda: "serving on cpu  sft/d20 · pinned · idle for 2m10s" in detail())
        assert "serving on cuda:0  failed · out of memory" in detail()
        await pilot.press("v")
        await settle(pilot, lambda: isinstance(app.screen, HostServices))
        await pilot.press("p")
        await settle(pilot, lambda: services.asked == [("unpin", "cpu-1")])
        await pilot.press("v")
        await settle(pilot, lambda: isinstance(app.screen, HostServices))
        await pilot.press("down", "x")
        await settle(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("x")
        await settle(pilot, lambda: services.asked[1:] == [("end", "cuda-0-2")])


async def test_an_entry_that_cannot_be_used_is_told_below_the_hosts_that_can(bench: Bench) -> None:
    bench.layout.hosts_file.write_text(
        '{"hosts": [{"name": "box", "address": "a", "port": "[b]22"}, {"name": "good", "address": "a"}]}'
    )
    bench.run("one")
    async with bench.open((120, 40)) as (app, pilot):
        assert [message.text for message in app.messages] == app.host_problems
        screen = await hosts_screen(app, pilot)
        assert [entry.host.name for entry in screen.table.items] == ["local", "good"]
        shown = str(screen.query_one("#host-problems").render())
        assert "hosts.json: entry 1 ('box') is left out: 'port' has a value of the wrong type" in shown
        assert "'[b]22'" in shown
        HostBook(bench.layout).remove("box")
        await app.read_hosts()
        screen.changed(frozenset())
        assert not screen.query_one("#host-problems").display
