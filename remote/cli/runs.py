"""`nanochat runs`: the runs of every host: list, show, follow, export, stop, resume, mark."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError, nearest
from nanochat.common.paths import Layout
from nanochat.common.text import amount, percent, sanitize, when
from nanochat.config.command_parser import Parser, add_base_dir, command_parser, parse
from nanochat.config.pass_env import option_names
from remote.cli.columns import add_column_options, check_order, cost_of, list_columns
from remote.cli.compare import add_compare_parser, compare
from remote.cli.export import add_export_parser, export
from remote.cli.marks import MARKS, add_mark_parsers, mark
from remote.cli.printer import GLYPHS, describe, figures, make_printer, spent, table
from remote.filter import syntax
from remote.filter.fields import STATUS
from remote.filter.run_filter import parse as parse_filter
from remote.run_summary import said

if TYPE_CHECKING:
    from remote.fleet.fleet import Fleet
    from remote.runs import RunRow


def runs_parser() -> Parser:
    """`nanochat runs …`."""
    parser = command_parser("nanochat runs", "The runs of every host.")
    words = parser.add_subparsers(
        dest="word",
        metavar="{ls,show,compare,follow,export,stop,resume,tag,untag,note,archive,…}",
        parser_class=Parser,
    )
    ls = words.add_parser("ls", help="a table of all runs, newest first (the default)")
    ls.add_argument("--host", default="", metavar="NAME", help="only this host")
    ls.add_argument("--status", default="", metavar="WORD", help="only runs with this status")
    ls.add_argument(
        "--filter",
        default="",
        metavar="TEXT",
        help="only runs that match, as in the control room: 'stage:base bpb<0.9 not tag:old'",
    )
    ls.add_argument("--all", action="store_true", help="archived runs too")
    ls.add_argument("--json", action="store_true", help="a JSON list")
    add_column_options(ls)
    show = words.add_parser("show", help="all that is known of one run")
    show.add_argument("--json", action="store_true", help="one JSON document")
    follow = words.add_parser("follow", help="print a run's events until it ends")
    follow.add_argument("--json", action="store_true", help="one event a line on standard output")
    words.add_parser("stop", help="ask a run to save and end").add_argument(
        "--grace", type=float, default=20.0, metavar="S", help="seconds before it is forced [20]"
    )
    words.add_parser("resume", help="go on with an ended run where its checkpoint left it").add_argument(
        "--pass-env",
        action="append",
        default=[],
        metavar="NAME",
        help="hand it this variable of your shell too; may be given again",
    )
    add_export_parser(words)
    add_mark_parsers(words)
    add_compare_parser(words)
    for name in ("show", "follow", "export", "stop", "resume"):
        words.choices[name].add_argument("run", metavar="RUN", help="a run id, its start, or host/run_id")
    for word in words.choices.values():
        add_base_dir(word, sub_command=True)
    return parser


def runs(argv: Sequence[str]) -> int:
    """Answers `nanochat runs …`."""
    given, layout = parse(runs_parser(), argv or ["ls"])
    given.word = given.word or "ls"
    return asyncio.run(_runs(given, layout))


async def _runs(given: argparse.Namespace, layout: Layout) -> int:
    from remote.cli.watch import Interrupts, ask_host_key, watch
    from remote.fleet.fleet import Fleet

    if given.word == "ls":
        check_order(given)
    if not layout.base.is_dir():
        if given.word == "ls":
            return list_runs([], getattr(given, "json", False))
        name = given.run if isinstance(given.run, str) else given.run[0]
        raise UserError(f"no run '{name}': {layout.base} does not exist", "give another --base-dir")
    fleet = Fleet(layout, ask_host_key=ask_host_key, warn=_warn)
    try:
        if given.word == "ls":
            await _look(fleet, getattr(given, "host", ""))
            rows = await asyncio.to_thread(fleet.store.runs)
            chosen = _chosen(rows, given)
            if rows and not chosen and not getattr(given, "json", False):
                print(f"none of {amount(len(rows), 'run')} matches", file=sys.stderr)
                return Exit.OK
            if getattr(given, "columns", "") or getattr(given, "sort", ""):
                return await list_columns(fleet, chosen, given)
            return list_runs(chosen, getattr(given, "json", False))
        if given.word in MARKS:
            return mark(fleet.store, given)
        if given.word == "compare":
            found = await _find_all(fleet, given.run)
            return await asyncio.to_thread(compare, fleet.store, found, given)
        run = await _find(fleet, given.run)
        if given.word == "show":
            return _show(fleet, run, given.json)
        if given.word == "export":
            return await export(fleet.store, run, given)
        if given.word == "follow":
            await fleet.connect(run.host)
            with Interrupts() as interrupts:
                return await watch(fleet, [run.key], make_printer(given.json), interrupts)
        if given.word == "stop":
            if not run.live:
                raise UserError(f"{run.run_id} has ended already: {run.status}")
            await fleet.stop(run.key, given.grace)
            print(f"asked {run.run_id} on {run.host} to stop")
            return Exit.OK
        if run.live:
            raise UserError(f"{run.run_id} is {run.status}", "there is nothing to resume")
        await fleet.resume(run.key, option_names(given.pass_env))
        print(f"resumed {run.run_id} on {run.host}; nanochat runs follow {run.run_id}")
        return Exit.OK
    finally:
        await fleet.aclose()


def _warn(text: str) -> None:
    print(f"nanochat: warning: {text}", file=sys.stderr)


async def _look(fleet: Fleet, only: str) -> None:
    """Asks every host how its runs stand; one that does not answer gets a line, its old rows stay."""
    names = [only] if only else [host.name for host in await asyncio.to_thread(fleet.hosts.all)]
    if only:
        await asyncio.to_thread(fleet.hosts.get, only)
    answers = await asyncio.gather(*(fleet.catch_up(name) for name in names), return_exceptions=True)
    for error in answers:
        if isinstance(error, UserError):
            _warn(str(error))
        elif isinstance(error, BaseException):
            raise error


async def _find(fleet: Fleet, name: str) -> RunRow:
    """The run of that name, looked for on the hosts when the store does not know it or holds it as live."""
    try:
        run = await asyncio.to_thread(fleet.store.find, name)
        host = run.host
    except UserError:
        host = ""
    await _look(fleet, host)
    return await asyncio.to_thread(fleet.store.find, name)


async def _find_all(fleet: Fleet, names: Sequence[str]) -> list[RunRow]:
    """Several runs by name, each host asked once; those of a host that is gone stay as they were."""
    hosts = set()
    for name in names:
        with contextlib.suppress(UserError):
            hosts.add((await asyncio.to_thread(fleet.store.find, name)).host)
            continue
        hosts.add("")  # on any host
    for host in {""} if "" in hosts else hosts:
        try:
            await _look(fleet, host)
        except UserError as error:
            _warn(str(error))
    return [await asyncio.to_thread(fleet.store.find, name) for name in names]


def _chosen(rows: Sequence[RunRow], given: argparse.Namespace) -> list[RunRow]:
    """The rows that the options of `ls` leave. Raises `UserError` for a filter that is not understood."""
    host, status = getattr(given, "host", ""), getattr(given, "status", "")
    if status and status not in STATUS:
        raise UserError(f"no status '{status}'", nearest(status, STATUS))
    text = getattr(given, "filter", "")
    if not rows:  # then no name of an option or metric is known: only the grammar can be wrong
        syntax.read(text)
        return []
    keep = parse_filter(text, rows)
    keeps = keep.test if getattr(given, "all", False) else keep.keeps
    return [
        run
        for run in rows
        if (not host or run.host == host) and (not status or STATUS[status](run)) and keeps(run)
    ]


def list_runs(rows: Sequence[RunRow], as_json: bool) -> int:
    """Prints runs as a table, or as JSON; below the table a line for each run whose files are damaged."""
    if as_json:
        print(json.dumps([asdict(run) for run in rows], indent=1))
        return Exit.OK
    now = time.time()
    cells = [
        [
            run.run_id,
            run.name,
            run.host,
            f"{GLYPHS.get(run.status, ' ')} {run.status}",
            percent(run.progress),
            figures(run),
            spent(run),
            when(run.created_at, now),
            said(run),
        ]
        for run in rows
    ]
    if cells:
        header = ["run", "name", "host", "status", "done", "figures", "time", "started", "reason, note"]
        print(table(header, cells))
        for run in rows:
            if run.problem:
                print(sanitize(f"⚠ {run.key}: {run.problem}"))
    else:
        print("no runs yet; nanochat demo makes one", file=sys.stderr)
    return Exit.OK


def _show(fleet: Fleet, run: RunRow, as_json: bool) -> int:
    if as_json:
        print(json.dumps(asdict(run), indent=1))
        return Exit.OK
    plan = f"{run.plan_name} ({run.plan_id})" if run.plan_name else ""
    facts = {
        "run": run.run_id,
        "name": run.name,
        "host": run.host,
        "stage": run.stage,
        "plan": plan,
        "status": run.status + (f", attempt {run.attempt}" if run.attempt > 1 else ""),
        "reason": run.reason,
        "problem": run.problem,
        "time": spent(run),
        "cost": cost_of(fleet, run),
        "done": percent(run.progress),
        "figures": figures(run),
        "options": " ".join(f"{name}={value}" for name, value in run.options.items()),
        "env": " ".join(run.env),
        "tags": " ".join(run.tags),
        "note": run.note,
        "argv": shlex.join(run.argv),
    }
    for name, value in facts.items():
        if value:
            print(f"{name:<8} {sanitize(str(value), 2000)}")
    for event in fleet.store.events(run.key, kinds=("alert", "eval", "checkpoint", "stage_end")):
        text = describe(event)
        if text:
            print(f"  {text}")
    return Exit.OK
