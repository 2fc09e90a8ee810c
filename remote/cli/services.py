"""`nanochat hosts services`: the servers of checkpoints on hosts: list, stop, pin, unpin."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError, nearest
from nanochat.common.paths import Layout
from nanochat.common.text import duration
from remote.cli.printer import print_problems, table
from remote.hosts.book import HostBook

if TYPE_CHECKING:
    from remote.fleet.fleet import Fleet
    from remote.fleet.services import ServiceState


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    """What `nanochat hosts services` takes."""
    parser.add_argument("name", metavar="HOST", nargs="?", default="", help="only this host")
    parser.add_argument("--json", action="store_true", help="a JSON list")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--stop", default="", metavar="ID", help="end this service, also a pinned one")
    one.add_argument("--pin", default="", metavar="ID", help="let it live on when no app keeps it")
    one.add_argument("--unpin", default="", metavar="ID", help="end it once no app keeps it")


def services(layout: Layout, given: argparse.Namespace) -> int:
    """Answers `nanochat hosts services …`."""
    if given.json and (given.stop or given.pin or given.unpin):
        raise UserError("--json is of the list of services", "leave it out")
    book = HostBook(layout)
    if given.name:
        names = [book.get(given.name).name]
    else:
        known, problems = book.read()
        print_problems(problems)
        names = [host.name for host in known]
    return asyncio.run(_services(layout, names, given))


async def _services(layout: Layout, names: Sequence[str], given: argparse.Namespace) -> int:
    from remote.cli.watch import ask_host_key
    from remote.fleet.fleet import Fleet

    # Of many hosts nobody is asked about a key: one that is unknown is told as such.
    fleet = Fleet(layout, ask_host_key=ask_host_key if given.name else None)
    try:
        found, unreachable = await _look(fleet, names)
        if given.name and unreachable:
            raise unreachable[0]
        for error in unreachable:
            print(f"nanochat: {error}", file=sys.stderr)
        asked = given.stop or given.pin or given.unpin
        if asked:
            await _change(fleet, _named(found, asked, len(unreachable)), given)
            return Exit.OK  # that one's host has answered
        if given.json:
            print(json.dumps([asdict(state) for state in found], ensure_ascii=False, indent=1))
        else:
            print(_table(found))
        return Exit.UNREACHABLE if unreachable else Exit.OK
    finally:
        await fleet.aclose()


async def _look(fleet: Fleet, names: Sequence[str]) -> tuple[list[ServiceState], list[UserError]]:
    """The services of every host that answers, and why the others do not."""
    answers = await asyncio.gather(*(fleet.services.states(name) for name in names), return_exceptions=True)
    found: list[ServiceState] = []
    errors: list[UserError] = []
    for answer in answers:
        if isinstance(answer, UserError):
            errors.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += answer
    return found, errors


def _named(found: Sequence[ServiceState], service_id: str, silent: int) -> ServiceState:
    """The service of that id. Raises `UserError` with the nearest, and how many hosts gave no answer."""
    for state in found:
        if state.id == service_id:
            return state
    hint = nearest(service_id, [state.id for state in found]) if found else "there are none"
    if silent:
        hint += f"; {silent} {'host' if silent == 1 else 'hosts'} gave no answer"
    raise UserError(f"no service '{service_id}'", hint)


async def _change(fleet: Fleet, state: ServiceState, given: argparse.Namespace) -> None:
    if given.stop:
        await fleet.services.close(state)
        print(f"{state.id} on {state.host} ends")
    else:
        await fleet.services.pin(state, bool(given.pin))
        what = "lives on when no app keeps it" if given.pin else "ends once no app keeps it"
        print(f"{state.id} on {state.host} {what}")


def _table(found: Sequence[ServiceState]) -> str:
    header = ["service", "host", "device", "status", "models", "kept by", "idle", "since"]
    return table(header, [_cells(state) for state in found]) if found else "no services"


def _cells(state: ServiceState) -> list[str]:
    kept = [word for word, holds in (("pin", state.pinned), ("app", state.kept)) if holds]
    return [
        state.id,
        state.host,
        state.device,
        f"{state.status}: {state.problem}" if state.problem else state.status,
        " ".join(state.models) or "none in memory",
        ", ".join(kept) or "nobody",
        duration(state.idle_seconds) if state.idle_seconds is not None else "",
        time.strftime("%Y-%m-%d %H:%M", time.localtime(state.started_at)) if state.started_at else "",
    ]
