"""Hosts: the machines that stages can run on, their links and hardware, and the commands run there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import clock, duration, sanitize, size_bytes
from remote.hosts.preflight import Check, checks
from tui.actions import run as run_actions
from tui.data.ordering import SortValue, natural
from tui.data.passed_variables import passing
from tui.keys import bindings
from tui.screens.host_services import HostServices
from tui.screens.panes import PaneScreen, Split
from tui.style.status import ROLE_STYLES, link_style
from tui.widgets.columns import Cell, Column
from tui.widgets.run_header import stale_words
from tui.widgets.service_lines import service_lines
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.hosts.book import Host
    from remote.runs import Change, CommandRecord, Link, Probe

LINKS = ("up", "connecting", "down")
Order = Callable[["Entry"], SortValue | None]


def _of_probe(read: Callable[[Probe], float]) -> Order:
    return lambda entry: None if entry.probe is None else (0, read(entry.probe))


COLUMNS = (
    Column("name", "host", 10, grow=1, ideal=16, sort=lambda entry: natural(entry.host.name), frozen=True),
    Column(
        "link", "link", 12, sort=lambda entry: (0, LINKS.index(entry.link.status)) if entry.link else None
    ),
    Column("latency", "latency", 8, "right", rank=1, sort=lambda entry: entry.latency),
    Column("live", "live", 5, "right", rank=2, sort=lambda entry: (0, entry.live), descending=True),
    Column(
        "gpus",
        "GPUs",
        14,
        grow=2,
        rank=1,
        ideal=28,
        sort=_of_probe(lambda probe: len(probe.gpus)),
        descending=True,
    ),
    Column(
        "disk",
        "disk free",
        10,
        "right",
        rank=3,
        sort=_of_probe(lambda probe: probe.disk_free),
        descending=True,
    ),
    Column("cores", "cores", 6, "right", rank=4, sort=_of_probe(lambda probe: probe.cores), descending=True),
    Column("target", "where", 18, grow=1, rank=5, ideal=30, sort=lambda entry: natural(entry.host.target)),
    Column(
        "python",
        "interpreter",
        18,
        grow=1,
        rank=7,
        ideal=40,
        sort=lambda entry: natural(entry.host.python or "python3"),
    ),
    Column("price", "price", 6, "right", rank=6, sort=lambda entry: entry.price),
)
SERVICES_SECONDS = 30.0
"""After which the host under the cursor is asked again what it serves."""
GLYPHS = {"good": "✓", "warn": "!", "bad": "✗"}


@dataclass(frozen=True)
class Entry:
    """A host with what is known of it now."""

    host: Host
    link: Link | None
    probe: Probe | None
    live: int

    @property
    def latency(self) -> SortValue | None:
        """In ms; None while the link is not up."""
        up = self.link is not None and self.link.status == "up"
        known = self.link.latency_ms if self.link is not None and up else None
        return None if known is None else (0, known)

    @property
    def price(self) -> SortValue | None:
        """Per hour, where it is given."""
        return None if self.host.price_per_hour is None else (0, self.host.price_per_hour)


class HostTable(VirtualTable[Entry]):
    """The hosts, in the order of the host book until sorted otherwise."""

    BINDINGS = bindings("host_columns")

    def __init__(self, id: str | None = None) -> None:
        super().__init__(COLUMNS, cells, lambda entry: entry.host.name, keys="host_columns", id=id)


def cells(entry: Entry) -> dict[str, Cell]:
    """A host as cells."""
    host, link, probe = entry.host, entry.link, entry.probe
    status = link_style(link.status if link else "connecting")
    latency = link.latency_ms if link and link.status == "up" else None
    gpus = f"{len(probe.gpus)} × {probe.gpus[0].name}" if probe and probe.gpus else "none" if probe else ""
    return {
        "name": (sanitize(host.name), "strong"),
        "link": (f"{status.glyph} {status.word}", status.role),
        "latency": (f"{latency:.0f} ms" if latency is not None else "", ""),
        "live": (str(entry.live) if entry.live else "", "live"),
        "gpus": (sanitize(gpus), ""),
        "disk": (size_bytes(probe.disk_free) if probe else "", ""),
        "cores": (f"{probe.cores:g}" if probe and probe.cores else "", ""),
        "target": (sanitize(host.target), "muted"),
        "python": (sanitize(host.python or "python3"), "muted"),
        "price": (f"{host.price_per_hour:.2f}" if host.price_per_hour is not None else "", ""),
    }


class HostsScreen(PaneScreen):
    """The inventory and, below it, the host under the cursor."""

    tab = "hosts"
    groups = ("hosts", "table", "host_columns", "panes")
    splits = (Split("hosts", "#hosts", "rows", before=True, least=5, leave=5),)
    about = (
        "Every machine that stages can run on. An unreachable host is retried automatically; a refused key "
        "or login waits for you. {hosts.commands} shows every command that was run on the host, "
        "{hosts.services} the servers of checkpoints that chats have opened there."
    )
    BINDINGS = bindings("hosts")
    AUTO_FOCUS = "#hosts"

    def __init__(self) -> None:
        super().__init__()
        self.table = HostTable(id="hosts")
        self._problems = Static(id="host-problems")
        self._detail = Static(id="detail")
        self._box = VerticalScroll(self._detail, id="host-detail", can_focus=True)
        self._probes: dict[str, Probe] = {}
        self._failures: dict[str, str] = {}
        self._probed: set[str] = set()
        self._commands = False
        self._services_asked: dict[str, float] = {}

    def body(self) -> Iterable[Widget]:
        yield self.table
        yield self._problems
        yield self._box

    @property
    def current(self) -> str:
        """The name of the host under the cursor."""
        return self.table.current_key

    def default_focus(self) -> Widget:
        return self.table

    def changed(self, changes: frozenset[Change]) -> None:
        live: dict[str, int] = {}
        for run in self.room.rows:
            live[run.host] = live.get(run.host, 0) + run.live
        links = self.room.links
        hosts = self.room.hosts
        self.table.show(
            [Entry(h, links.get(h.name), self._probes.get(h.name), live.get(h.name, 0)) for h in hosts]
        )
        self.table.border_title = Content(f"hosts · {len(hosts)}")
        self._show_problems()
        for host in hosts:
            link = links.get(host.name)
            if link and link.status == "up" and host.name not in self._probed:
                self._probed.add(host.name)
                self.run_worker(self._probe(host.name))
        self._show_detail()

    def _show_problems(self) -> None:
        """Entries of the host book that cannot be used, below the hosts that can."""
        lines = [Content.styled(f"✗ {sanitize(line, 600)}", "$error") for line in self.room.host_problems]
        self._problems.display = bool(lines)
        self._problems.update(Content("\n").join(lines))

    def tick(self) -> None:
        self.changed(frozenset())
        self._look_at_services(self.current)

    def _look_at_services(self, name: str) -> None:
        """Asks now and then what is served on the host: somebody else may have opened or ended it."""
        link, now = self.room.links.get(name), time.monotonic()
        if link is None or link.status != "up" or name not in self._probes:
            return
        if now - self._services_asked.get(name, 0.0) > SERVICES_SECONDS:
            self._services_asked[name] = now
            self.run_worker(self._ask_services(name))

    async def _ask_services(self, name: str) -> None:
        with contextlib.suppress(UserError):  # the link's own line tells why
            await self.room.fleet.services.states(name)
        self._show_detail()

    def on_virtual_table_highlighted(self) -> None:
        self._show_detail()

    def _show_detail(self) -> None:
        name = self.current
        self._box.border_title = Content(f"commands run on {name}" if self._commands else name)
        if self._commands:
            try:
                self._detail.update(_command_log(self.room.fleet.commands(name)))
            except UserError as error:  # in the first moments there is no fleet to ask
                self._detail.update(Content.styled(str(error), "$muted"))
            return
        link = self.room.links.get(name)
        parts = [*_link_lines(link), *self._service_lines(name)]
        host = next((host for host in self.room.hosts if host.name == name), None)
        if host is not None and host.pass_env:
            parts.append(passing(host.pass_env).rstrip())
        if name in self._failures:
            parts.append(_check_line(Check("bad", self._failures[name])))
        elif name in self._probes:
            parts += [_check_line(check) for check in checks(self._probes[name])]
        elif name in self._probed:
            parts.append(Content.styled("  probing …", "$muted"))
        self._detail.update(Content("\n").join(parts))

    def _service_lines(self, name: str) -> list[Content]:
        try:
            return service_lines(self.room.fleet.services.known(name))
        except UserError:  # in the first moments there is no fleet to ask
            return []

    async def _probe(self, name: str) -> None:
        self._failures.pop(name, None)
        try:
            self._probes[name] = await self.room.fleet.probe(name)
        except UserError as error:
            self._failures[name] = str(error)
        self.changed(frozenset())

    def action_test(self) -> None:
        name = self.current
        self._probed.add(name)
        self._probes.pop(name, None)
        self._commands = False
        self._show_detail()
        self.run_worker(self._probe(name))

    def action_connect(self) -> None:
        self.room.do(self._connect(self.current))

    async def _connect(self, name: str) -> None:
        self.room.say(f"connecting to {name} …")
        await self.room.fleet.connect(name)
        self.room.say(f"● {name} is up")

    def action_commands(self) -> None:
        self._commands = not self._commands
        self._show_detail()

    def action_services(self) -> None:
        if self.current:
            self.room.do(self._services(self.current))

    async def _services(self, name: str) -> None:
        services = self.room.fleet.services
        states = await services.states(name)
        chosen = await self.app.push_screen_wait(HostServices(name, states))
        state = next((state for state in states if chosen is not None and state.id == chosen[1]), None)
        if chosen is None or state is None:
            return
        if chosen[0] != "end":
            await services.pin(state, chosen[0] == "pin")
            kept = "lives on when the app ends" if chosen[0] == "pin" else "ends once no app keeps it"
            self.room.say(f"the server on {name} ({state.device}) {kept}")
        elif await self.room.confirm(
            f"End the server on {name} ({state.device})?",
            "Chats that use it are cut; the next question starts it again.",
            key="x",
            verb="end it",
        ):
            await services.close(state)
            self.room.say(f"the server on {name} ({state.device}) ends")
        await services.states(name)
        self._show_detail()

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        self.table.action_reverse()

    def action_add(self) -> None:
        from tui.screens.add_host import AddHost

        def added(name: str | None) -> None:
            if name:
                self.run_worker(self._added(name))

        self.app.push_screen(AddHost(), added)

    async def _added(self, name: str) -> None:
        await self.room.read_hosts()
        self.changed(frozenset())
        self.table.move_to_key(name)
        await self._connect(name)

    def action_remove(self) -> None:
        name = self.current
        if name == "local":
            self.room.say("local is this machine and cannot be removed", "warning")
            return
        self.run_worker(self._remove(name))

    async def _remove(self, name: str) -> None:
        live = sum(run.live for run in self.room.rows if run.host == name)
        detail = "Only the entry is removed: runs and files on the host stay, and so do their records here."
        if live:
            detail += f" {live} live run(s) there continue without being followed."
        if not await self.room.confirm(f"Remove {name} from the list?", detail, word=name, verb="remove it"):
            return
        fleet = self.room.fleet
        await asyncio.to_thread(fleet.hosts.remove, name)
        await fleet.disconnect(name)
        self._probes.pop(name, None)
        self._probed.discard(name)
        await self.room.read_hosts()
        self.changed(frozenset())

    def action_launch_here(self) -> None:
        self.room.action_launch(self.current)

    def action_shell(self) -> None:
        self.room.do(run_actions.shell_on(self.room, self.current))


def _link_lines(link: Link | None) -> list[Content]:
    if link is None:
        return [Content.styled("  not connected yet", "$muted")]
    status = link_style(link.status)
    now = time.time()
    words = f"up for {duration(now - link.since)}" if link.status == "up" else stale_words(link, now)
    lines = [Content.assemble((f"{status.glyph} {status.word}  ", f"bold {ROLE_STYLES[status.role]}"), words)]
    if link.error:
        lines.append(Content.styled(f"✗ {sanitize(link.error, 600)}", "$error"))
    return lines


def _check_line(check: Check) -> Content:
    style = ROLE_STYLES[check.level]
    fix = (f"\n    {check.fix}", "$muted") if check.fix else ""
    return Content.assemble((f"{GLYPHS[check.level]} ", f"bold {style}"), check.what, fix)


def _command_log(records: Iterable[CommandRecord]) -> Content:
    lines = []
    for record in reversed(list(records)):
        took = f"{record.seconds:.1f}s" if record.seconds is not None else ""
        code = "" if record.exit_code in (0, None) else f" exit {record.exit_code}"
        error = f"\n           {sanitize(record.error, 300)}" if record.error else ""
        lines.append(
            Content.assemble(
                (f"{clock(record.t)} ", "$muted"),
                sanitize(record.command, 1000),
                (f"  {took}", "$muted"),
                (code + error, "$error"),
            )
        )
    return Content("\n").join(lines) if lines else Content.styled("no command was run there yet", "$muted")
