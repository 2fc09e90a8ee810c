"""`nanochat runs export RUN`: everything that a run measured, as CSV or parquet."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.new_file import check_new
from nanochat.common.paths import expanded
from nanochat.common.text import amount, size_bytes
from remote.export.run_file import FORMATS, format_of, print_run, write_run
from remote.export.run_table import run_table
from remote.run_summary import reading

if TYPE_CHECKING:
    from nanochat.config.command_parser import Parser
    from remote.runs import RunRow
    from remote.store.store import Store

STANDARD_OUTPUT = "-"


def add_export_parser(words: argparse._SubParsersAction[Parser]) -> None:
    """Adds the sub-command."""
    export = words.add_parser("export", help="every point of a run as CSV or parquet, a row per event")
    export.add_argument("--format", default="", choices=FORMATS, help="as FILE's name says, else csv")
    export.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="only this metric: train/loss, loss, or a pattern such as 'train/*'; may be given again [all]",
    )
    export.add_argument("--long", action="store_true", help="a row per value: columns metric and value")
    export.add_argument(
        "--superseded",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="points that a later attempt redid too, marked in the column superseded [yes]",
    )
    export.add_argument(
        "-o", "--out", default="", metavar="FILE", help="[RUN.csv here]; - is standard output"
    )
    export.add_argument("--replace", action="store_true", help="replace FILE where it is there already")


async def export(store: Store, run: RunRow, given: argparse.Namespace) -> int:
    """Answers `runs export` for the run that it names."""
    to_stdout = given.out == STANDARD_OUTPUT
    path = expanded(given.out or f"{run.run_id}.{given.format or FORMATS[0]}")
    form = format_of(path, given.format)
    if to_stdout and form != FORMATS[0]:
        raise UserError("only CSV can be written to standard output", "give a file with -o")
    if not to_stdout:
        await asyncio.to_thread(check_new, path, given.replace, "name another with -o, or add --replace")
    if run.partial:
        print(f"nanochat: warning: {reading(run)}: only that is written", file=sys.stderr)
    table = await asyncio.to_thread(
        run_table, store, run, given.metric, long=given.long, superseded=given.superseded
    )
    if to_stdout:
        print_run(table)
        return Exit.OK
    size = await asyncio.to_thread(write_run, table, path, form, given.replace)
    print(written(path, table.num_rows, size))
    return Exit.OK


def written(path: Path, rows: int, size: int) -> str:
    """What was written, in words."""
    return f"wrote {path}: {amount(rows, 'row')}, {size_bytes(size)}"
