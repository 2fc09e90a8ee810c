"""The table of checkpoints: tags with their steps, and what is known of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from nanochat.common.text import sanitize, size_bytes, when
from remote.checkpoints.table import Row, parameters
from tui.data.checkpoints.tree import Line, title
from tui.data.ordering import SortValue, natural
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable


def _figure(read: Callable[[Row], float | None]) -> Callable[[Line], SortValue | None]:
    return lambda line: None if (value := read(line.row)) is None else (0, value)


COLUMNS = (
    Column(
        "name",
        "checkpoint",
        20,
        grow=2,
        ideal=30,
        sort=lambda line: natural(str(line.row.one.name)),
        frozen=True,
    ),
    Column("size", "size", 6, "right", sort=lambda line: (0, line.bytes), descending=True),
    Column("bpb", "bpb", 7, "right", rank=1, sort=_figure(lambda row: row.bpb)),
    Column("core", "CORE", 7, "right", rank=2, sort=_figure(lambda row: row.core), descending=True),
    Column("chat", "ChatCORE", 8, "right", rank=2, sort=_figure(lambda row: row.chat_core), descending=True),
    Column("saved", "saved", 12, "right", rank=3, sort=lambda line: (0, line.row.one.t), descending=True),
    Column("state", "", 14, rank=5, grow=1, ideal=22, sort=lambda line: (0, bool(line.row.users))),
    Column(
        "parameters",
        "params",
        6,
        "right",
        rank=6,
        sort=_figure(lambda row: row.one.parameters),
        descending=True,
    ),
    Column("host", "host", 8, rank=3, ideal=14, sort=lambda line: natural(line.row.one.host)),
    Column("from", "from", 16, rank=4, grow=1, ideal=26, sort=lambda line: natural(line.row.origin)),
    Column("optimizer", "optim", 5, rank=8, sort=lambda line: (0, line.row.one.optimizer)),
    Column("here", "here", 4, rank=9, sort=lambda line: (0, line.row.is_here)),
    Column("run", "run", 20, rank=10, grow=1, ideal=34, sort=lambda line: natural(line.row.one.run)),
)


class CheckpointTable(VirtualTable[Line]):
    """Tags and checkpoints; `chosen` are marked."""

    def __init__(self, unicode: bool = True, id: str | None = None) -> None:
        super().__init__(COLUMNS, self._line, lambda line: line.key, id=id)
        self._unicode = unicode
        self._now = time.time()
        self.copying: Mapping[str, str] = {}
        """What is said of copies under way, by the key of their checkpoint."""

    def show_lines(self, lines: list[Line]) -> None:
        """Shows other lines, with the times as of now."""
        self._now = time.time()
        hidden: set[str] = set()
        if len({line.row.one.host for line in lines}) <= 1:
            hidden |= {"host", "here"}
        if not any(self._state(line)[0] for line in lines):  # nothing to be known: its place is others'
            hidden.add("state")
        self.columns = [column for column in COLUMNS if column.name not in hidden]
        self.show(lines)

    def _line(self, line: Line) -> Mapping[str, Cell]:
        row, one = line.row, line.row.one
        name = title(line)
        if not self._unicode:
            name = name.replace("▸", "+").replace("▾", "-").replace("●", "*")
        found: dict[str, Cell] = {
            "name": (name, "strong" if not line.depth else ""),
            "size": (size_bytes(line.bytes), "muted"),
            "host": (sanitize(one.host, 60), "muted"),
            "parameters": (parameters(one), "muted"),
            "state": self._state(line),
        }
        if line.steps and not line.folded:
            return found
        yes, no = ("✓", "–") if self._unicode else ("yes", "no")
        return found | {
            "bpb": ("" if row.bpb is None else f"{row.bpb:.4f}", ""),
            "core": ("" if row.core is None else f"{row.core:.4f}", ""),
            "chat": ("" if row.chat_core is None else f"{row.chat_core:.4f}", ""),
            "saved": (when(one.t, self._now) if one.t else "", "muted"),
            "from": (sanitize(row.origin, 120), ""),
            "optimizer": (yes if one.optimizer else no, "" if one.optimizer else "muted"),
            "here": (yes if row.is_here else no, "" if row.is_here else "muted"),
            "run": (sanitize(one.run, 120), "muted"),
        }

    def _state(self, line: Line) -> Cell:
        """What is to be known of a line at once."""
        row = line.row
        if line.steps:
            return f"{line.steps} steps", "muted"
        if told := self.copying.get(row.one.key):
            return told, "live"
        if row.one.problem:
            return sanitize(f"! {row.one.problem}", 120), "bad"
        if row.users:
            return ("● in use" if self._unicode else "* in use"), "live"
        if row.one.upstream:
            return "upstream's", "muted"
        return "", ""
