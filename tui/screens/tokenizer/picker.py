"""Which tokenizer a pane shows: of the base directory or a host, a published or plain one, any file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from nanochat.tokenizer.explore.sources import Source, known_sources
from tui.screens.find_dialog import FindDialog
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.fleet.tokenizers import HostTokenizer
    from tui.room import Room

COLUMNS = (
    Column("name", "tokenizer", 20, grow=2, ideal=34),
    Column("where", "what it is, or where", 20, grow=3, rank=1, ideal=60),
)


class TokenizerPicker(FindDialog[str | None]):
    """Returns what opens the tokenizer; None when it is cancelled. One of a host is copied here first."""

    def __init__(self, room: Room, title: str = "tokenizer of the pane") -> None:
        table: VirtualTable[Source] = VirtualTable(
            COLUMNS, self._cells, lambda source: source.spec, empty="looking for tokenizers …"
        )
        super().__init__(table, "gpt2 · o200k · a name · ~/models/x/tokenizer.json · a rank file · a .model")
        self._room, self._title = room, title
        self._known: list[Source] = []
        self._on_hosts: dict[str, tuple[Source, HostTokenizer]] = {}
        """By what stands for it in the table."""
        self._silent: list[str] = []
        self._note = Static(classes="detail", markup=False)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog picker") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "⏎ choose · ↑ ↓ · type to find, or a path · esc"
            yield self.search
            yield self.table
            yield self._note

    def on_mount(self) -> None:
        super().on_mount()
        self.run_worker(self._look(), group="look")
        for host in self._room.hosts:
            if host.kind != "local":
                self.run_worker(self._ask(host.name), group="hosts")

    async def _look(self) -> None:
        try:
            self._known = await asyncio.to_thread(known_sources, self._room.layout)
        except UserError as error:
            self._note.update(f"✗ {sanitize(str(error), 200)}")
        self._find_again()

    async def _ask(self, host: str) -> None:
        """The tokenizers of a host, as soon as it answers; the others do not wait for it."""
        try:
            listed = await self._room.fleet.tokenizers.listed(host)
        except UserError:
            self._silent.append(sanitize(host, 40))
            self._note.update(f"no answer from {', '.join(sorted(self._silent))}")
            return
        for one in listed:
            spec = f"{host}:{one.folder}"
            name = f"{one.folder} ({one.vocab_size:,})" if one.vocab_size else one.folder
            self._on_hosts[spec] = (Source(spec, name, f"on {host}", "host"), one)
        self._find_again()

    def _find_again(self) -> None:
        self.find(self.search.value.lower().split())

    def find(self, words: list[str]) -> None:
        known = [*self._known, *(source for source, _ in self._on_hosts.values())]
        rows = [one for one in known if all(word in f"{one.name} {one.where}".lower() for word in words)]
        typed = self.search.value.strip()
        if typed and all(one.spec != typed for one in rows) and ("/" in typed or not rows):
            rows = [Source(typed, sanitize(typed, 200), "as typed: a file, a folder or a name"), *rows]
        self.table.show(rows)

    def _cells(self, source: Source) -> Mapping[str, Cell]:
        return {
            "name": (sanitize(source.name, 120), "strong"),
            "where": (sanitize(source.where, 200), "muted"),
        }

    def choose(self) -> None:
        source = self.table.current
        if source is None:
            return
        if source.spec in self._on_hosts:
            self._note.update(f"copying {sanitize(source.name, 100)} from {sanitize(source.where[3:], 40)} …")
            self.run_worker(self._copy(self._on_hosts[source.spec][1]), group="copy", exclusive=True)
        else:
            self.dismiss(source.spec)

    async def _copy(self, one: HostTokenizer) -> None:
        try:
            folder = await self._room.fleet.tokenizers.copy(one)
        except UserError as error:
            self._note.update(f"✗ {sanitize(str(error), 200)}")
        else:
            self.dismiss(str(folder))
