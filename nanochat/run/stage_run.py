"""What a stage sees of its run (events, log lines, signals to stop), and running a stage to its end.

An agent gives the stage a directory through `NANOCHAT_RUN_DIR` and keeps `state.json`. A stage run directly
makes the same directory itself, see run_directory.py.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from nanochat.common.collector import release_collector
from nanochat.common.environment import env_number
from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.paths import Layout, make_dir, make_run_dir
from nanochat.common.streams import ensure_streams, on_stop_signals, say
from nanochat.compute.peer_errors import is_lost_connection, leave_error, peer_error
from nanochat.compute.rendezvous import rank
from nanochat.config.command_parser import Parser, collect, command_parser, parse
from nanochat.config.options import Options
from nanochat.config.stages import StageSpec, stage_spec
from nanochat.run.activity import ACTIVITY, LAUNCHER_FILE, Activity
from nanochat.run.events import JSON, EventWriter
from nanochat.run.launcher import follow_launcher, inside_group, launch
from nanochat.run.run_directory import StandaloneState, new_run_id, write_run_json
from nanochat.run.system import system_facts
from nanochat.run.wandb_log import WandbLog, open_wandb_log

PEER_ERROR_WAIT = 10.0
"""Seconds another rank waits before it prints an error: rank 0, on a busy machine, may take as long to print
the same one and end the group."""
LOST_PEER_WAIT = 2.0
"""Seconds for the line of a process that has just closed its connection to come."""
END_PATIENCE = 30.0
"""Seconds the end of a run is written again while the disk does not take it."""
DEBUG = "NANOCHAT_DEBUG"


class StageStopped(Exception):  # noqa: N818 - not an error
    """Raised by a stage that was asked to stop, after it has saved its state."""


def is_main_process() -> bool:
    """True in the one process of a torchrun group that writes events and files."""
    try:
        return rank() == 0
    except UserError:  # which every stage says before it begins
        return True


def _activity_files(run_directory: Path | None) -> list[Path]:
    """Where this process says what it does: in its run directory, and to what launched it, if anything."""
    launchers = os.environ.pop(LAUNCHER_FILE, "")  # what this process starts is no part of its group
    own = [run_directory / ACTIVITY] if run_directory is not None else []
    return own + ([Path(launchers)] if launchers else [])


class StageRun:
    """A stage's access to its run: events, log lines, and whether it is asked to stop.

    Only rank 0 of several processes writes events and prints.
    """

    def __init__(self, layout: Layout, path: Path | None, stage: str, options: Options, attempt: int) -> None:
        self.layout = layout
        self.path = path
        self.stage = stage
        self.options = options
        self.attempt = attempt
        self.is_main = is_main_process()
        self.stop_requested = False
        self.stop_reason = "as asked"
        self.started = False
        files = _activity_files(path)
        self.activity = Activity(*files) if self.is_main else Activity()
        self._lock = threading.Lock()
        self._held = contextlib.ExitStack()
        self._wandb: WandbLog | None = None
        self._events = EventWriter(path / "events.jsonl") if path is not None and self.is_main else None

    @property
    def run_id(self) -> str:
        return self.path.name if self.path is not None else ""

    def emit(self, kind: str, step: int | None = None, data: Mapping[str, JSON] | None = None) -> None:
        """Appends one event; safe from several threads."""
        if self._events is not None:
            with self._lock:
                before = self._events.trouble
                self._events.emit(kind, step=step, data=data)
                trouble = self._events.trouble
            if trouble and not before and self.is_main:
                self._say(f"warn: the event log waits for the disk: {trouble}; work goes on", sys.stderr)
        if self._wandb is not None:
            self._wandb.log(kind, step, data or {})

    def open_wandb_log(self) -> None:
        """Logs the events that follow to W&B as well, where the stage's options ask for it."""
        if getattr(self.options, "wandb", False) and self.path is not None and self.is_main:
            self._wandb = open_wandb_log(
                run_id=self.run_id,
                stage=self.stage,
                folder=self.path,
                options=vars(self.options),
                alert=lambda message: self.alert("wandb_failed", message),
            )

    def start(
        self,
        *,
        total_steps: int = 0,
        unit: str = "step",
        from_step: int = 0,
        info: Mapping[str, JSON] | None = None,
    ) -> None:
        """Logs that the work begins: how much there is (0 when unknown), and from where."""
        self.started = True
        options = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self.options).items()}
        data: dict[str, JSON] = {
            "stage": self.stage,
            "attempt": self.attempt,
            "from_step": from_step,
            "total_steps": total_steps,
            "unit": unit,
            "options": options,
            "info": dict(info or {}),
            "system": system_facts() if self._events is not None else {},
        }
        self.emit("stage_start", None, data)

    def log(self, text: str) -> None:
        """Prints a line to standard output and logs it."""
        if self.is_main:
            self._say(text, sys.stdout)
            self.emit("log", None, {"text": text})

    def metric(self, step: int | None, values: Mapping[str, JSON]) -> None:
        self.emit("metric", step, values)

    def eval(self, step: int | None, values: Mapping[str, JSON]) -> None:
        self.emit("eval", step, values)

    def sample(self, step: int | None, prompt: str, text: str, mode: str = "greedy") -> None:
        self.emit("sample", step, {"prompt": prompt, "text": text, "mode": mode})

    def checkpoint(self, step: int | None, path: Path, size: int) -> None:
        self.emit("checkpoint", step, {"path": str(path), "step": step, "bytes": size})

    def alert(self, what: str, message: str, *, step: int | None = None, level: str = "warn") -> None:
        if self.is_main:
            self._say(f"{level}: {message}", sys.stderr)
        self.emit("alert", step, {"level": level, "what": what, "message": message})

    def _say(self, text: str, stream: TextIO) -> None:
        """Prints a line. When the output has been closed the stage saves and stops, as after a signal."""
        if not say(text, stream) and not self.stop_requested:
            self.stop_requested, self.stop_reason = True, "as its output was closed"

    def check_stop(self) -> None:
        """Raises `StageStopped` when a signal asked for it; for stages with nothing to save."""
        if self.stop_requested:
            raise StageStopped

    def end(self, status: str, error: str = "", results: Mapping[str, JSON] | None = None) -> None:
        self.emit("stage_end", None, {"status": status, "error": error, "results": dict(results or {})})

    def hold(self, context: contextlib.AbstractContextManager[None]) -> None:
        """Enters `context` until the run ends."""
        self._held.enter_context(context)

    def close(self) -> None:
        self._held.close()
        self.activity.close()
        if self._events is not None:
            self._events.close()

    def settle(self, seconds: float) -> None:
        """Tries for `seconds` to write the events that wait for the disk, and says when they are lost."""
        if self._events is None:
            return
        with self._lock:
            written = self._events.settle(seconds)
        if not written:
            where = self.path / "events.jsonl" if self.path is not None else "the event log"
            self._say(f"warn: the end of the run is not in {where}: {self._events.trouble}", sys.stderr)


