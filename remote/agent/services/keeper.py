"""The keeper of a service: one detached process that starts its server, watches who still wants it, ends it.

It holds the service's lock. The server dies with it (Linux tells it of its parent's death), so that no server
is left that nobody watches.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from typing import TYPE_CHECKING, Any

from .. import logs, procs, spawn
from ..files import open_bytes
from ..outcome import Exited
from ..supervisor import log
from .folder import ServiceDir, Services

if TYPE_CHECKING:
    from pathlib import Path

    Json = dict[str, Any]

TICK = 0.2
TERM_SECONDS = 13.0
"""The server gives what streams ten seconds to finish, and a second more to say so."""
START_SECONDS = 600.0
READY = re.compile(rb'^\{"url": "http://127\.0\.0\.1:(\d{1,5})", "models": \[.*\]\}$', re.MULTILINE)
LOG_HEAD = 1 << 20
ERROR = "nanochat: error: "
REST_LOOKS = 3
"""How often it looks for what the server left behind, a tick apart."""


def keep(base: Path, service_id: str, lock: int) -> int:
    """Runs until the service whose lock is inherited has ended; 1 where its documents cannot be used."""
    os.set_inheritable(lock, False)  # a server that held it would seem kept after our death
    services = Services(base)
    service = services.get(service_id)
    asked, state = service.read_service(), service.read_state()
    if asked is None or state is None:
        log(f"{service.id}: {service.fault()}")
        return 1
    keeper = Keeper(services, service, asked, state)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, keeper.on_terminate)
    keeper.run()
    os.close(lock)
    return 0


class Leases:
    """Who was heard of less than `seconds` ago, by our own clock: one that is set changes nothing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._heard: dict[str, tuple[int, float]] = {}

    def holders(self, found: dict[str, int], now: float) -> list[str]:
        """Those of `found` (who, and what changes at a renewal) whose lease still runs at `now`."""
        self._heard = {
            who: self._heard[who] if who in self._heard and self._heard[who][0] == sign else (sign, now)
            for who, sign in found.items()
        }
        return [who for who, (_, heard) in self._heard.items() if now - heard < self.seconds]


class Keeper:
    """One service from its start to its end."""

    def __init__(self, services: Services, service: ServiceDir, asked: Json, state: Json) -> None:
        self.services = services
        self.service = service
        self.asked = asked
        self.state = state
        self.leases = Leases(float(asked["lease_seconds"]))
        self.terminating = False
        self._oom_kills = procs.oom_kills()

    def on_terminate(self, _number: int, _frame: object) -> None:
        """SIGTERM, as a shutdown sends it."""
        self.terminating = True

    def run(self) -> None:
        pid = os.getpid()
        self.state["supervisor"] = {"pid": pid, "pid_start": procs.start_time(pid)}
        try:
            held = self._hold()
        except OSError as error:
            self._fail(f"cannot start the server: {error.strerror}")
            return
        self.state.update(pid=held.pid, pid_start=held.pid_start)
        if not self._save():
            held.cancel()
            return
        problem = held.start()
        if problem:
            os.waitpid(held.pid, 0)
            self._fail(problem)
            return
        log(f"{self.service.id}: started as process {held.pid}")
        self._watch(held.pid)

    def _hold(self) -> spawn.HeldStage:
        env = dict(os.environ)
        for name in [name for name in env if name.startswith("NANOCHAT_")]:
            del env[name]  # of a stage or an app around us
        env.update(self.asked["env"])
        env.update(
            NANOCHAT_BASE_DIR=str(self.services.base),
            NANOCHAT_API_KEY=self.service.key(),
            PYTHONUNBUFFERED="1",
            PYTHONUTF8="1",
        )
        env[procs.MARK] = self._mark
        argv = self.asked["argv"]
        return spawn.hold(argv, env, self.services.base, self.service.log, dies_with_us=True)

    @property
    def _mark(self) -> str:
        return procs.mark_of(self.service.path, 1)

    # -- watching

    def _watch(self, pid: int) -> None:
        late = time.monotonic() + START_SECONDS
        while True:
            exited = _reap(pid)
            if exited is not None:
                self._end_rest()
                self._fail(self._why(exited))
                return
            now = time.monotonic()
            if self.state["status"] == "starting":
                self._see_port()
                if self.state["status"] == "starting" and now > late:
                    self._end(pid, f"the server was not ready in {START_SECONDS:g} s")
                    return
            if not self._wanted(now):
                with contextlib.suppress(Exception):  # no lock, or no space: it ends all the same
                    if not self._close_door(now):
                        continue
                self._end(pid, "")
                return
            time.sleep(TICK)

    def _wanted(self, now: float) -> bool:
        if self.terminating or self.service.end_asked or not self.service.path.is_dir():
            return False
        found = self.service.leases()
        held = self.leases.holders(found, now)
        wanted = self.service.pinned or bool(held)
        for who in set(found) - set(held) if wanted else ():
            self.service.give_back(who)  # it lapsed
        return wanted

    def _close_door(self, now: float) -> bool:
        """Says that it ends, unless somebody has joined it in the last moment."""
        with self.services.exclusive():
            if self._wanted(now):
                return False
            self.state["status"] = "ending"
            self.service.write_state(self.state)
            return True

    def _see_port(self) -> None:
        try:
            with open_bytes(self.service.log) as file:
                found = READY.search(file.read(LOG_HEAD))
        except OSError:
            return
        if found is not None:
            self.state.update(status="ready", port=int(found[1]))
            if not self._save():
                self.state["status"] = "starting"  # again at the next look

    # -- the end

    def _end(self, pid: int, failure: str) -> None:
        """Ends the server. Its folder goes, unless it has failed."""
        procs.signal_group(pid, signal.SIGTERM)
        deadline = time.monotonic() + TERM_SECONDS
        exited = None
        while exited is None and time.monotonic() < deadline:
            exited = _reap(pid)
            time.sleep(TICK / 4)
        if exited is None:
            procs.signal_group(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._end_rest()
        if failure:
            self._fail(failure)
            return
        log(f"{self.service.id}: ended")
        self.service.remove()

    def _end_rest(self) -> None:
        """What the server left behind, found by the mark that it had in its environment."""
        for _ in range(REST_LOOKS):
            left = procs.members(0, self._mark, False)
            if not left:
                return
            procs.signal_each(left, signal.SIGKILL)
            time.sleep(TICK)

    def _why(self, exited: Exited) -> str:
        """Why the server ended by itself: in its own last words, where it has any."""
        kills, before = procs.oom_kills(), self._oom_kills
        if exited.signal == signal.SIGKILL and kills is not None and before is not None and kills > before:
            return "the kernel ran out of memory and killed the server"
        said = logs.last_console_line(self.service.log)
        if exited.signal is not None or not said or READY.match(said.encode()):
            return f"the server ended: {exited}"
        return said[len(ERROR) :] if said.startswith(ERROR) else said

    def _fail(self, reason: str) -> None:
        log(f"{self.service.id}: {reason}")
        self.state.update(status="failed", reason=reason[:500], pid=None, pid_start=None, port=None)
        self._save()

    def _save(self) -> bool:
        try:
            self.service.write_state(self.state)
        except OSError as error:
            log(f"{self.service.id}: cannot write state.json: {error.strerror}")
            return False
        return True


def _reap(pid: int) -> Exited | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    if found == 0:
        return None
    killed = os.WIFSIGNALED(status)
    return Exited(None, os.WTERMSIG(status)) if killed else Exited(os.WEXITSTATUS(status), None)
