"""How many plots a grid shows side by side and below each other."""

from __future__ import annotations

from math import ceil, log

from textual.geometry import Size

PLOT_WIDTH, PLOT_HEIGHT = 32, 8
"""The smallest plot that tells a curve, in cells with its title and labels."""
NARROWEST = 20
"""The smallest width that the columns chosen by key may give a plot."""
GOOD_SHAPE = 4.5
"""Width by height of a plot in cells that is read best, about 2:1 on the screen."""
MOST_COLUMNS = 4


def grid_shape(size: Size, count: int, columns: int = 0) -> tuple[int, int]:
    """(columns, rows) for `count` plots on `size` cells, with `columns` of them side by side where they fit.

    As many plots as fit; among the grids that show as many, the one whose plots are shaped best.
    """
    count = max(1, count)
    most_rows = max(1, size.height // PLOT_HEIGHT)

    def merit(columns: int) -> tuple[int, float]:
        rows = min(most_rows, ceil(count / columns))
        shape = size.width / columns / max(1, size.height / rows)
        return min(count, columns * rows), -abs(log(max(shape, 1e-3) / GOOD_SHAPE))

    if columns:
        best = min(columns, most_columns(size.width // NARROWEST, count))
    else:
        best = max(range(1, 1 + most_columns(size.width // PLOT_WIDTH, count)), key=merit)
    return best, max(1, min(most_rows, ceil(count / best)))


def most_columns(fitting: int, count: int) -> int:
    return max(1, min(MOST_COLUMNS, fitting, count))