def main(name: str, argv: Sequence[str] | None = None) -> int:
    """Runs the stage called `name` from a command line and returns the exit code."""
    return run_stage(stage_spec(name), argv)


def run_stage(spec: StageSpec, argv: Sequence[str] | None, prog: str = "") -> int:
    """Runs `spec` from a command line to its end, whatever the end is; returns the exit code."""
    ensure_streams()
    try:
        options, layout, run_dir = _parse(spec, argv, prog)
        follow_launcher()
        grouped = inside_group()
    except UserError as error:
        if is_main_process():
            say(f"{spec.name}: error: {error}", sys.stderr)
        return error.exit_code
    processes = int(getattr(options, "nproc", 1))
    if processes > 1 and not grouped:
        release_collector()
        return launch(spec.module, sys.argv[1:] if argv is None else argv, processes)
    try:
        return _run_here(spec, options, layout, run_dir)
    except UserError as error:
        say(f"{spec.name}: error: {error}", sys.stderr)
        return error.exit_code


def stage_parser(spec: StageSpec, prog: str = "") -> Parser:
    """The command line of a stage: its options, and the directories it works in."""
    parser = command_parser(prog or f"nanochat {spec.name}", f"{spec.name}: {spec.summary}.", spec.options)
    parser.add_argument(
        "--run-dir", default="", metavar="DIR", help="an existing run directory to write into [a new one]"
    )
    return parser


def _parse(spec: StageSpec, argv: Sequence[str] | None, prog: str) -> tuple[Options, Layout, str]:
    given, layout = parse(stage_parser(spec, prog), argv)
    run_dir = given.run_dir or os.environ.get("NANOCHAT_RUN_DIR", "")
    return collect(spec.options, given), layout, run_dir


class Outcome(NamedTuple):
    """How a stage ended: succeeded, failed or stopped, why, and the exit code of its process."""

    status: str
    error: str
    exit_code: int


def _run_here(spec: StageSpec, options: Options, layout: Layout, given: str) -> int:
    """Runs the stage in this process; returns the exit code. `given` is an agent's run directory, or ""."""
    if not is_main_process():
        return _execute(spec, options, StageRun(layout, None, spec.name, options, 1)).exit_code
    if not given:
        return _run_standalone(spec, options, layout)
    attempt = env_number("NANOCHAT_ATTEMPT", 1, low=1)
    with contextlib.closing(StageRun(layout, make_dir(Path(given)), spec.name, options, attempt)) as run:
        outcome = _execute(spec, options, run)
        run.settle(END_PATIENCE)
        return outcome.exit_code


