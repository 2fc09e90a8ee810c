"""Tables for programs and documents: Markdown, and csv as RFC 4180 has it. Foreign text is cleaned."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from nanochat.common.text import sanitize

_MARKUP = re.compile(r"([\\`*{}\[\]<>|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
"""An underscore between letters or digits is no markup: `base_train` stays readable as it is."""

_ROWS = 1_000


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A GitHub-flavoured table; columns whose cells are all numbers, or empty, are aligned to the right."""
    body = [[sanitize(cell, 200) for cell in row] for row in rows]
    right = [bool(body) and all(_is_number(row[i]) for row in body) for i in range(len(header))]
    cells = [[_MARKUP.sub(r"\\\1", cell) for cell in row] for row in [list(header), *body]]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    lines = [_line(row, widths, right) for row in cells]
    rule = [
        "-" * (width - 1) + (":" if to_right else "-") for width, to_right in zip(widths, right, strict=True)
    ]
    return "\n".join([lines[0], _line(rule, widths, right), *lines[1:]]) + "\n"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Comma-separated values with a header; None is an empty cell, a float as short as it reads back exactly.

    A text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return buffer.getvalue()


def csv_pieces(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """`csv_text` in pieces of some rows, between which other threads go on."""
    yield csv_text(header, ())
    left = iter(rows)
    while part := list(islice(left, _ROWS)):
        yield csv_text((), part).removeprefix("\n")


def _cell(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    text = sanitize(str(value))
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) and not _is_number(text) else text


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(row, widths, right, strict=True)
    ]
    return f"| {' | '.join(cells)} |"


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "").rstrip("%") or 0)
    except ValueError:
        return False
    return True
