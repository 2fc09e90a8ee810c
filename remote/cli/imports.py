"""`nanochat import PATH…`: runs of upstream nanochat, W&B and TensorBoard as runs of ours."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit
from nanochat.common.paths import make_dir
from nanochat.common.text import amount, sanitize
from nanochat.config.command_parser import Parser, command_parser, parse
from remote.cli.printer import GLYPHS, Printer, make_printer
from remote.runs import LIVE, split_key

if TYPE_CHECKING:
    from remote.fleet.fleet import Fleet
    from remote.fleet.imports import Imported, ImportedLog

_LOOK = 1.0


def parser() -> Parser:
    """The command line."""
    made = command_parser(
        "nanochat import",
        "Make runs of what other programs have logged; nothing of the original is changed.",
        epilog="PATH is a console log of upstream nanochat (of either era, of one program or of several), a "
        ".wandb file or a folder of W&B's, a table of a run's history (CSV, JSON lines), TensorBoard's event "
        "files or their folder, or a base directory of upstream's. One imported before is read on.",
    )
    made.add_argument("paths", nargs="+", metavar="PATH", help="a log or a folder, on the host")
    made.add_argument("--follow", action="store_true", help="read on as the log grows; ctrl+c leaves it so")
    made.add_argument("--host", default="local", metavar="NAME", help="where the log is [local]")
    made.add_argument("--json", action="store_true", help="what became of each log, as one JSON document")
    return made


def main(argv: Sequence[str]) -> int:
    """Imports, and with `--follow` watches what comes of it; returns the exit code."""
    given, layout = parse(parser(), argv)
    make_dir(layout.base)

    async def run() -> int:
        from remote.cli.watch import ask_host_key
        from remote.fleet.fleet import Fleet

        fleet = Fleet(layout, ask_host_key=ask_host_key, warn=_warn)
        try:
            await fleet.connect(given.host)
            found = await fleet.imports.take(given.host, given.paths, given.follow)
            tell(found, given.json)
            if given.follow and found.logs:
                return await _follow(fleet, given.host, given.paths, found, make_printer(given.json))
            return Exit.FAILED if found.problems else Exit.OK
        finally:
            await fleet.aclose()

    return asyncio.run(run())


def tell(found: Imported, as_json: bool) -> None:
    """Prints what became of each log. With `as_json` problems go to standard error all the same."""
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        for log in found.logs:
            for line in lines_of(log):
                print(sanitize(line, 2000))
    for problem in found.problems:
        print(f"nanochat: error: {problem}", file=sys.stderr)


def lines_of(log: ImportedLog) -> list[str]:
    """What to say of one log: a line for it and one for each of its runs."""
    fresh = sum(run.new_events for run in log.runs)
    where = f"{log.path}: {log.kind}"
    if log.known:
        copy = f" (as {log.of})" if log.of != log.path else ""
        where += f", imported before{copy}: " + (f"{amount(fresh, 'new event')}" if fresh else "nothing new")
    if not log.runs:
        where += ", no figures in it yet: a run appears with the first ones"
    lines = [where]
    for run in log.runs:
        attempts = f", {run.attempts} attempts" if run.attempts > 1 else ""
        reason = f": {run.reason}" if run.reason else ""
        name = split_key(run.key)[1]
        lines.append(
            f"  {GLYPHS.get(run.status, ' ')} {name}  {amount(run.events, 'event')}{attempts}, "
            f"{run.status}{reason}"
        )
    if log.passed_over:
        lines.append(
            f"  {amount(log.passed_over, 'row')} could not be read and {_was(log.passed_over)} left out"
        )
    if log.problem and not log.runs:
        lines.append(f"  {log.problem}")
    return lines


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


async def _follow(fleet: Fleet, host: str, paths: Sequence[str], found: Imported, printer: Printer) -> int:
    """Watches the runs that are live, and those that begin in the same logs later, to their end or ctrl+c."""
    from remote.cli.watch import Interrupts, Watch

    try:
        with Interrupts() as interrupts:
            while True:
                live = [run.key for log in found.logs for run in log.runs if run.status in LIVE]
                waits = any(not log.runs for log in found.logs)
                if not live and not waits:
                    return Exit.OK
                task = asyncio.create_task(
                    Watch(fleet, live, printer).run() if live else asyncio.sleep(_LOOK)
                )
                if await interrupts.before(task):
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    _leave(live, printer)
                    return Exit.INTERRUPTED
                task.result()
                found = await fleet.imports.take(host, paths, follow=True)
    finally:
        printer.close()


def _leave(live: Sequence[str], printer: Printer) -> None:
    said = "the log is still followed while the control room, or any command, watches its host"
    if live:
        said += f"; to end that: nanochat runs stop {split_key(live[-1])[1]}"
    printer.note(said)


def _warn(text: str) -> None:
    print(f"nanochat: warning: {text}", file=sys.stderr)
