"""Rows of named figures, whatever file they were in, as the events of one run.

W&B, tables and TensorBoard have this in common: a row has a time, a step and some values. `History` gives it
our names, tells measurements from evaluations, and sees where a run began again at an earlier step.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from . import names
from .rows import LATEST, LONGEST_TEXT, NUMBER, Row, clean_number, number_text, whole

if TYPE_CHECKING:
    from .rows import Sink

    Json = dict[str, Any]

SKIP, METRIC, EVALUATION, TIME, STEP, COUNTER, EPOCH, PARTS, UTILISATION, OTHER_STEP = range(10)
"""What a column is for. The step of a row is its `STEP`, else W&B's `COUNTER`, else an `OTHER_STEP`."""
MOST_NAMES = 2_000
MOST_OPTIONS = 200
MOST_RESULTS = 300
_IN_A_ROW = 500
"""Figures of one event: a line of an event log is bounded."""
_OTHER_STEPS = ("global_step", "trainer/global_step", "train/global_step")
_EPOCH = re.compile(r'"?(\d{1,9})(?![\d.])')
_STAGE = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Column:
    """What becomes of one name."""

    __slots__ = ("name", "role", "start")

    def __init__(self, name: str, role: int) -> None:
        self.name, self.role = name, role
        self.start = json.dumps(name) + ":"


def column_of(name: str) -> Column:
    """The column that a name of W&B's means."""
    if name == "_timestamp":
        return Column(name, TIME)
    if name == "_step":
        return Column(name, COUNTER)
    if name in ("step", "Step"):
        return Column(name, STEP)
    if name in _OTHER_STEPS:
        return Column(name, OTHER_STEP)
    if name == "centered_results":
        return Column(name, PARTS)
    ours = names.of_wandb(name)
    if not ours:
        return Column(name, SKIP)
    if ours in ("train/epoch", "train/mfu"):
        return Column(ours, EPOCH if ours == "train/epoch" else UTILISATION)
    return Column(ours, EVALUATION if names.is_evaluation(ours) else METRIC)


class History:
    """The one run of a file of rows. `memory` is what is known so far, to be kept."""

    def __init__(self, memory: Json) -> None:
        self.memory = memory
        for name, value in (("run", -1), ("last", -1), ("attempt", 0), ("total", 0), ("stage", "")):
            memory.setdefault(name, value)
        memory.setdefault("options", {})
        memory.setdefault("results", {})
        memory.setdefault("clock", 0.0)
        memory.setdefault("ended", "")

    def begin(self, sink: Sink, stage: str, t: float, name: str = "", options: Json | None = None) -> None:
        """The run begins; a second time it only goes on."""
        memory = self.memory
        if memory["run"] >= 0:
            if memory["ended"]:
                memory["ended"] = ""
                self._attempt(memory["last"] + 1, sink)
            return
        t = t if 0 < t < LATEST else memory["clock"]
        given = options or {}
        steps = whole(given.get("num_iterations")) or 0
        known = stage if _STAGE.fullmatch(stage) else "train"
        memory.update(run=0, stage=known, options=given, clock=t, total=steps)
        sink.start(0, known, t, name, given)
        self._attempt(0, sink)

    def again(self, step: int, sink: Sink) -> None:
        """The run goes on from an earlier step: what came after it before counts no more."""
        self.memory["last"] = step
        self._attempt(step, sink)

    def _attempt(self, step: int, sink: Sink) -> None:
        memory = self.memory
        memory["attempt"] += 1
        about = {"stage": memory["stage"], "options": memory["options"], "info": {}}
        sink.attempt(0, memory["attempt"], step, memory["total"], memory["clock"], about)

    def add(
        self,
        sink: Sink,
        step: int | None,
        t: float,
        metrics: list[str],
        evaluations: list[str],
        in_order: bool = True,
    ) -> None:
        """One row: its values as `"name":number` of JSON, measurements and evaluations apart.

        Where rows come `in_order`, an earlier step than the last one means that the run was resumed there.
        """
        memory = self.memory
        if not 0 < t < LATEST:
            t = memory["clock"]
        if memory["run"] < 0:
            self.begin(sink, "", t)
        memory["clock"] = t
        if step is not None:
            if in_order and step < memory["last"]:
                self._attempt(step, sink)
            memory["last"] = step if in_order else max(step, memory["last"])
        if metrics and memory["total"] and step is not None:
            metrics.append('"progress":%.6g' % min(1.0, (step + 1) / memory["total"]))
        for kind, parts in (("metric", metrics), ("eval", evaluations)):
            for at in range(0, len(parts), _IN_A_ROW):
                sink.found.append(Row(0, kind, step, t, "{" + ",".join(parts[at : at + _IN_A_ROW]) + "}"))
        for part in evaluations:
            name, _, value = part.rpartition(":")
            key, told = json.loads(name), json.loads(value)
            if key in memory["results"] or len(memory["results"]) < MOST_RESULTS:
                memory["results"][key] = told if isinstance(told, str) else clean_number(float(told))
        for part in metrics + evaluations:
            if part[-1] == '"':
                name, _, value = part.rpartition(":")
                sink.alert(0, "non_finite", f"{json.loads(name)} is {json.loads(value)}", step, t)

    def end(self, sink: Sink, status: str, reason: str) -> None:
        """The log says how the run ended."""
        if self.memory["run"] >= 0 and not self.memory["ended"]:
            self.memory["ended"] = status
            sink.end(0, status, reason, self.memory["clock"], self.memory["results"])

    def how_far(self) -> str:
        """Where it ends, in words; "" before anything began."""
        memory = self.memory
        if memory["run"] < 0:
            return ""
        total = f" of {memory['total']}" if memory["total"] else ""
        return f"it ends at step {max(0, memory['last'])}{total}"


