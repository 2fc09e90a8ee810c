"""What a bench prints: a line a figure, with its bar at the right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Row = tuple[str, str, str]
"""What was measured, the figure, and the bar that it is to meet ("" for none)."""
GAP = 2


def report(title: str, rows: Iterable[Row]) -> Iterator[str]:
    """The lines of a table under `title`, its columns as wide as what stands in them."""
    table = [(title, "", "bar"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    for what, figure, bar in table:
        line = f"{what:<{widths[0]}}{figure:>{widths[1] + GAP}}{bar:>{widths[2] + GAP}}"
        yield line.rstrip()
