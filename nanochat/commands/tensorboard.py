"""`nanochat tensorboard`: runs' event logs as TensorBoard event files, one folder a run.

A file is built in memory and written atomically under a name that depends only on the run, so that a second
call replaces it. Values are float32 there, as in every TensorBoard scalar.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nanochat.common.errors import Exit, UserError, nearest
from nanochat.common.paths import Layout, atomic_write, expanded, make_dir
from nanochat.config.command_parser import Parser, command_parser, parse
from nanochat.run.events import Event, number, read_events

_TAG_LENGTH = 60


def parser() -> Parser:
    """The parser of `nanochat tensorboard`."""
    made = command_parser("nanochat tensorboard", "Write runs' event logs as TensorBoard event files.")
    made.add_argument(
        "--out", metavar="DIR", default="", help="folder to write [tensorboard under the base directory]"
    )
    made.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's id, the beginning of one, or its folder"
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat tensorboard …` and returns its exit code."""
    given, layout = parse(parser(), argv)
    out = layout.resolve(given.out) if given.out else layout.base / "tensorboard"
    require_package()
    # Every run is found and read before anything is written.
    events = {path: run_events(path) for path in (find_run(layout, name) for name in given.runs)}
    for path, kept in events.items():
        file = write_run(path.name, kept, out)
        print(f"{path.name}: {len(kept):,} events to {file}")
    print(f"look at them with: tensorboard --logdir {out}")
    return Exit.OK


def require_package() -> None:
    """Raises `UserError` where the package `tensorboard` is not installed."""
    try:
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"nanochat tensorboard needs the package tensorboard ({error})",
            'pip install "nanochat-control-room[tensorboard]" or pip install tensorboard',
            Exit.FAILED,
        ) from error


def find_run(layout: Layout, name: str) -> Path:
    """The folder of the run that `name` means: a folder, a run's id, or the beginning of one id only.

    Raises `UserError` when there is none, or more than one.
    """
    for folder in (layout.run(name), expanded(name).absolute()):
        if (folder / "events.jsonl").is_file():
            return folder
    known = sorted(p.name for p in layout.runs.glob("*") if (p / "events.jsonl").is_file())
    matches = [run for run in known if run.startswith(name)]
    if len(matches) == 1:
        return layout.run(matches[0])
    if matches:
        raise UserError(
            f"{len(matches)} runs begin with '{name}'", f"{matches[0]}, {matches[1]}…: give more of the id"
        )
    raise UserError(f"no run '{name}' with an event log under {layout.runs}", nearest(name, known))


def run_events(path: Path) -> list[Event]:
    """The events of the run in folder `path` that count; raises `UserError` when it has none."""
    try:
        events, _ = read_events(path / "events.jsonl")
    except OSError as error:
        raise UserError(f"cannot read {path / 'events.jsonl'}: {error.strerror}") from error
    if not events:
        raise UserError(f"the event log of {path} has no events yet")
    return without_superseded(events)


def without_superseded(events: Iterable[Event]) -> list[Event]:
    """`events` without those at steps that a later attempt repeated: one resumed from step k repeats all ≥
    k."""
    kept: list[Event] = []
    for event in events:
        if event.kind == "stage_start":
            first = event.data.get("from_step")
            start = first if isinstance(first, int) else 0
            kept = [e for e in kept if e.step is None or e.step < start]
        kept.append(event)
    return kept


def write_run(run_id: str, events: Sequence[Event], out: Path) -> Path:
    """Writes `events` as one event file in the folder `run_id` of `out`; returns the file.

    Raises `UserError` when it cannot be written.
    """
    from tensorboard.compat.proto.event_pb2 import Event as Record
    from tensorboard.summary.writer.record_writer import RecordWriter

    began = events[0].t
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    writer.write(Record(wall_time=began, file_version="brain.Event:2").SerializeToString())
    for t, step, summary in summaries(run_id, events):
        writer.write(Record(wall_time=t, step=step, summary=summary).SerializeToString())
    folder = make_dir(out / run_id)
    file = folder / f"events.out.tfevents.{int(began)}.{run_id}"
    atomic_write(file, buffer.getvalue())
    return file


def summaries(run_id: str, events: Iterable[Event]) -> Iterator[tuple[float, int, Any]]:
    """Time, step and `Summary` of everything that is written.

    A value without a step gets the number of its metric's values before it; a text, the last step so far.
    """
    counted: dict[str, int] = {}
    last = 0
    for event in events:
        step = last = last if event.step is None else event.step
        if event.kind in ("metric", "eval"):
            for name, value in event.data.items():
                if (scalar := number(value)) is not None:
                    index = counted.get(name, 0)
                    counted[name] = index + 1
                    yield event.t, index if event.step is None else event.step, _scalar(name, scalar)
        elif event.kind == "sample":
            prompt, text = str(event.data.get("prompt", "")), str(event.data.get("text", ""))
            tag = f"samples/{' '.join(prompt.split())[:_TAG_LENGTH] or 'free'}"
            yield event.t, step, _text(tag, _literal(prompt + text if not text.startswith(prompt) else text))
        elif event.kind == "alert":
            what, level = event.data.get("what", "alert"), event.data.get("level", "warn")
            yield event.t, step, _text(f"alerts/{what}", f"{level}: {event.data.get('message', '')}")
        elif event.kind == "stage_start":
            yield from ((event.t, step, s) for s in _start(run_id, event))
        elif event.kind == "stage_end":
            yield event.t, step, _text("end", _table(event.data))


def _start(run_id: str, event: Event) -> Iterator[Any]:
    """The start of an attempt: its options as text and as hyperparameters, its `info` as text."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    options, info = event.data.get("options"), event.data.get("info")
    if isinstance(options, dict) and options:
        yield _text("options", _table(options))
        if event.data.get("attempt", 1) == 1:
            flat = {k: v if isinstance(v, str | int | float) else json.dumps(v) for k, v in options.items()}
            yield hparams_pb(flat, trial_id=run_id, start_time_secs=event.t)
    if isinstance(info, dict) and info:
        yield _text("info", _table(info))


def _scalar(tag: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def _text(tag: str, text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode(errors="replace")])
    metadata = create_summary_metadata(display_name="", description="")
    return Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])


def _literal(text: str) -> str:
    """`text` as a block that Markdown does not interpret."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _table(values: Any) -> str:
    """A mapping as a Markdown table, one name a row; values that are lists or mappings as JSON."""
    rows = []
    for name, value in values.items():
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        rows.append(f"| {name} | {' '.join(shown.split())} |")
    return "\n".join(["| name | value |", "| --- | --- |", *rows])
