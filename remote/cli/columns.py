"""`nanochat runs ls --columns …`: any figure, option or metric as a column, in any order."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from remote.cli.printer import table
from remote.facts.money import told, total
from remote.facts.run_facts import RunFacts
from remote.filter.run_columns import RunColumn, Value, column_called, columns_called

if TYPE_CHECKING:
    from remote.fleet.fleet import Fleet
    from remote.runs import RunRow

MONEY = ("spent", "forecast")
USUAL = "id,name,host,status,done,result,time,created,note"
"""The columns where only an order is asked for."""


def add_column_options(ls: argparse.ArgumentParser) -> None:
    """Adds the options of `runs ls` that choose columns and their order."""
    ls.add_argument(
        "--columns",
        default="",
        metavar="A,B,…",
        help="these columns: name, spent, config.depth, val/bpb, best:val/bpb, …",
    )
    ls.add_argument("--sort", default="", metavar="COLUMN", help="by any column; runs without a value last")
    ls.add_argument("--reverse", action="store_true", help="the largest first")


def check_order(given: argparse.Namespace) -> None:
    """Raises `UserError` for an order without a column."""
    if getattr(given, "reverse", False) and not given.sort:
        raise UserError("--reverse turns the order of --sort around", "add --sort COLUMN")


async def list_columns(fleet: Fleet, rows: Sequence[RunRow], given: argparse.Namespace) -> int:
    """Prints `rows` with the columns and in the order asked for. Raises `UserError` for an unknown name."""
    facts = RunFacts()
    facts.set_hosts(await asyncio.to_thread(fleet.hosts.all))
    columns = columns_called((given.columns or USUAL).split(","), rows, facts)
    by = [column_called(given.sort, rows, facts)] if given.sort else []
    metrics = {column.metric for column in (*columns, *by) if column.metric}
    await asyncio.to_thread(facts.fill, fleet.store, rows, metrics)
    for column in by:
        rows = in_order(rows, column, given.reverse)
    if given.json:
        print(
            json.dumps(
                [{column.name: _json(column.value(run)) for column in columns} for run in rows], indent=1
            )
        )
        return Exit.OK
    print(
        table(
            [column.title for column in columns], [[column.text(run) for column in columns] for run in rows]
        )
    )
    if {column.name for column in columns} & set(MONEY):
        now = time.time()
        sum_of = total(facts.cost(run, now) for run in rows)
        print(sum_of or "no host has a price: nanochat hosts price NAME X", file=sys.stderr)
    return Exit.OK


def cost_of(fleet: Fleet, run: RunRow) -> str:
    """`$53.60 spent, $80.12 forecast`; empty where the run's host has no price. Blocks on the disk."""
    facts = RunFacts()
    facts.set_hosts(fleet.hosts.all())
    facts.fill(fleet.store, [run], ())
    return told(facts.cost(run, time.time()))


def in_order(rows: Sequence[RunRow], column: RunColumn, descending: bool) -> list[RunRow]:
    """`rows` by a column, numbers before texts, those without a value last in both directions."""
    found = [(column.value(run), run) for run in rows]
    numbers = [pair for pair in found if isinstance(pair[0], int | float)]
    texts = [pair for pair in found if isinstance(pair[0], str)]
    numbers.sort(key=lambda pair: float(pair[0] or 0), reverse=descending)
    texts.sort(key=lambda pair: str(pair[0]).lower(), reverse=descending)
    return [run for _, run in (*numbers, *texts, *(pair for pair in found if pair[0] is None))]


def _json(value: Value) -> Value:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
