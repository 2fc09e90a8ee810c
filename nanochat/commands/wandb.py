"""`nanochat wandb`: runs' event logs as runs of Weights & Biases, written by its own package.

Offline, the default, each run becomes a folder that `wandb sync` sends later; online it is sent now. A run
keeps its id there, so that a second call replaces the folder, and is refused online.
"""

import importlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nanochat.commands.tensorboard import find_run, run_events
from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.fields import json_object
from nanochat.common.paths import make_dir
from nanochat.config.command_parser import Parser, command_parser, parse
from nanochat.run.events import Event, number

SAMPLES, ALERTS = ("step", "prompt", "text"), ("step", "level", "what", "message")
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
    out = make_dir(layout.resolve(given.out) if given.out else layout.base)
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
    before = [] if online else sorted((out / "wandb").glob(f"offline-run-*-{path.name}"))
    try:
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
    except Exception as error:
        raise UserError(
            f"W&B did not take {path.name}: {type(error).__name__}: {one_line(str(error))[:300]}",
            exit_code=Exit.FAILED,
        ) from error
    for folder in before:
        if str(folder) != where:
            shutil.rmtree(folder, ignore_errors=True)
    return str(where)


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
