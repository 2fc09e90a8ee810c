"""Tables of a run's history: CSV (`run.history()`, W&B's page, TensorBoard's page) and JSON lines."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING, Any

from .history import MOST_NAMES, History, RowBuilder
from .rows import LONGEST_TEXT, number_text

if TYPE_CHECKING:
    from .rows import Sink

    Json = dict[str, Any]

_EXTREMES = ("__MIN", "__MAX")
_TENSORBOARD = ["Wall time", "Step", "Value"]
_PANDAS_INDEX = re.compile(r"(?:Unnamed: \d+|)")
_LONGEST_CELL = 400
_MOST_DEPTH = 3


class JsonLines:
    """`wandb-history.jsonl`, and a JSON array of rows one a line; a row is an object of figures."""

    def __init__(self, memory: Json) -> None:
        self.history = History(memory)
        self._builder = RowBuilder({})

    def feed(self, lines: list[str], sink: Sink) -> None:
        """Takes whole lines; those that are no object are passed over."""
        for line in lines:
            text = line.strip().rstrip(",")
            if not text.startswith("{"):
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError):
                self.history.memory["passed_over"] = self.history.memory.get("passed_over", 0) + 1
                continue
            self.take(row, sink)

    def take(self, row: object, sink: Sink) -> None:
        """One row."""
        if isinstance(row, dict):
            self._put("", row, 0)
            self._builder.into(self.history, sink)

    def _put(self, start: str, values: Json, depth: int) -> None:
        for name, value in list(values.items())[:MOST_NAMES]:
            key = f"{start}{name}"
            if isinstance(value, bool) or value is None:
                continue
            if isinstance(value, (int, float)):
                self._builder.put(key, number_text(repr(value)).strip('"'))
            elif isinstance(value, str):
                self._builder.put(key, value[:_LONGEST_CELL])
            elif isinstance(value, dict) and name == "centered_results":
                self._builder.put(key, json.dumps(value)[:LONGEST_TEXT])
            elif isinstance(value, dict) and depth < _MOST_DEPTH and not start and "_type" not in value:
                self._put(f"{key}.", value, depth + 1)


class Csv:
    """A CSV with a header: the header is kept in `memory` so that a growing table is read on."""

    def __init__(self, memory: Json) -> None:
        self.history = History(memory)
        self._builder = RowBuilder({})

    def feed(self, lines: list[str], sink: Sink) -> None:
        """Takes whole lines; a row with another number of cells than the header is passed over."""
        memory = self.history.memory
        rows = csv.reader(lines)
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error:
                memory["passed_over"] = memory.get("passed_over", 0) + 1
                continue
            if not cells:
                continue
            if "names" not in memory:
                memory["names"] = names_of(cells)
                continue
            names = memory["names"]
            if len(cells) != len(names):
                memory["passed_over"] = memory.get("passed_over", 0) + 1
                continue
            for index, cell in enumerate(cells):
                if cell and names[index]:
                    self._builder.put(names[index], cell[:_LONGEST_CELL])
            self._builder.into(self.history, sink)


def names_of(header: list[str]) -> list[str]:
    """The names of a header's columns, "" for those that hold no figure.

    W&B's page puts the run's name before each figure and adds the extremes of what it joined; TensorBoard's
    page has one figure, whose name only the file has.
    """
    if header == _TENSORBOARD:
        return ["_timestamp", "step", "value"]
    names = []
    for cell in header[:MOST_NAMES]:
        name = cell.strip().lstrip("\ufeff")
        if name.endswith(_EXTREMES) or _PANDAS_INDEX.fullmatch(name):
            name = ""
        elif " - " in name:
            name = name.rpartition(" - ")[2]
        names.append("_step" if name in ("Step", "_step") else name[:200])
    return names


def looks_like_table(header: str) -> bool:
    """Whether a first line is the header of such a table: it has a step or a time, and a figure."""
    try:
        cells = next(csv.reader([header]), [])
    except csv.Error:
        return False
    names = {name for name in names_of(cells) if name}
    return len(names) > 1 and bool(names & {"_step", "step", "_timestamp", "global_step"})
