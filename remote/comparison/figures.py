"""The figures of a comparison as rows of text and as a document: the same on screen and in the command."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nanochat.common.text import duration, number, short, when
from remote.comparison.comparison import Comparison, gap_lines
from remote.comparison.lines import BANDS, Line
from remote.comparison.table import Block, Cell, Columns, Row
from remote.key_metric import key_figure
from remote.metrics import evaluated

NOTHING = "–"
GAP_POINTS = 100
"""Places at which a gap is listed: evenly spaced over the common range."""


def place_text(at: float | None, axis: str) -> str:
    """A place on an axis: `step 149`, `1.20M tokens`, `3.2e21 FLOPs`, `2h14m`; empty for none."""
    if at is None or not math.isfinite(at):
        return ""
    if axis == "step":
        return f"step {at:,.0f}" if at == round(at) else f"step {at:,.1f}"
    return duration(at) if axis == "active time" else f"{short(at)} {axis}"


def cell_text(cell: Cell | None, metric: str, *, grouped: bool = False, kind: str = "range") -> str:
    """A value as a table shows it; `≈` before an evaluation that was interpolated between two."""
    if cell is None:
        return NOTHING
    mark = "≈" if cell.interpolated and evaluated(metric) else ""
    text = mark + number(cell.value)
    if not grouped or cell.count < 2:
        return text
    if kind == "stderr":
        return f"{text} ±{number((cell.high - cell.low) / 2)}"
    return f"{text} [{number(cell.low)}–{number(cell.high)}]"


def difference_text(value: float | None) -> str:
    """A difference with its sign."""
    if value is None:
        return ""
    return f"{'+' if value > 0 else ''}{number(value)}" if value else "0"


def block_title(block: Block, axis: str) -> str:
    """What the rows of a block are of."""
    if block.place == "common":
        at = place_text(block.at, axis)
        return f"at the last common point{f': {at}' if at else ''}"
    return "where each run ends" if block.place == "end" else f"at {place_text(block.at, axis)}"


def column_titles(comparison: Comparison, columns: Columns) -> list[str]:
    """What stands over each column: the run's letter and name, or the group's."""
    return [
        f"{comparison.letter(group.members[0])} {group.name}" if len(group.members) == 1 else group.name
        for group in columns.groups
    ]


def short_titles(comparison: Comparison, columns: Columns) -> list[str]:
    """The letters of each column's runs: `A`, `BCD`."""
    return ["".join(comparison.letter(at) for at in group.members) for group in columns.groups]


def metric_header(comparison: Comparison, columns: Columns) -> list[str]:
    """The titles of `metric_cells`."""
    letters = short_titles(comparison, columns)
    return [
        "metric",
        "at",
        *column_titles(comparison, columns),
        *(f"{one} - {letters[0]}" for one in letters[1:]),
    ]


def metric_cells(row: Row, block: Block, columns: Columns) -> list[str]:
    """One row of a block as text: metric, place, a value a column, its difference to the first column."""
    grouped = any(len(group.members) > 1 for group in columns.groups)
    values = [cell_text(cell, row.metric, grouped=grouped, kind=columns.band) for cell in row.cells]
    told = row.differences[1:] if block.place != "end" else (None,) * (len(row.cells) - 1)
    at = "" if block.place == "end" else place_text(row.at, columns.axis)
    return [row.metric, at, *values, *map(difference_text, told)]


def run_cells(comparison: Comparison, now: float) -> list[list[str]]:
    """A line a run: letter, name, id, stage, status, steps, result, when it was made."""
    return [
        [
            comparison.letter(at),
            name,
            facts.run.key,
            facts.run.stage,
            facts.run.status,
            f"{facts.run.step:,}" if facts.run.step is not None else "",
            str(key_figure(facts.run)),
            when(facts.run.created_at, now),
        ]
        for at, (facts, name) in enumerate(zip(comparison.facts, comparison.names, strict=True))
    ]


RUN_HEADER = ("", "name", "run", "stage", "status", "step", "result", "created")


def gap_at(line: Line, points: int = GAP_POINTS) -> list[tuple[float, float]]:
    """A gap at evenly spaced places of its range, both ends included."""
    if not len(line):
        return []
    places = np.linspace(line.first, line.last, points) if line.last > line.first else line.x[-1:]
    return [(float(x), float(y)) for x, y in zip(places, np.interp(places, line.x, line.y), strict=True)]


def document(
    comparison: Comparison,
    columns: Columns,
    blocks: Sequence[Block],
    gaps: Sequence[str],
    notes: Sequence[str],
    *,
    differences: bool = False,
) -> dict[str, Any]:
    """All of it for programs; numbers in full, absent ones null. `differences`: only settings that differ."""
    letters = short_titles(comparison, columns)
    return {
        "runs": [
            {
                "letter": comparison.letter(at),
                "name": comparison.names[at],
                "run": facts.run.key,
                "stage": facts.run.stage,
                "status": facts.run.status,
                "step": facts.run.step,
                "code": dict(facts.run.code),
            }
            for at, facts in enumerate(comparison.facts)
        ],
        "axis": columns.axis,
        "columns": [
            {
                "letters": letters[at],
                "name": group.name,
                "runs": [comparison.facts[i].run.key for i in group.members],
            }
            for at, group in enumerate(columns.groups)
        ],
        "band": BANDS[columns.band],
        "settings": [
            {"section": one.section, "name": one.name, "values": list(one.values), "differs": one.differs}
            for one in comparison.settings
            if one.differs or not differences
        ],
        "metrics": [
            {
                "place": block.place,
                "at": None if block.place == "end" else row.at,
                "metric": row.metric,
                "values": [None if cell is None else _cell(cell) for cell in row.cells],
                "differences": [None] * len(row.cells) if block.place == "end" else list(row.differences),
            }
            for block in blocks
            for row in block.rows
        ],
        "gaps": [
            {"metric": metric, "base": letters[0], "other": other, "points": gap_at(line)}
            for metric in gaps
            for other, line in zip(letters[1:], gap_lines(columns, metric), strict=True)
        ],
        "notes": list(notes),
    }


def _cell(cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = {"value": cell.value, "interpolated": cell.interpolated}
    if cell.raw is not None:
        found["raw"] = cell.raw
    return found if cell.count < 2 else {**found, "low": cell.low, "high": cell.high, "count": cell.count}
