"""A report from the store and what hosts still have to tell: for the command, the app, the end of a plan."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.text import when
from remote.report.compose import Sources
from remote.report.scope import Scope
from remote.report.write import Written, report_folder, write_report
from remote.store.store import Store

if TYPE_CHECKING:
    from nanochat.common.paths import Layout
    from remote.fleet.fleet import Fleet
    from remote.hosts.book import HostBook

Choose = Callable[[], Scope]


async def make_report(
    fleet: Fleet,
    layout: Layout,
    choose: Choose,
    *,
    folder: Path | None = None,
    replace: bool = True,
    ask: bool = True,
) -> Written:
    """Writes the report of the runs that `choose` picks from the store, on this machine.

    Their hosts are asked first for what is new, unless `ask` is False; of one out of reach the store's copy
    stands, and the report says so. Raises `UserError` when nothing can be written.
    """
    scope = await asyncio.to_thread(choose)
    notes = await catch_up(fleet, {run.host for run in scope.all}) if ask else []
    return await asyncio.to_thread(
        _make, fleet.store, fleet.hosts, layout, choose, folder, replace, tuple(notes)
    )


async def catch_up(fleet: Fleet, hosts: Collection[str]) -> list[str]:
    """Takes in what hosts have to tell; a line for each that does not answer, with how old its copy is."""
    notes = []
    for host in sorted(hosts):
        try:
            await fleet.catch_up(host)
            await fleet.evaluations.refresh(host)
        except UserError as error:
            heard = await asyncio.to_thread(fleet.store.last_contact, host)
            age = f"as of {when(heard, time.time())}" if heard else "of an unknown age"
            notes.append(f"{error.message}; what is told of its runs is {age}")
    return notes


def _make(
    store: Store,
    hosts: HostBook,
    layout: Layout,
    choose: Choose,
    folder: Path | None,
    replace: bool,
    notes: tuple[str, ...],
) -> Written:
    scope = choose()  # again: the hosts may have told more
    prices = {host.name: host.price_per_hour for host in hosts.read()[0]}
    sources = Sources(store.evaluations(), prices, notes, time.time())
    return write_report(store, scope, sources, folder or report_folder(layout, scope), replace)


def where(written: Written) -> list[str]:
    """Where a report lies, in words."""
    return [f"report: {written.markdown}", f"        {written.html}"]


__all__ = ["Written", "catch_up", "make_report", "where"]
