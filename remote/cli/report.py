"""`nanochat report`: a plan or a run on one page, as Markdown and as HTML."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout, expanded
from nanochat.common.text import sanitize
from nanochat.config.command_parser import Parser, command_parser, parse

if TYPE_CHECKING:
    from remote.fleet.fleet import Fleet


def report_parser() -> Parser:
    """`nanochat report …`."""
    parser = command_parser(
        "nanochat report",
        "Write report.md and report.html of a plan or a run: scores, curves, time, cost, how to repeat it.",
        epilog="It is made of logs alone, and of a host out of reach from what is known of it here.",
    )
    parser.add_argument(
        "name",
        nargs="?",
        default="",
        metavar="RUN|PLAN",
        help="a plan's name (its newest) or id, a run id or its start, host/run_id [the newest]",
    )
    parser.add_argument("--out", default="", metavar="DIR", help="where to write it [BASE/report/ID]")
    parser.add_argument(
        "--replace", action="store_true", help="over a report that is in --out already; in BASE it always is"
    )
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="only runs of this host; may be repeated"
    )
    parser.add_argument("--offline", action="store_true", help="ask no host: only what is known here")
    return parser


def report(argv: Sequence[str]) -> int:
    """Answers `nanochat report`."""
    given, layout = parse(report_parser(), argv)
    if not layout.base.is_dir():
        raise UserError(
            f"there is no run to report on: {layout.base} does not exist", "give another --base-dir"
        )
    return asyncio.run(_report(given, layout))


async def _report(given: argparse.Namespace, layout: Layout) -> int:
    from remote.cli.watch import ask_host_key
    from remote.fleet.fleet import Fleet
    from remote.report.make import make_report, where
    from remote.report.scope import Scope, choose

    fleet = Fleet(layout, ask_host_key=ask_host_key, warn=_warn)

    def chosen() -> Scope:
        return choose(fleet.store.runs(), fleet.store, given.name, given.host)

    try:
        for name in given.host:
            await asyncio.to_thread(fleet.hosts.get, name)
        ask = not given.offline
        if ask:
            await _find(fleet, given, chosen)
        folder = expanded(given.out).absolute() if given.out else None
        written = await make_report(
            fleet, layout, chosen, folder=folder, replace=given.replace or folder is None, ask=ask
        )
    finally:
        await fleet.aclose()
    for line in where(written):
        print(line)
    return Exit.OK


async def _find(fleet: Fleet, given: argparse.Namespace, chosen: object) -> None:
    """Asks hosts for runs that are not known here yet: all of them for a name that the store has not."""
    from remote.report.make import catch_up

    known = True
    try:
        await asyncio.to_thread(chosen)  # type: ignore[arg-type]
    except UserError:
        known = False
    if known and given.name:
        return  # its own hosts are asked later
    hosts = given.host or [host.name for host in await asyncio.to_thread(fleet.hosts.all)]
    for note in await catch_up(fleet, hosts):
        _warn(note)


def _warn(text: str) -> None:
    print(f"nanochat: warning: {sanitize(text, 1_000)}", file=sys.stderr)
