"""A run's table in a file: CSV or parquet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.new_file import new_file

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("csv", "parquet")


def format_of(path: Path, asked: str = "") -> str:
    """The format asked for, else the one that the file's name ends in, else CSV.

    Raises `UserError` where the name says another one than what is asked for.
    """
    named = path.suffix.removeprefix(".").lower()
    if asked and named in FORMATS and named != asked:
        raise UserError(f"{path.name} ends in .{named}, but --format is {asked}", "leave one of them out")
    return asked or (named if named in FORMATS else FORMATS[0])


def write_run(table: pa.Table, path: Path, form: str, replace: bool = False) -> int:
    """Writes a table to a new file and returns its size in bytes.

    Raises `UserError` in one line, and leaves nothing behind, where that cannot be: see `new_file`.
    """
    import pyarrow.parquet

    with new_file(path, replace) as temp:
        if form == "parquet":
            pyarrow.parquet.write_table(table, temp, compression="zstd")
        else:
            _write_csv(table, temp)
        return temp.stat().st_size


def print_run(table: pa.Table) -> None:
    """Writes a table as CSV to standard output."""
    sys.stdout.flush()
    _write_csv(table, sys.stdout.buffer)


def _write_csv(table: pa.Table, out: object) -> None:
    import pyarrow.csv

    pyarrow.csv.write_csv(_plain(table), out, pyarrow.csv.WriteOptions(quoting_style="needed"))


def _plain(table: pa.Table) -> pa.Table:
    """The table with nothing in it that CSV has no form of: dictionaries are their texts."""
    import pyarrow as pa

    for at, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(at, column.name, table.column(at).cast(column.type.value_type))
    return table
