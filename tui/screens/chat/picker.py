"""What a pane may talk to: every checkpoint of every host, and whatever address or name is typed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from nanochat.checkpoint.names import SOURCES
from nanochat.common.errors import UserError
from nanochat.common.text import sanitize, size_bytes, when
from tui.data.chat.target import CheckpointTarget, EndpointTarget, PaneTarget, parse_target
from tui.screens.find_dialog import FindDialog
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.fleet.services import HostCheckpoint
    from tui.room import Room

COLUMNS = (
    Column("name", "checkpoint or address", 20, grow=2, ideal=40),
    Column("host", "host", 8, grow=1, rank=1, ideal=14),
    Column("steps", "steps", 14, grow=1, rank=2, ideal=22),
    Column("size", "size", 6, "right", rank=4),
    Column("modified", "saved", 12, "right", rank=3),
)
MOST_STEPS = 4
"""Steps of a checkpoint that are told one by one."""


@dataclass(frozen=True)
class Choice:
    """A row: what the pane would talk to, and what is told of it."""

    target: PaneTarget
    found: HostCheckpoint | None = None
    is_live: bool = False

    @property
    def words(self) -> str:
        """What the search looks through."""
        steps = " ".join(map(str, self.found.steps)) if self.found is not None else ""
        return f"{self.target} {self._host} {steps} {'live' if self.is_live else ''}".lower()

    @property
    def _host(self) -> str:
        return self.target.host if isinstance(self.target, CheckpointTarget) else ""


class ModelPicker(FindDialog[PaneTarget | None]):
    """Returns what the pane shall talk to; None when it is cancelled."""

    def __init__(self, room: Room) -> None:
        table: VirtualTable[Choice] = VirtualTable(
            COLUMNS, self._cells, lambda choice: f"{choice.target}", empty="looking for checkpoints …"
        )
        super().__init__(table, "sft d20 · box:sft/d20@650 · http://127.0.0.1:8080/v1 MODEL")
        self._room = room
        self._hosts = [host.name for host in room.hosts]
        """Those that are asked."""
        self._found: dict[str, list[Choice]] = {}
        self._failed: dict[str, str] = {}
        self._now = time.time()
        self._note = Static(classes="detail", markup=False)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog picker") as box:
            box.border_title = "talk to"
            box.border_subtitle = "⏎ choose · ↑ ↓ · type to find, or an address · esc"
            yield self.search
            yield self.table
            yield self._note

    def on_mount(self) -> None:
        super().on_mount()
        for host in self._hosts:
            self.run_worker(self._look(host), group="look")

    async def _look(self, host: str) -> None:
        """Asks one host: the others need not wait for it."""
        try:
            found = await self._room.fleet.services.checkpoints(host)
        except UserError as error:
            self._failed[host] = str(error)
            found = []
        self._found[host] = list(self._choices(host, found))
        self.find(self.search.value.lower().split())

    def _choices(self, host: str, found: Iterable[HostCheckpoint]) -> Iterable[Choice]:
        """The furthest stage first, in it what was saved last; a live run's newest checkpoint before all."""
        live = {run.run_id for run in self._room.rows if run.live and run.host == host}
        order = sorted(found, key=lambda one: (-SOURCES.index(one.name.source), -one.modified))
        for one in order:
            if one.run is not None and one.run in live:
                yield Choice(CheckpointTarget(host, one.name, one.run), one, True)
        for one in order:
            yield Choice(CheckpointTarget(host, one.name), one)

    # ---- rows ----------------------------------------------------------------------------------------

    def find(self, words: list[str]) -> None:
        self.search.border_subtitle = ""
        known = [choice for host in self._hosts for choice in self._found.get(host, [])]
        rows = [choice for choice in known if all(word in choice.words for word in words)]
        typed = self._typed(self.search.value.strip())
        if typed is not None and all(choice.target != typed.target for choice in rows):
            rows = [typed, *rows] if isinstance(typed.target, EndpointTarget) or not rows else [*rows, typed]
        self.table.empty = (
            "nothing of that name" if words else "no checkpoint yet: train one, or type an address"
        )
        if len(self._found) < len(self._hosts):
            self.table.empty = "looking for checkpoints …"
        self.table.show(rows)
        self._note.update(self._state())

    def _typed(self, text: str) -> Choice | None:
        """What was typed as a target: an address, or a checkpoint with a step."""
        try:
            target = parse_target(text)
        except UserError:
            return None
        if isinstance(target, CheckpointTarget):
            base = replace(target.name, step=None)
            found = next(
                (c.found for c in self._found.get(target.host, []) if c.found and c.found.name == base), None
            )
            return Choice(target, found)
        return Choice(target)

    def _state(self) -> str:
        waiting = [host for host in self._hosts if host not in self._found]
        lines = [f"✗ {host}: {sanitize(line, 120)}" for host, line in self._failed.items()]
        if waiting:
            lines.insert(0, "asking " + ", ".join(sanitize(name, 30) for name in waiting[:4]) + " …")
        return " · ".join(lines)

    def _cells(self, choice: Choice) -> Mapping[str, Cell]:
        target, found = choice.target, choice.found
        if isinstance(target, EndpointTarget):
            return {"name": (sanitize(str(target), 200), "accent"), "host": ("address", "muted")}
        name = sanitize(str(target.name), 120)
        told = {
            "name": (
                f"⟳ {name} · live run" if choice.is_live else name,
                "live" if choice.is_live else "strong",
            ),
            "host": (sanitize(target.host, 60), ""),
        }
        if found is None:
            return told | {"steps": ("as typed", "muted")}
        return told | {
            "steps": (_steps(found), ""),
            "size": (size_bytes(found.bytes), "muted"),
            "modified": (when(found.modified, self._now), "muted"),
        }

    def choose(self) -> None:
        choice = self.table.current
        if choice is not None:
            self.dismiss(choice.target)
        elif self.search.value.strip():
            try:
                self.dismiss(parse_target(self.search.value))
            except UserError as error:
                self.search.border_subtitle = Content(sanitize(str(error), 80))


def _steps(found: HostCheckpoint) -> str:
    """The last steps, the newest first: `650, 600, 550 +3`."""
    newest = [f"{step:,}" for step in reversed(found.steps[-MOST_STEPS:])]
    more = len(found.steps) - len(newest)
    return ", ".join(newest) + (f" +{more}" if more > 0 else "")
