"""One run under a supervisor: from waiting in the queue to its recorded end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import logs, procs, spawn
from .files import AgentError, open_regular
from .outcome import Exited, outcome_of
from .rundirs import ENDED, RunDir, disk_is_full
from .stop_signals import Escalation, puts_off_kill
from .telemetry.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    Json = dict[str, Any]

HEARTBEAT = 2.0
STOP_GRACE = 20.0
RETRY = 1.0
LEFTOVER_GRACE = 5.0
LEFTOVER_LIMIT = 30.0
FULL = "the disk is full: the agent waits for space"


class Job:
    """The run in `directory`, whose lock the supervisor holds through `lock`.

    `log` takes a line for the supervisor's own log. Raises AgentError when its documents cannot be used.
    """

    def __init__(self, directory: RunDir, lock: int, supervisor: Json, log: Callable[[str], None]) -> None:
        run, state = directory.read_run(), directory.read_state()
        if run is None or state is None:
            raise AgentError(directory.fault() or "its documents cannot be read", "damaged")
        self.directory = directory
        self.run = run
        self.state = state
        self.launch = directory.read_launch()
        self.lock = lock
        self.log = log
        self.stop: Escalation | None = None
        self.stop_reason = ""
        self.sampler: Sampler | None = None
        self.unsaved = False
        self._waits_for = ""
        self._own = False
        self._exited: Exited | None = None
        self._gone_at: float | None = None
        self._cleanup: Escalation | None = None
        self._next_save = 0.0
        self._oom_kills = procs.oom_kills()
        if self.managed and not self.ended:
            self.state["supervisor"] = supervisor
            self.save()

    @property
    def managed(self) -> bool:
        """False for a stage run directly, which keeps its own state while it lives."""
        return self.launch is not None

    @property
    def ended(self) -> bool:
        return self.state.get("status") in ENDED

    @property
    def pending(self) -> bool:
        return not self.ended and not self.state.get("pid")

    @property
    def active(self) -> bool:
        return not self.ended and bool(self.state.get("pid"))

    @property
    def done(self) -> bool:
        """True when nothing is left to do or to write (or the directory was removed under us)."""
        return self.ended and not (self.unsaved and self.directory.path.is_dir())

    # -- what is written

    def save(self) -> bool:
        """Writes the state; False when the disk took nothing. What is unsaved is tried again."""
        now = time.monotonic()
        self._next_save = now + (HEARTBEAT if self.active else RETRY)
        if self.active or self.pending:
            self.state["heartbeat"] = time.time()
        clean = dict(self.state, reason="") if self.state.get("reason") == FULL else self.state
        try:
            self.directory.write_state(clean)
            self.state = clean
            self.state["disk_ahead"] = self.directory.disk_ahead(clean.get("heartbeat") or 0.0)
            self.unsaved = False
        except OSError as error:
            self._save_on_full_disk(error)
        return not self.unsaved

    def _save_on_full_disk(self, error: OSError) -> None:
        first = not self.unsaved
        self.unsaved = True
        self._next_save = time.monotonic() + RETRY
        if first:
            self.log(f"{self.directory.run_id}: cannot write state.json: {error.strerror}")
        if not disk_is_full(error) or not (first or self.ended):
            return
        if not self.ended:
            self.state["reason"] = FULL
        try:
            self.directory.write_state_on_full_disk(self.state)
            self.unsaved = not self.ended
        except OSError:
            pass

    def finish(self, status: str, reason: str, exited: Exited | None = None) -> None:
        """Records the end of the attempt; the lock stays until the record is on disk."""
        self.state.update(
            status=status,
            reason=reason[:500],
            ended_at=time.time(),
            heartbeat=time.time(),
            exit_code=exited.exit_code if exited else None,
            signal=exited.signal if exited else None,
        )
        if self.sampler is not None:
            self.sampler.end()
        self.log(f"{self.directory.run_id}: {status} {reason}".rstrip())
        self.save()

    def release(self) -> None:
        """After the end is on disk: what only a live run needs goes, then the lock."""
        self.directory.forget("launch.json", "stop.json", ".state.spare")
        os.close(self.lock)

    # -- starting

    def start(self, base: Path) -> None:
        """Starts the stage, or records why it cannot be started. With a full disk it stays pending."""
        if self.launch is None:
            self.finish("failed", "launch.json is damaged or gone: resume the run to start it")
            return
        if self.unsaved and time.monotonic() < self._next_save:
            return
        self.state.update(
            status="starting",
            started_at=time.time(),
            boot_id=procs.boot_id(),
            events_offset=logs.whole_size(self.directory.path / "events.jsonl"),
        )
        if not self.save():
            return
        console = self.directory.path / "console.log"
        try:
            held = spawn.hold(self._argv(), self._environment(base), base, console)
        except OSError as error:
            if not disk_is_full(error):
                self.finish("failed", f"cannot start the stage: {error.strerror}")
            return
        self.state.update(pid=held.pid, pid_start=held.pid_start)
        if not self.save():
            held.cancel()
            self.state.update(pid=None, pid_start=None)
            return
        self._start_held(held, console)

    def _start_held(self, held: spawn.HeldStage, console: Path) -> None:
        problem = held.start()
        if problem:
            os.waitpid(held.pid, 0)
            _append(console, problem)
            self.finish("failed", problem, Exited(spawn.NOT_RUN, None))
            return
        self._own = True
        self._oom_kills = procs.oom_kills()
        self.state["status"] = "running"
        self.log(f"{self.directory.run_id}: started as process {held.pid}, attempt {self.state['attempt']}")
        self.save()

    def _argv(self) -> list[str]:
        assert self.launch is not None
        return [self.launch["python"], *self.launch["argv"]]

    def _environment(self, base: Path) -> dict[str, str]:
        assert self.launch is not None
        env = dict(os.environ)
        env.update(self.launch["env"])
        env.update(
            NANOCHAT_BASE_DIR=str(base),
            NANOCHAT_RUN_DIR=str(self.directory.path),
            NANOCHAT_ATTEMPT=str(self.state["attempt"]),
            PYTHONUNBUFFERED="1",
            PYTHONUTF8="1",  # console.log and every file are UTF-8, whatever the host's locale is
        )
        env[procs.MARK] = self._mark
        return env

    # -- watching

    @property
    def _mark(self) -> str:
        return procs.mark_of(self.directory.path, self.state["attempt"])

    def poll(self, now: float) -> None:
        """Looks once: a stop asked for, the process ended, the heartbeat due."""
        if self.ended:
            if self.unsaved and now >= self._next_save:
                self.save()
            return
        self._see_stop(now)
        if self.pending:
            if self.stop is not None:
                self.finish("stopped", "stopped before it started")
            elif self.unsaved and now >= self._next_save:
                self.save()
            return
        if self._gone_at is None and self._has_gone():
            self._gone_at = now
        if self._gone_at is not None:
            self._clean_up(now)
            return
        self._escalate(now)
        self._tend(now)

    def _tend(self, now: float) -> None:
        if not self.managed:
            self.state = self.directory.read_state() or self.state
            return
        if self.sampler is None:
            self.sampler = Sampler(self.directory.path, self.log)
        self.sampler.maintain(now)
        if now >= self._next_save:
            self.state["status"] = "running"
            self.save()

    def ask_stop(self, now: float, reason: str) -> None:
        """A stop of the supervisor's own wish."""
        if self.stop is None:
            self.stop = Escalation(now, STOP_GRACE)
            self.stop_reason = reason

    def _see_stop(self, now: float) -> None:
        asked = self.directory.read_stop()
        if asked is None:
            return
        grace = float(asked.get("grace", STOP_GRACE))
        if self.stop is None:
            self.log(f"{self.directory.run_id}: stop requested, {grace:g} s between signals")
            self.stop = Escalation(now, grace)
        else:
            self.stop.shorten(now, grace)

    def _has_gone(self) -> bool:
        pid = self.state["pid"]
        if not self._own:
            return not (self.state.get("boot_id") == procs.boot_id() and procs.lives(self.state))
        if not hasattr(os, "waitid"):
            return self._reap(pid)
        # WNOWAIT leaves the zombie: its pid, and so its group's id, cannot be reused while we clean up
        seen = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if seen is None:
            return False
        died = seen.si_code != os.CLD_EXITED
        self._exited = Exited(None, seen.si_status) if died else Exited(seen.si_status, None)
        return True

    def _reap(self, pid: int) -> bool:
        """Where there is no waitid (macOS): takes the exit status at once, the pid with it."""
        found, status = os.waitpid(pid, os.WNOHANG)
        if found == 0:
            return False
        killed = os.WIFSIGNALED(status)
        self._exited = Exited(None, os.WTERMSIG(status)) if killed else Exited(os.WEXITSTATUS(status), None)
        self._own = False
        return True

    def _escalate(self, now: float) -> None:
        if self.stop is None or self._wait_for_activity(self.stop, now):
            return
        number = self.stop.due(now)
        if number is None:
            return
        pid = self.state["pid"]
        self.log(f"{self.directory.run_id}: {procs.signal_name(number)}")
        if not self.managed and not procs.leads_group(pid):
            procs.signal_each([pid], number)
            return
        procs.signal_group(pid, number)
        if number == signal.SIGKILL:
            procs.signal_each(procs.members(pid, self._mark, True), number)

    def _wait_for_activity(self, stop: Escalation, now: float) -> bool:
        """Whether SIGKILL is due and the stage does what must not be broken off; logged once."""
        doing = puts_off_kill(self.directory, stop.overdue(now)) if stop.kills(now) else ""
        if doing and doing != self._waits_for:
            self.log(f"{self.directory.run_id}: not killed while it is {doing}")
        self._waits_for = doing
        return bool(doing)

    def _clean_up(self, now: float) -> None:
        """Ends what the stage left behind (workers of a killed torchrun keep their GPUs), then records."""
        assert self._gone_at is not None
        pid = self.state["pid"]
        left = procs.members(pid, self._mark, self._own) if self.managed else []
        if left and now - self._gone_at < LEFTOVER_LIMIT:
            if self._cleanup is None:
                grace = LEFTOVER_GRACE if self.stop is None else min(LEFTOVER_GRACE, self.stop.grace)
                self._cleanup = Escalation(now, grace, first=1)
                self.log(f"{self.directory.run_id}: left {len(left)} processes behind, ending them")
            number = self._cleanup.due(now)
            if number is not None:
                procs.signal_each(left, number)
            return
        if self._own:
            os.waitpid(pid, 0)
        self._record_end(left)

    def _record_end(self, left: list[int]) -> None:
        current = self.directory.read_state() if not self.managed else None
        if current is not None and current.get("status") in ENDED:
            self.state = current
            return
        end = logs.last_stage_end(
            self.directory.path / "events.jsonl", int(self.state.get("events_offset", 0))
        )
        console = logs.last_console_line(self.directory.path / "console.log")
        outcome = outcome_of(self._exited, end, self.stop is not None, console)
        reason = self.stop_reason or outcome.reason
        if outcome.status == "failed" and self._exited is not None and self._exited.signal == signal.SIGKILL:
            kills = procs.oom_kills()
            if kills is not None and self._oom_kills is not None and kills > self._oom_kills:
                reason = f"{self._exited}: the kernel ran out of memory"
        if left:
            reason += f" ({len(left)} of its processes cannot be ended)"
        self.finish(outcome.status, reason, self._exited)


def _append(path: Path, line: str) -> None:
    try:
        descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with os.fdopen(descriptor, "a", encoding="utf-8", errors="replace") as file:
            file.write(line + "\n")
    except OSError:
        pass
