"""A comparison of runs as tables: for a terminal, in Markdown, or all of it as one csv table."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from nanochat.common.table_formats import csv_text, markdown
from nanochat.common.text import sanitize
from remote.cli.printer import table
from remote.comparison.comparison import Comparison, gap_lines
from remote.comparison.figures import (
    NOTHING,
    RUN_HEADER,
    block_title,
    difference_text,
    gap_at,
    metric_cells,
    metric_header,
    place_text,
    run_cells,
    short_titles,
)
from remote.comparison.table import Block, Columns

GAP_LISTED = 21
"""Places at which a table lists a gap: every twentieth of its range."""


def text_document(
    comparison: Comparison,
    columns: Columns,
    blocks: Sequence[Block],
    gaps: Sequence[str],
    told: Sequence[str],
    *,
    differences: bool = False,
    md: bool = False,
) -> str:
    """Tables with headings, for a terminal or in Markdown."""
    draw = markdown if md else _plain_table
    head = "## " if md else ""
    parts = [draw(RUN_HEADER, run_cells(comparison, time.time()))]
    parts += ["".join(f"{'- ' if md else '⚠ '}{sanitize(line)}\n" for line in told)] if told else []
    rows = [one for one in comparison.settings if one.differs or not differences]
    letters = [comparison.letter(at) for at in range(len(comparison.names))]
    title = "settings that differ" if differences else "settings (≠: they differ)"
    cells = [["≠" if one.differs else "", one.section, one.name, *one.shown()] for one in rows]
    parts.append(f"{head}{title}\n")
    parts.append(draw(["", "section", "setting", *letters], cells) if cells else "none\n")
    for block in blocks:
        if block.rows:
            parts.append(f"{head}metrics {block_title(block, columns.axis)}\n")
            cells = [metric_cells(row, block, columns) for row in block.rows]
            parts.append(draw(metric_header(comparison, columns), cells))
    names = short_titles(comparison, columns)
    for metric in gaps:
        lines = gap_lines(columns, metric)
        for other, line in zip(names[1:], lines, strict=True):
            listed = [[place_text(x, columns.axis), difference_text(y)] for x, y in gap_at(line, GAP_LISTED)]
            parts.append(f"{head}{metric}: {other} - {names[0]}\n")
            parts.append(draw(["at", "gap"], listed) if listed else "their ranges do not overlap\n")
    return "\n".join(parts)


def _plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(list(header), [list(row) for row in rows]) + "\n"


def csv_document(
    comparison: Comparison,
    columns: Columns,
    blocks: Sequence[Block],
    gaps: Sequence[str],
    *,
    differences: bool = False,
) -> str:
    """Everything as one table: section, name, place, then a column a run or group."""
    runs = [facts.run for facts in comparison.facts]
    if len(columns.groups) == len(runs):
        titles = [run.key for run in runs]
    else:
        titles = short_titles(comparison, columns)
    rows: list[list[object]] = []
    for one in comparison.settings:
        if differences and not one.differs:
            continue
        values = [_setting([one.values[at] for at in group.members]) for group in columns.groups]
        rows.append([f"{one.section}{' ≠' if one.differs else ''}", one.name, None, *values])
    for block in blocks:
        for row in block.rows:
            at = None if block.place == "end" else row.at
            values = [None if cell is None else cell.value for cell in row.cells]
            rows.append([f"metric {block.place}", row.metric, at, *values])
    for metric in gaps:
        for number, line in enumerate(gap_lines(columns, metric), 1):
            blank: list[object] = [None] * len(columns.groups)
            for x, y in gap_at(line):
                rows.append([f"gap to {titles[0]}", metric, x, *blank[:number], y, *blank[number + 1 :]])
    return csv_text(["section", "name", "at", *titles], rows)


def _setting(values: Sequence[object]) -> object:
    """The setting of a column's runs: one value where all are equal, else that of each, `1 | 2 | –`."""
    cells = [_plain(value) for value in values]
    if len({repr(cell) for cell in cells}) == 1:
        return cells[0]
    return " | ".join(NOTHING if cell is None else str(cell) for cell in cells)


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, default=str)