def _run_standalone(spec: StageSpec, options: Options, layout: Layout) -> int:
    """Runs the stage in a new run directory of its own, and keeps `state.json` itself."""
    path = make_run_dir(layout.run(new_run_id(spec.name)))
    write_run_json(path, spec.name, options)
    state = StandaloneState(path)
    run = StageRun(layout, path, spec.name, options, 1)
    state.begin()
    # What is recorded when a second Ctrl-C breaks the stage off.
    outcome = Outcome("failed", "interrupted", Exit.INTERRUPTED)
    try:
        outcome = _execute(spec, options, run)
    finally:
        until = time.monotonic() + END_PATIENCE
        run.settle(END_PATIENCE)
        run.close()
        problem = state.end(
            outcome.status, outcome.error, outcome.exit_code, patience=until - time.monotonic()
        )
        if problem and outcome.status != "failed":  # of a failure one line has been printed
            say(f"{spec.name}: the end of the run is not recorded: {problem}", sys.stderr)
    return outcome.exit_code


def _execute(spec: StageSpec, options: Options, run: StageRun) -> Outcome:
    """Runs the stage to its end, whatever the end is, and writes that to the log."""
    _handle_signals(run)
    try:
        return _run_to_end(spec, options, run)
    except UserError as error:
        return _fail(spec, run, str(error), error.exit_code)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _keep_traceback(run)
        return _fail(spec, run, one_line(f"{error.strerror or error}{where}"), Exit.FAILED)
    except Exception as error:
        if is_lost_connection(error):
            return _fail(spec, run, _lost_peer(error), Exit.FAILED, own=False)
        _keep_traceback(run)
        where = f" (the traceback is in {run.path})" if run.path is not None else ""
        message = f"{type(error).__name__}: {one_line(str(error))[:500]}{where}"
        return _fail(spec, run, message, Exit.FAILED)


def _run_to_end(spec: StageSpec, options: Options, run: StageRun) -> Outcome:
    try:
        run.open_wandb_log()
        stage = spec.load()
        release_collector()
        results = stage(options, run)
    except StageStopped:
        reason = f"stopped, {run.stop_reason}"
        run.log(f"{spec.name}: {reason}")
        run.end("stopped", reason)
        return Outcome("stopped", reason, Exit.STOPPED)
    run.end("succeeded", results=dict(results))
    return Outcome("succeeded", "", Exit.OK)


def _lost_peer(error: Exception) -> str:
    """The line of the process that failed; of one that could not say anything, what is known."""
    until = time.monotonic() + LOST_PEER_WAIT
    while not (found := peer_error()) and time.monotonic() < until:
        time.sleep(0.05)
    known = one_line(str(error)).partition("] ")[2] or one_line(str(error))
    unknown = "another process of the group ended without a word, killed or out of memory"
    return found or f"{unknown}: {known[:300]}"


def _fail(spec: StageSpec, run: StageRun, message: str, code: int, *, own: bool = True) -> Outcome:
    """Reports the end of a stage that failed; `own` is False where it only follows another rank's."""
    if run.is_main:
        say(f"{spec.name}: error: {message}", sys.stderr)
    elif own:
        _report_peer_error(spec, run, message)
    run.end("failed", message)
    return Outcome("failed", message, code)


def _report_peer_error(spec: StageSpec, run: StageRun, message: str) -> None:
    """Leaves an error of this rank to rank 0, which prints and logs it, and prints it where that cannot.

    One that all ranks have ends rank 0 too, which prints it.
    """
    if leave_error(message):
        return
    until = time.monotonic() + PEER_ERROR_WAIT
    while time.monotonic() < until and not run.stop_requested:
        time.sleep(0.05)
    if not run.stop_requested and os.getppid() != 1:
        say(f"{spec.name}: error in rank {os.environ.get('RANK')}: {message}", sys.stderr)


def _keep_traceback(run: StageRun) -> None:
    """A defect's traceback goes to a file beside the log, to the terminal only under NANOCHAT_DEBUG."""
    trace = traceback.format_exc()
    if os.environ.get(DEBUG):
        sys.stderr.write(trace)
    if run.path is not None:
        with contextlib.suppress(OSError):
            (run.path / f"traceback-{run.attempt}.txt").write_text(trace, encoding="utf-8", errors="replace")


def _handle_signals(run: StageRun) -> None:
    """The first signal asks the stage to save and stop; a second SIGINT interrupts, unless it is saving."""
    requested_at = 0.0

    def on_signal(number: int, _frame: object) -> None:
        nonlocal requested_at
        # One press of Ctrl-C may arrive twice, from the terminal and from a parent that forwards it.
        again = run.stop_requested and number == signal.SIGINT and time.monotonic() - requested_at > 1.0
        # Nor is a checkpoint broken off: a supervisor that took over begins its stop anew.
        if again and not run.activity.saving:
            raise KeyboardInterrupt
        requested_at = requested_at if run.stop_requested else time.monotonic()
        if number == signal.SIGHUP and not run.stop_requested:
            run.stop_reason = "as its terminal was closed"
        run.stop_requested = True

    on_stop_signals(on_signal)
