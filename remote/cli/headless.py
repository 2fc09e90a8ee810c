"""`nanochat --no-tui PLAN`: what the control room would do, without it. Same plans, runs and store."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout, make_dir
from nanochat.common.text import number, sanitize
from nanochat.config.command_parser import Parser, command_parser, parse
from nanochat.config.plan import Plan, load_plan
from remote.cli.printer import GLYPHS, Printer, judged, make_printer, spent, table
from remote.run_summary import speed
from remote.runs import RunRow
from remote.store.summary import as_number

if TYPE_CHECKING:
    from remote.fleet.fleet import Fleet

_SAMPLES = 8
_SUBMITTING = 5.0


def parser() -> Parser:
    """The command line of headless mode."""
    made = command_parser(
        "nanochat --no-tui",
        "Run a plan without the control room, which can attach to it later.",
        epilog="Exit codes: 0 all stages succeeded, 1 a stage failed, 2 wrong usage or plan, "
        "3 host unreachable, 4 stopped by the user, 130 interrupted (the plan runs on).",
    )
    made.add_argument("plan", metavar="PLAN", help="a built-in plan, one of BASE/plans, or a TOML file")
    made.add_argument("--host", default="local", metavar="NAME", help="where to run it [local]")
    made.add_argument("--json", action="store_true", help="one event a line on standard output")
    made.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write a report at the end [as the plan says, else for plans of several stages]",
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="stage.option=value",
        help="override an option of the plan; may be given again",
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Runs a plan to its end and returns the exit code."""
    if not argv:
        raise UserError("nanochat --no-tui needs a PLAN", "for example: nanochat --no-tui demo")
    given, layout = parse(parser(), argv)
    plan = load_plan(given.plan, layout, given.set)
    make_dir(layout.base)
    if given.report is not None:
        plan = replace(plan, report=given.report)
    return asyncio.run(run_plan(layout, plan, given.host, make_printer(given.json), given.json))


async def run_plan(layout: Layout, plan: Plan, host: str, printer: Printer, as_json: bool = False) -> int:
    """Submits `plan` to `host`, watches it to its end, and sums up; returns the exit code.

    Raises `UserError` when nothing was started: no such host, unreachable, not ready for stages.
    """
    from remote.cli.watch import Interrupts, ask_host_key, watch
    from remote.fleet.fleet import Fleet
    from remote.fleet.submission import plan_ref, plan_requests

    fleet = Fleet(layout, ask_host_key=ask_host_key, warn=printer.note)
    try:
        await fleet.connect(host)
        await _check_ready(fleet, host)
        names = ", ".join(stage.id for stage in plan.stages)
        printer.note(f"plan {plan.name} on {host}: {names}")
        with Interrupts() as interrupts:
            starting = asyncio.create_task(
                fleet.launch(host, plan_requests(plan), plan_ref(plan.name), plan.pass_env)
            )
            if await interrupts.before(starting, keep=True):
                # Half a submission is worse than a late answer: it gets a few seconds to arrive.
                await asyncio.wait({starting}, timeout=_SUBMITTING)
            if not starting.done():
                starting.cancel()
                printer.note(f"interrupted while it was sent to {host}; see: nanochat runs ls --host {host}")
                return Exit.INTERRUPTED
            code = await watch(fleet, keys := starting.result(), printer, interrupts)
        if code != Exit.INTERRUPTED:
            rows = [row for key in keys if (row := fleet.store.run(key)) is not None]
            # With --json standard output carries events and nothing else.
            print(summary(rows), file=sys.stderr if as_json else sys.stdout)
            for line in [] if as_json else samples(fleet, rows):
                print(line)
            for row in rows:
                if row.status in ("failed", "lost"):
                    printer.note(await _why(fleet, row))
            if plan.wants_report:
                await _report(fleet, layout, keys, sys.stderr if as_json else sys.stdout)
        return code
    finally:
        await fleet.aclose()


async def _report(fleet: Fleet, layout: Layout, keys: Sequence[str], out: TextIO) -> None:
    """Writes the report of the runs and tells where; that it cannot be written is no failure of theirs."""
    from remote.report.make import make_report, where
    from remote.report.scope import of_runs

    try:
        written = await make_report(
            fleet, layout, lambda: of_runs(fleet.store.runs(), fleet.store, keys), ask=False
        )
    except UserError as error:
        print(f"nanochat: warning: no report: {error}", file=sys.stderr)
        return
    print("\n".join(["", *where(written)]), file=out)


async def _check_ready(fleet: Fleet, host: str) -> None:
    if host == "local":
        return
    probe = await fleet.probe(host)
    found = probe.interpreter
    if found is not None and not found.ok:
        raise UserError(
            f"host '{host}' cannot run stages: {sanitize(found.error, 300)}",
            f"install nanochat for {sanitize(found.path)} there, or name another Python: "
            f"nanochat hosts add {host} --replace --ssh … --python PATH",
        )


async def _why(fleet: Fleet, row: RunRow) -> str:
    """A failed run's reason, with the last line it printed when it gave none."""
    reason = row.reason
    if not reason:
        text, _, _ = await fleet.console(row.key, -4096, 4096)
        lines = [line for line in text.decode(errors="replace").splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit code {row.exit_code}"
    return f"{row.name} {row.status}: {sanitize(reason, 300)} (see: nanochat runs show {row.key})"


def summary(rows: Sequence[RunRow]) -> str:
    """The closing table: stage, status, duration, key figures."""
    cells = [
        (
            sanitize(row.name or row.stage, 30),
            f"{GLYPHS.get(row.status, ' ')} {row.status}",
            spent(row),
            _bpb(row),
            speed(row).text if speed(row).name == "tok/s" else "",
            _results(row),
        )
        for row in rows
    ]
    return table(("stage", "status", "time", "bpb", "tokens/s", "results"), cells)


def _bpb(row: RunRow) -> str:
    first, last = as_number(row.first.get("val/bpb")), as_number(row.latest.get("val/bpb"))
    if first is None or last is None:
        return ""
    return f"{number(first)} → {number(last)}" if first != last else number(last)


def _results(row: RunRow) -> str:
    shown = [sanitize(text, 60) for text in judged(row.results)[:4]]
    return ", ".join(shown) or sanitize(row.reason, 60)


def samples(fleet: Fleet, rows: Sequence[RunRow]) -> list[str]:
    """The newest sample of each prompt of each run, a line each, for the end of the report."""
    lines = []
    for row in rows:
        newest: dict[str, str] = {}
        for event in fleet.store.events(row.key, kinds=["sample"]):
            newest[str(event.data.get("prompt", ""))] = str(event.data.get("text", ""))
        chosen = [item for item in newest.items() if item[0]] or list(newest.items())
        lines += [f"  {sanitize(prompt, 60)} → {sanitize(text, 200)}" for prompt, text in chosen[:_SAMPLES]]
    return ["", "samples:", *lines] if lines else []
