"""A stage's own view of its run: the run directory, its events, signals, and how it ends.

An agent gives the stage a directory through `NANOCHAT_RUN_DIR` and keeps `state.json`; a stage run by
hand makes the same directory itself, so that screens and tables see no difference.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from nanochat import __version__
from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.paths import Layout, atomic_write, base_dir, make_dir
from nanochat.common.streams import ensure_streams, on_stop_signals, say
from nanochat.config.options import Options, Parser, add_arguments, changed, collect, normalise
from nanochat.config.stages import StageSpec, stage_spec
from nanochat.run.events import JSON, EventWriter, read_events
from nanochat.run.launcher import follow_launcher, inside_group, launch
from nanochat.run.wandb_log import Mirror, open_mirror

SCHEMA = 1
HEARTBEAT_SECONDS = 2.0
ALONE_SECONDS = 10.0
"""How long rank 0, on a busy machine, may take to tell an error of all processes."""
DEBUG = "NANOCHAT_DEBUG"
ENV_PREFIXES = ("NANOCHAT_", "CUDA_", "NCCL_", "OMP_", "TORCH")


class StageStopped(Exception):  # noqa: N818 - it is no error
    """Raised by a stage that was asked to stop, after it has saved what it must."""


def new_run_id(stage: str) -> str:
    """`YYYYMMDD-HHMMSS-<stage>-<4 hex>` in UTC: sorts by time, safe in a file name."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{stage}-{secrets.token_hex(2)}"


def is_main_process() -> bool:
    """True in the one process of a torchrun group that writes events and files."""
    return os.environ.get("RANK", "0") == "0"


class StageRun:
    """What a stage may do to the world outside its own computation.

    In the processes of a torchrun group other than rank 0 every emit is silent.
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
        self._lock = threading.Lock()
        self._mirror: Mirror | None = None
        self._events = EventWriter(path / "events.jsonl") if path is not None and self.is_main else None

    @property
    def run_id(self) -> str:
        return self.path.name if self.path is not None else ""

    def emit(self, kind: str, step: int | None = None, data: Mapping[str, JSON] | None = None) -> None:
        """Appends one event; safe from several threads."""
        if self._events is not None:
            with self._lock:
                self._events.emit(kind, step=step, data=data)
        if self._mirror is not None:
            self._mirror.take(kind, step, data or {})

    def open_mirror(self) -> None:
        """Mirrors the events that follow to W&B, where the stage's options ask for it."""
        if getattr(self.options, "wandb", False) and self.path is not None and self.is_main:
            self._mirror = open_mirror(
                self.run_id, self.stage, self.path, vars(self.options),
                lambda message: self.alert("wandb_failed", message),
            )  # fmt: skip

    def start(
        self,
        *,
        total_steps: int = 0,
        unit: str = "step",
        from_step: int = 0,
        info: Mapping[str, JSON] | None = None,
    ) -> None:
        """Says that the work begins: how much there is (0 when unknown), and from where."""
        self.started = True
        options = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self.options).items()}
        data: dict[str, JSON] = {
            "stage": self.stage, "attempt": self.attempt, "from_step": from_step, "total_steps": total_steps,
            "unit": unit, "options": options, "info": dict(info or {}),
        }  # fmt: skip
        self.emit("stage_start", None, data)

    def log(self, text: str) -> None:
        """One line for people: to standard output and to the event log."""
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
        """A line for people. When they have gone the stage saves and stops, as after a signal."""
        if not say(text, stream) and not self.stop_requested:
            self.stop_requested, self.stop_reason = True, "as its output was closed"

    def check_stop(self) -> None:
        """Raises `StageStopped` when a signal asked for it; for stages with nothing to save."""
        if self.stop_requested:
            raise StageStopped

    def end(self, status: str, error: str = "", results: Mapping[str, JSON] | None = None) -> None:
        self.emit("stage_end", None, {"status": status, "error": error, "results": dict(results or {})})

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


