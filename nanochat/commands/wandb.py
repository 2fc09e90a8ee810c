"""`nanochat wandb`: runs' event logs as runs of Weights & Biases, written by its own package.

Offline, the default, each run becomes a folder that `wandb sync` sends later; online it is sent now. A run
keeps its id there, so that a second call replaces the folder, and is refused online.
"""

import contextlib
import importlib
import logging
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nanochat.commands.tensorboard import find_run, run_events
from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.fields import json_object
from nanochat.common.paths import make_dir
from nanochat.config.command_parser import Parser, command_parser, parse
from nanochat.run.events import Event, number

SAMPLES, ALERTS = ("step", "prompt", "text"), ("step", "level", "what", "message")
OUT_HINT = "choose another with --out"
MOST_TEXTS = 5_000
"""Rows of a table of texts; of more the newest."""


def parser() -> Parser:
    """The parser of `nanochat wandb`."""
    made = command_parser("nanochat wandb", "Write runs' event logs as runs of Weights & Biases.")
    made.add_argument("--online", action="store_true", help="send them now, instead of writing offline runs")
    made.add_argument("--project", metavar="NAME", default="nanochat", help="W&B's project [nanochat]")
    made.add_argument("--entity", metavar="NAME", default="", help="whose project [your own]")
    made.add_argument(
        "--out", metavar="DIR", default="", help="folder to write wandb/ in [the base directory]"
    )
    made.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's id, the beginning of one, or its folder"
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat wandb …` and returns its exit code."""
    given, layout = parse(parser(), argv)
    wandb = require_package()
    # Every run is found and read before anything is written.
    events = {path: run_events(path) for path in (find_run(layout, name) for name in given.runs)}
    out = make_dir(layout.resolve(given.out), OUT_HINT) if given.out else make_dir(layout.base)
    for path, kept in events.items():
        where = write_run(wandb, path, kept, out, given.project, given.entity, given.online)
        print(f"{path.name}: {len(kept):,} events to {where}")
    if not given.online:
        print(f"send them with: wandb sync {out / 'wandb' / 'offline-run-*'}")
    return Exit.OK


def require_package() -> Any:
    """The package `wandb`; raises `UserError` where it is not installed."""
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise UserError(
            f"nanochat wandb needs the package wandb ({error})",
            'pip install "nanochat-control-room[wandb]" or pip install wandb',
            Exit.FAILED,
        ) from error


def write_run(
    wandb: Any, path: Path, events: Sequence[Event], out: Path, project: str, entity: str, online: bool
) -> str:
    """Writes one run, and says where it is. Raises `UserError` with W&B's own words when it refuses."""
    about = _about(path, events)
    before = _folders(out, path.name, online)
    with in_one_line(wandb, path.name, lambda: set(_folders(out, path.name, online)) - set(before)):
        run = wandb.init(
            project=project,
            entity=entity or None,
            id=path.name,
            name=about["name"],
            job_type=about["stage"],
            config=about["options"],
            dir=str(out),
            mode="online" if online else "offline",
            resume="never" if online else None,
            reinit="finish_previous",
            settings=wandb.Settings(
                console="off", x_disable_stats=True, x_disable_meta=True, save_code=False, disable_git=True
            ),
        )
        run.define_metric("*", step_metric="step")
        exit_code = _log(wandb, run, events)
        where = run.url if online else str(Path(run.dir).parent)
        run.finish(exit_code=exit_code)
        if not online and not _was_written(wandb, Path(where) / f"run-{path.name}.wandb"):
            raise UserError(
                f"W&B did not write all of {path.name} to {out}",
                "see whether its disk is full; nothing was left behind",
            )
    for folder in before:
        if str(folder) != where:
            shutil.rmtree(folder, ignore_errors=True)
    return str(where)


def _folders(out: Path, run_id: str, online: bool) -> list[Path]:
    """The offline folders of a run."""
    return [] if online else sorted((out / "wandb").glob(f"offline-run-*-{run_id}"))


@contextlib.contextmanager
def in_one_line(wandb: Any, run_id: str, made: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """What W&B refuses is a `UserError`; the folders that it has `made` until then are removed.

    W&B logs into the folder that it writes: on a full disk each line of its log would be a traceback here.
    """
    told, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    except Exception as error:
        with contextlib.suppress(Exception):
            wandb.teardown(exit_code=1)
        for folder in made():
            shutil.rmtree(folder, ignore_errors=True)
            for link in folder.parent.iterdir():  # latest-run and the newest logs
                if link.is_symlink() and not link.exists():
                    link.unlink(missing_ok=True)
        words = one_line(str(error)) if isinstance(error, UserError) else ""
        raise UserError(
            words or f"W&B did not take {run_id}: {type(error).__name__}: {one_line(str(error))[:300]}",
            exit_code=Exit.FAILED,
        ) from error
    finally:
        logging.raiseExceptions = told


def _was_written(wandb: Any, file: Path) -> bool:
    """Whether all of a finished run is in its file: W&B's service writes the end of it after `finish`, at the
    latest when it ends itself."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if is_whole(file):
            return True
        time.sleep(0.02)
    wandb.teardown()
    return is_whole(file)


BLOCK, HEAD, CHUNK = 32 * 1024, 7, struct.Struct("<IHB")
WHOLE, FIRST, LAST = 1, 2, 4
PATIENCE = 1.0
"""Seconds that the service may take before it is ended to make it write."""


def is_whole(file: Path) -> bool:
    """Whether a `.wandb` file ends with the record of the run's end.

    On a full disk W&B 0.31 leaves rows out, and neither `log` nor `finish` tells. The file is a LevelDB log:
    blocks of 32 KiB with chunks of records in them, after a head of 7 bytes.
    """
    record_class = importlib.import_module("wandb.proto.wandb_internal_pb2").Record
    record, ended, at = b"", False, HEAD
    try:
        with file.open("rb") as opened:
            opened.seek(HEAD)
            while block := opened.read(BLOCK - at % BLOCK):
                start, at = 0, at + len(block)
                while len(block) - start >= CHUNK.size:
                    _, length, kind = CHUNK.unpack_from(block, start)
                    start += CHUNK.size
                    data = block[start : start + length]
                    ended = kind in (WHOLE, LAST) and len(data) == length
                    record = data if kind in (WHOLE, FIRST) else record + data
                    start += length
        last = record_class()
        last.ParseFromString(record)
    except (OSError, ValueError, importlib.import_module("google.protobuf.message").DecodeError):
        return False
    return ended and bool(last.WhichOneof("record_type") == "exit")


def _about(path: Path, events: Sequence[Event]) -> dict[str, Any]:
    """Name, stage and options of a run, from run.json and where it started."""
    try:
        found = json_object((path / "run.json").read_bytes()) or {}
    except OSError:
        found = {}
    start = next((event.data for event in events if event.kind == "stage_start"), {})
    options = start.get("options")
    return {
        "name": str(found.get("name") or path.name),
        "stage": str(found.get("stage") or start.get("stage") or ""),
        "options": dict(options) if isinstance(options, Mapping) else {},
    }


def _log(wandb: Any, run: Any, events: Iterable[Event]) -> int:
    """Sends the events; the exit code that W&B shows for the run."""
    samples: list[list[Any]] = []
    alerts: list[list[Any]] = []
    exit_code = 0
    for event in events:
        data = event.data
        if event.kind in ("metric", "eval"):
            values = {name: value for name, told in data.items() if (value := number(told)) is not None}
            at = {} if event.step is None else {"step": event.step}
            # W&B counts rows itself, and our steps may repeat: ours is a figure, the clock is the event's.
            run.log({**values, **at, "_timestamp": event.t})
        elif event.kind == "sample":
            samples.append([event.step, str(data.get("prompt", "")), str(data.get("text", ""))])
        elif event.kind == "alert":
            told = [str(data.get(name, "")) for name in ALERTS[1:]]
            alerts.append([event.step, *told])
        elif event.kind == "stage_end":
            exit_code = int(data.get("status") == "failed")
            results = data.get("results")
            run.summary.update(results if isinstance(results, dict) else {})
    for name, columns, rows in (("samples", SAMPLES, samples), ("alerts", ALERTS, alerts)):
        if rows:
            run.log({name: wandb.Table(columns=list(columns), data=rows[-MOST_TEXTS:])})
    return exit_code
