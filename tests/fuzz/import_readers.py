"""The readers of other programs' logs, which no bytes may break: what they make must be events of ours."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nanochat.run.events import MAX_LINE, Event, parse_line
from remote.agent.imports import tensorboard_file, wandb_file
from remote.agent.imports.console import Console
from remote.agent.imports.rows import Row, Sink
from remote.agent.imports.table_file import Csv, JsonLines
from remote.agent.imports.tensorboard_file import EventFiles
from remote.agent.imports.wandb_file import Damaged, WandbRun

DATA = Path(__file__).resolve().parents[1] / "remote/imports/data"
CONSOLES = tuple(
    (DATA / name).read_bytes()[:4000] for name in ("modern-base.log", "classic-sft.log", "modern-rl.log")
)
WANDB = ((DATA / "modern.wandb").read_bytes(),)
TENSORBOARD = ((DATA / "tensorboard/events.out.tfevents.1796063314.node.1.1").read_bytes(),)
TABLES = (b"_step,train/loss,val/bpb\n0,3.5,\n10,nan,1.5\n", b'"Step","a - loss"\n"0","1e400"\n')
JSON_LINES = (b'{"_step": 1, "_timestamp": 1.7e9, "train/loss": NaN, "a": {"b": 1e999}}\n[1]\n{"x": "7"}\n',)


def _check(sink: Sink) -> None:
    """Every event is one of our own log, whole and bounded."""
    for seq, item in enumerate(sink.found):
        if isinstance(item, Row):
            line = Event(seq, item.t, item.kind, item.step, json.loads(item.data)).line()
            assert len(line) <= MAX_LINE and parse_line(line) is not None, item


def lines(reader: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], None]:
    """A reader of text, fed in two halves with its memory kept as JSON in between."""

    def read(raw: bytes) -> None:
        memory: dict[str, Any] = {}
        found = raw.decode("utf-8", "replace").split("\n")
        for part in (found[: len(found) // 2], found[len(found) // 2 :]):
            sink = Sink()
            reader(memory).feed(part, sink)
            _check(sink)
            memory = json.loads(json.dumps(memory, allow_nan=False))

    return read


def console(raw: bytes) -> None:
    """Upstream's console, also to its end."""
    lines(Console)(raw)
    sink, reader = Sink(), Console({})
    reader.feed(raw.decode("utf-8", "replace").split("\n"), sink)
    reader.finish(sink)
    _check(sink)


def _records(
    records: Callable[[bytes, int], Iterator[tuple[bytes, int]]], start: int, reader: Any
) -> Callable[[bytes], None]:
    """A log of records, as broken as it is."""

    def read(raw: bytes) -> None:
        made, sink = reader({}), Sink()
        try:
            for record, _ in records(raw[start:], start):
                made.take(record, sink)
        except Damaged:
            pass
        _check(sink)
        json.dumps(made.history.memory, allow_nan=False)

    return read


wandb = _records(wandb_file.records, wandb_file.HEAD, WandbRun)
tensorboard = _records(tensorboard_file.records, 0, EventFiles)


def histories() -> tuple[bytes, ...]:
    """Single records of W&B's, so that their insides are broken as well."""
    raw = WANDB[0]
    return tuple(record for record, _ in wandb_file.records(raw[wandb_file.HEAD :], wandb_file.HEAD))[:8]


def scalars() -> tuple[bytes, ...]:
    """Single records of TensorBoard's."""
    return tuple(record for record, _ in tensorboard_file.records(TENSORBOARD[0], 0))[:4]


def wandb_record(raw: bytes) -> None:
    """One record of W&B's."""
    sink, made = Sink(), WandbRun({})
    made.take(raw, sink)
    _check(sink)


def tensorboard_record(raw: bytes) -> None:
    """One record of TensorBoard's."""
    sink, made = Sink(), EventFiles({})
    made.take(raw, sink)
    made.flush(sink)
    _check(sink)


csv = lines(Csv)
json_lines = lines(JsonLines)

READERS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "console": (console, CONSOLES),
    "W&B's file": (wandb, WANDB),
    "W&B's record": (wandb_record, histories()),
    "TensorBoard's file": (tensorboard, TENSORBOARD),
    "TensorBoard's record": (tensorboard_record, scalars()),
    "CSV": (csv, TABLES),
    "JSON lines": (json_lines, JSON_LINES),
}
"""Each reader of a foreign log with inputs that it takes."""