def main(name: str, argv: Sequence[str] | None = None, prog: str = "") -> int:
    """Runs the stage called `name` from a command line and returns the exit code."""
    return run_stage(stage_spec(name), argv, prog)


def run_stage(spec: StageSpec, argv: Sequence[str] | None, prog: str = "") -> int:
    """Runs `spec` from a command line to its end, whatever the end is; returns the exit code."""
    ensure_streams()
    try:
        options, base, run_dir = _parse(spec, argv, prog)
    except UserError as error:
        if is_main_process():
            say(f"{spec.name}: error: {error}", sys.stderr)
        return error.exit_code
    follow_launcher()
    processes = int(getattr(options, "nproc", 1))
    if processes > 1 and not inside_group():
        return launch(spec.module, sys.argv[1:] if argv is None else argv, processes)
    try:
        with _open_run(spec, options, Layout(base), run_dir) as run:
            return _execute(spec, options, run)
    except UserError as error:
        say(f"{spec.name}: error: {error}", sys.stderr)
        return error.exit_code


def _parse(spec: StageSpec, argv: Sequence[str] | None, prog: str) -> tuple[Options, Path, str]:
    parser = Parser(prog=prog or f"nanochat {spec.name}", description=f"{spec.name}: {spec.summary}.")
    where = parser.add_argument_group("Where")
    where.add_argument(
        "--base-dir",
        default=None,
        metavar="DIR",
        help="base directory [NANOCHAT_BASE_DIR, else ~/.cache/nanochat]",
    )
    where.add_argument(
        "--run-dir", default="", metavar="DIR", help="an existing run directory to write into [a new one]"
    )
    add_arguments(parser, spec.options)
    found = parser.parse_args(normalise(sys.argv[1:] if argv is None else argv))
    return (
        collect(spec.options, found),
        base_dir(found.base_dir),
        found.run_dir or os.environ.get("NANOCHAT_RUN_DIR", ""),
    )


@contextlib.contextmanager
def _open_run(spec: StageSpec, options: Options, layout: Layout, given: str) -> Iterator[StageRun]:
    """The run in the directory an agent gave, or in a new one of our own whose state we keep."""
    if not is_main_process():
        yield StageRun(layout, None, spec.name, options, 1)
        return
    if given:
        run = StageRun(
            layout, make_dir(Path(given)), spec.name, options, int(os.environ.get("NANOCHAT_ATTEMPT", "1"))
        )
        try:
            yield run
        finally:
            run.close()
        return
    path = make_dir(layout.run(new_run_id(spec.name)))
    _write_json(path / "run.json", describe(path.name, spec.name, options))
    state = HandState(path)
    run = StageRun(layout, path, spec.name, options, 1)
    state.begin()
    try:
        yield run
    finally:
        run.close()
        state.end(run)


def describe(run_id: str, stage: str, options: Options) -> dict[str, Any]:
    """`run.json` of a stage run by hand: what was asked. Environment names go in, never values."""
    return {
        "schema": SCHEMA, "run_id": run_id, "name": stage, "stage": stage, "options": changed(options),
        "argv": [sys.executable, *sys.orig_argv[1:]], "code": {"version": __version__, "sha": code_sha()},
        "host": os.uname().nodename, "env": sorted(n for n in os.environ if n.startswith(ENV_PREFIXES)),
        "created_at": time.time(), "plan": None, "cwd": str(Path.cwd()),
    }  # fmt: skip