class RowBuilder:
    """One row, value by value: JSON texts under names."""

    def __init__(self, columns: dict[str, Column]) -> None:
        self.columns = columns
        self.clear()

    def clear(self) -> None:
        self.step: int | None = None
        self.counter: int | None = None
        self.other_step: int | None = None
        self.t = 0.0
        self.metrics: list[str] = []
        self.evaluations: list[str] = []

    def put(self, name: str, text: str) -> None:
        """Takes one value, as JSON or as a table spells it."""
        column = self.columns.get(name)
        if column is None:
            if len(self.columns) >= MOST_NAMES:
                return
            column = self.columns[name] = column_of(name)
        role = column.role
        if role in (METRIC, EVALUATION):
            spelled = text if NUMBER.fullmatch(text) else number_text(text.strip('"')[:400])
            if spelled:
                (self.metrics if role == METRIC else self.evaluations).append(column.start + spelled)
        elif role == EPOCH:
            epoch = _EPOCH.match(text)
            if epoch is not None:
                self.metrics.append(f"{column.start}{int(epoch[1])}")
            elif NUMBER.fullmatch(text):
                self.metrics.append(column.start + text)
        elif role == UTILISATION:
            if NUMBER.fullmatch(text) and float(text):  # 0 where upstream does not know the hardware's peak
                self.metrics.append(column.start + text)
        elif role == PARTS:
            self._parts(text)
        elif role != SKIP:
            self._place(role, text)

    def _place(self, role: int, text: str) -> None:
        try:
            value = float(text)
        except ValueError:
            return
        if role == TIME:
            self.t = value
        elif role == STEP:
            self.step = whole(value)
        elif role == OTHER_STEP:
            self.other_step = whole(value)
        else:
            self.counter = whole(value)

    def _parts(self, text: str) -> None:
        """Upstream's table of centered accuracies by task."""
        try:
            found = json.loads(text[:LONGEST_TEXT])
        except (ValueError, RecursionError):
            return
        if isinstance(found, dict):
            for name, value in list(found.items())[:100]:
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    spelled = number_text(repr(value))
                    self.evaluations.append(json.dumps(f"core/{name[:80]}_centered") + ":" + spelled)

    def into(self, history: History, sink: Sink) -> None:
        """The row is whole."""
        if self.metrics or self.evaluations:
            told = (self.step, self.counter, self.other_step)
            step = next((step for step in told if step is not None), None)
            history.add(sink, step, self.t, self.metrics, self.evaluations)
        self.clear()
