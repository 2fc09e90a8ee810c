"""The supervisor: one detached process that runs the stages of a plan in order and records how each ended.

It holds the lock of every run it answers for, so there is never a second one. It outlives the app, the
connection and the command that started it; when it is killed, the stage goes on, and the next command
that looks at the host starts another supervisor that takes the runs over.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from . import procs, recovery
from .documents import needs_of
from .job import Job
from .rundirs import ENDED, Runs

if TYPE_CHECKING:
    from pathlib import Path

    Json = dict[str, Any]

TICK = 0.2
MAINTENANCE_SECONDS = 5.0
ERROR_BACKOFF = 1.0
UNREAD_PATIENCE = 60.0  # a shared disk may lose sight of a file that is just being replaced
SHUTDOWN = "the machine is shutting down or the supervisor was asked to end"


def supervise(base: Path, locks: dict[str, int]) -> int:
    """Runs until every run in `locks` (run id → descriptor that holds its lock) has ended."""
    for descriptor in locks.values():
        os.set_inheritable(descriptor, False)  # a stage that held a lock would outlive its supervisor with it
    supervisor = Supervisor(base, locks)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, supervisor.on_terminate)
    supervisor.loop()
    return 0


class Supervisor:
    """The runs of one supervisor, at most one of them started at a time."""

    def __init__(self, base: Path, locks: dict[str, int]) -> None:
        self.base = base
        self.runs = Runs(base)
        self.terminating = False
        self._next_maintenance = 0.0
        self._logged = ""
        self._rests: dict[str, float] = {}
        self._unread: dict[str, float] = {}
        pid = os.getpid()
        self._me = {"pid": pid, "pid_start": procs.start_time(pid)}
        jobs = [self._job(run_id, lock) for run_id, lock in locks.items()]
        self.jobs = [job for job in jobs if job is not None]

    def _job(self, run_id: str, lock: int) -> Job | None:
        """The run under watch. One that cannot be is let go; the others are watched all the same."""
        try:
            return Job(self.runs.get(run_id), lock, self._me, log)
        except Exception as error:
            log(f"{run_id}: it cannot be watched: {type(error).__name__}: {error}")
            os.close(lock)
            return None

    def on_terminate(self, _number: int, _frame: object) -> None:
        """SIGTERM, as a shutdown or a spot preemption sends it: stop the stage, start no other."""
        self.terminating = True

    def loop(self) -> None:
        while self.jobs:
            self.tick(time.monotonic())
            if self.terminating and not any(job.active for job in self.jobs):
                return
            if self.jobs:
                time.sleep(TICK)

    def tick(self, now: float) -> None:
        """Looks at every run once, then starts the next that may start."""
        for job in self._rested(now):
            if self.terminating and job.active and job.managed:
                job.ask_stop(now, SHUTDOWN)
            try:
                job.poll(now)
            except Exception as error:  # an I/O error or a defect costs this look, never the watch
                self._rest(job, now, error)
            if job.done:
                job.release()
                self.jobs.remove(job)
        if not self.terminating and not any(job.active for job in self.jobs):
            self._start_next(now)

    def _rested(self, now: float) -> list[Job]:
        """The runs but those whose last look has failed a moment ago."""
        return [job for job in self.jobs if self._rests.get(job.directory.run_id, now) <= now]

    def _rest(self, job: Job, now: float, error: Exception) -> None:
        """After an error of one run: the others go on, and it is looked at again in a while."""
        self._rests[job.directory.run_id] = now + ERROR_BACKOFF
        self._log_once(f"{job.directory.run_id}: {type(error).__name__}: {error}")

    def _start_next(self, now: float) -> None:
        for job in self._rested(now):
            try:
                if job.pending and self._settle(job, now):
                    return
            except Exception as error:
                self._rest(job, now, error)

    def _settle(self, job: Job, now: float) -> bool:
        """Starts a waiting run, or ends it where it never can be; False while it waits for another."""
        blocked = self._unmet(job, now)
        if blocked is None:
            self._start(job)
        elif blocked:
            job.finish("stopped", blocked)
        else:
            self._recover_needs(job, now)
            return False
        return True

    def _log_once(self, trouble: str) -> None:
        if trouble != self._logged:
            self._logged = trouble
            log(trouble)

    def _start(self, job: Job) -> None:
        try:
            job.start(self.base)
        except Exception as error:
            problem = f"cannot start the stage: {type(error).__name__}: {error}"
            log(f"{job.directory.run_id}: {problem}")
            if job.pending:
                job.finish("failed", problem)

    def _unmet(self, job: Job, now: float) -> str | None:
        """None when every need has succeeded, "" while one is still to come, else why it cannot start."""
        waiting = False
        for need in needs_of(job.run):
            directory = self.runs.get(need)
            state = directory.read_state()
            if state is None:
                if not directory.path.is_dir():
                    return f"needs {need}, which is not on this host"
                waiting, fault = True, directory.fault()
                if fault and now - self._unread.setdefault(need, now) > UNREAD_PATIENCE:
                    return f"needs {need}, which is damaged: {fault}"
                continue
            self._unread.pop(need, None)
            status = state.get("status")
            if status in ENDED and status != "succeeded":
                verb = "failed" if status == "failed" else f"was {status}"
                return f"needs {need}, which {verb}"
            waiting = waiting or status != "succeeded"
        return "" if waiting else None

    def _recover_needs(self, job: Job, now: float) -> None:
        """A run of another supervisor that we wait for may have lost that supervisor."""
        if now < self._next_maintenance:
            return
        self._next_maintenance = now + MAINTENANCE_SECONDS
        for need in needs_of(job.run):
            directory = self.runs.get(need)
            run, state = directory.read_run(), directory.read_state()
            if run is not None and state is not None and recovery.is_orphan(directory, run, state):
                for problem in recovery.recover(self.runs, [need]).values():
                    log(f"{need}: {problem}")


def log(line: str) -> None:
    """One line in the supervisor's own log. A full disk must not end the supervisor."""
    try:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        sys.stderr.write(f"{stamp} {' '.join(line.split())}\n")
        sys.stderr.flush()
    except OSError:
        pass