def code_sha() -> str:
    """The commit of the checkout this code runs from, `-dirty` when changed, or "" outside one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        shown = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return shown.stdout.strip()


class HandState:
    """`state.json` of a stage run by hand: this process, its heartbeat, and how it ended."""

    def __init__(self, path: Path) -> None:
        self.path = path / "state.json"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.fields: dict[str, Any] = {
            "schema": SCHEMA, "run_id": path.name, "status": "running", "attempt": 1, "pid": os.getpid(),
            "pid_start": process_start(os.getpid()), "boot_id": boot_id(), "heartbeat": time.time(),
            "started_at": time.time(), "ended_at": None, "exit_code": None, "signal": None, "reason": "",
            "supervisor": None,
        }  # fmt: skip

    def begin(self) -> None:
        _write_json(self.path, self.fields)
        self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            self.fields["heartbeat"] = time.time()
            with contextlib.suppress(UserError):  # a full disk must not end the training
                _write_json(self.path, self.fields)

    def end(self, run: StageRun) -> None:
        self._stop.set()
        self._thread.join()
        assert run.path is not None
        events, _ = read_events(
            run.path / "events.jsonl", max(0, (run.path / "events.jsonl").stat().st_size - 256 * 1024)
        )
        last = next((event.data for event in reversed(events) if event.kind == "stage_end"), {})
        status = str(last.get("status", "failed"))
        now = time.time()
        self.fields.update(
            status=status, ended_at=now, heartbeat=now, reason=str(last.get("error", "")),
            exit_code={"succeeded": 0, "stopped": int(Exit.STOPPED)}.get(status, 1),
        )  # fmt: skip
        with contextlib.suppress(UserError):
            _write_json(self.path, self.fields)


def _execute(spec: StageSpec, options: Options, run: StageRun) -> int:
    """The stage from start to end, with its end written to the log, whatever it is."""
    _handle_signals(run)
    try:
        run.open_mirror()
        results = spec.load()(options, run)
    except StageStopped:
        run.log(f"{spec.name}: stopped, {run.stop_reason}")
        run.end("stopped", f"stopped, {run.stop_reason}")
        return Exit.STOPPED
    except UserError as error:
        return _fail(spec, run, str(error), error.exit_code)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _keep_traceback(run)
        return _fail(spec, run, f"{error.strerror or error}{where}", Exit.FAILED)
    except Exception as error:
        _keep_traceback(run)
        message = f"{type(error).__name__}: {one_line(str(error))[:500]} (the traceback is in {run.path})"
        return _fail(spec, run, message, Exit.FAILED)
    run.end("succeeded", results=dict(results))
    return Exit.OK


def _fail(spec: StageSpec, run: StageRun, message: str, code: int) -> int:
    if run.is_main:
        say(f"{spec.name}: error: {message}", sys.stderr)
    else:
        _tell_of_other_process(spec, run, message)
    with contextlib.suppress(UserError):  # the log's disk may be what is full
        run.end("failed", message)
    return code


def _tell_of_other_process(spec: StageSpec, run: StageRun, message: str) -> None:
    """What ends all processes is told by rank 0; only what ends this one alone is told here."""
    until = time.monotonic() + ALONE_SECONDS
    while time.monotonic() < until and not run.stop_requested:
        time.sleep(0.05)
    if not run.stop_requested and os.getppid() != 1:
        say(f"{spec.name}: error in process {os.environ.get('RANK')}: {message}", sys.stderr)


def _keep_traceback(run: StageRun) -> None:
    """A defect's traceback goes to a file beside the log, to the terminal only under NANOCHAT_DEBUG."""
    trace = traceback.format_exc()
    if os.environ.get(DEBUG):
        sys.stderr.write(trace)
    if run.path is not None:
        with contextlib.suppress(OSError):
            (run.path / f"traceback-{run.attempt}.txt").write_text(trace)


def _handle_signals(run: StageRun) -> None:
    """The first signal asks the stage to save and stop; the second SIGINT interrupts at once."""

    asked = 0.0

    def ask(number: int, _frame: object) -> None:
        nonlocal asked
        # One press of Ctrl-C may come twice, from the terminal and from a parent that passes it on.
        if run.stop_requested and number == signal.SIGINT and time.monotonic() - asked > 1.0:
            raise KeyboardInterrupt
        asked = asked if run.stop_requested else time.monotonic()
        if number == signal.SIGHUP and not run.stop_requested:
            run.stop_reason = "as its terminal was closed"
        run.stop_requested = True

    on_stop_signals(ask)


def process_start(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (/proc/<pid>/stat field 22); None where unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def boot_id() -> str:
    """The kernel's name for this boot, "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    atomic_write(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
