"""Runs watched to their end from a command line, and what ctrl+c means meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from typing import Any, Self

from nanochat.common.errors import Exit, UserError
from remote.cli.printer import LivePrinter, Printer
from remote.fleet.fleet import Fleet
from remote.runs import Change, Link, RunRow, split_key
from remote.transport.base import HostUnreachable, UnknownHostKey

REDRAW = 0.25
PATIENCE = 600.0  # seconds without any contact before a watcher gives up; the runs go on
_BATCH = 2000
QUESTION = "ctrl+c: [d]etach and let it run on (default), or [s]top it? "


class Watch:
    """Follows runs of one host in the store and hands each event to a printer once."""

    def __init__(self, fleet: Fleet, keys: Sequence[str], printer: Printer) -> None:
        self._fleet = fleet
        self._keys = list(keys)
        self._host = split_key(keys[0])[0]
        self._printer = printer
        self._after = dict.fromkeys(keys, -1)
        self._changed = asyncio.Event()
        self._status = "up"

    async def run(self) -> list[RunRow]:
        """Returns the runs once all have ended and every event was printed.

        Raises `HostUnreachable` when the host refuses us, or was not heard for ten minutes.
        """
        unsubscribe = self._fleet.subscribe(self._notice)
        try:
            while True:
                self._changed.clear()
                rows = await self._tell()
                if rows and not any(row.live for row in rows):
                    await self._fleet.catch_up(self._host, self._keys)
                    return await self._tell()
                self._printer.progress(rows)
                self._tell_link(self._fleet.link(self._host))
                await asyncio.sleep(REDRAW)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._changed.wait()
        finally:
            unsubscribe()

    def _notice(self, change: Change) -> None:
        if change.host == self._host:
            self._changed.set()

    async def _tell(self) -> list[RunRow]:
        rows = []
        for key in self._keys:
            row = await asyncio.to_thread(self._fleet.store.run, key)
            if row is None:
                continue
            rows.append(row)
            while row.last_seq > self._after[key]:
                events = await asyncio.to_thread(
                    self._fleet.store.events, key, self._after[key], None, _BATCH
                )
                for event in events:
                    self._printer.event(row, event)
                    self._after[key] = event.seq
                if not events:
                    break
        return rows

    def _tell_link(self, link: Link) -> None:
        if link.status == "down" and link.retry_in is None:
            raise HostUnreachable(self._host, link.error, "the runs there go on")
        silence = link.silence() or 0.0
        if link.status != "up" and silence > PATIENCE:
            raise HostUnreachable(self._host, f"not heard for {silence:.0f} s", "the runs there go on")
        if link.status == "down" and self._status != "down":
            self._printer.note(f"no contact with {self._host}, retrying; the run goes on: {link.error}")
        elif link.status == "up" and self._status != "up":
            self._printer.note(f"{self._host} is back")
        if link.status != "connecting":
            self._status = link.status


class Interrupts:
    """While open, SIGINT and SIGTERM are not exceptions but something to wait for."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[None] = asyncio.Queue()

    def __enter__(self) -> Self:
        for number in self._SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._arrived.put_nowait, None)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    async def before(self, *tasks: asyncio.Task[Any], keep: bool = False) -> bool:
        """True when a signal came before any of `tasks` was done; `keep` leaves it for the next to ask."""
        signalled = asyncio.create_task(self._arrived.get())
        try:
            await asyncio.wait({signalled, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            came = signalled.done()
        finally:
            signalled.cancel()
        if came and keep:
            self._arrived.put_nowait(None)
        return came and not any(task.done() for task in tasks)


async def watch(fleet: Fleet, keys: Sequence[str], printer: Printer, interrupts: Interrupts) -> int:
    """Watches runs to their end; ctrl+c asks once whether to detach or to stop them.

    The exit code: 0 all succeeded, 1 one failed, 4 stopped, 130 detached.
    """
    watching = asyncio.create_task(Watch(fleet, keys, printer).run())
    try:
        while await interrupts.before(watching):
            asking = asyncio.create_task(_ask(printer))
            again = await interrupts.before(watching, asking)
            stop = not again and asking.done() and asking.result() == "stop"
            await _end(asking)
            if watching.done():
                break
            if not stop:
                printer.note(f"detached; it runs on. Come back with: nanochat runs follow {keys[-1]}")
                return Exit.INTERRUPTED
            printer.note("stopping: the stage is asked to save and end")
            await stop_all(fleet, keys)
        return exit_code(await watching)
    finally:
        await _end(watching)
        printer.close()


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, UserError):
        await task


async def stop_all(fleet: Fleet, keys: Sequence[str]) -> None:
    """Asks every live run of `keys` to stop, the last first, so that none starts in between."""
    for key in reversed(keys):
        row = await asyncio.to_thread(fleet.store.run, key)
        if row is not None and row.live:
            await fleet.stop(key)


def exit_code(rows: Sequence[RunRow]) -> int:
    """0 when all succeeded, 1 when one failed or was lost, 4 when one was stopped."""
    states = {row.status for row in rows}
    if states & {"failed", "lost"}:
        return Exit.FAILED
    return Exit.STOPPED if "stopped" in states else Exit.OK


async def _ask(printer: Printer) -> str:
    """`stop` or `detach`; without a terminal nobody can be asked: detach."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return "detach"
    if isinstance(printer, LivePrinter):
        printer.close()
        printer.paused = True
    sys.stderr.write("\n" + QUESTION)
    sys.stderr.flush()
    try:
        answer = await _line()
    finally:
        if isinstance(printer, LivePrinter):
            printer.paused = False
    return "stop" if answer.strip().lower() in ("s", "stop") else "detach"


async def _line() -> str:
    """One line from the terminal, given up at once when cancelled (a thread could not be)."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sys.stdin, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
        return sys.stdin.readline()
    finally:
        loop.remove_reader(sys.stdin)


async def ask_host_key(unknown: UnknownHostKey) -> bool:
    """Shows an unknown host key on the terminal and asks; without a terminal the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(
        f"host '{unknown.host}' ({unknown.where}) has never been seen.\n"
        f"It shows the {unknown.algorithm} key {unknown.fingerprint}\n"
        "Compare it with `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` there. Trust it? [y/N] "
    )
    sys.stderr.flush()
    return (await _line()).strip().lower() in ("y", "yes")
