"""From column minima and maxima to dots: scaling, clipping, and the polylines that draw a series."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tui.plots.points import Columns
from tui.plots.raster import Dot, Polyline

Point = tuple[float, float]
"""(column, row) in dots from the lower left corner of the canvas, not yet rounded."""


@dataclass(frozen=True, slots=True)
class Band:
    """A canvas of `columns` × `rows` dots that shows the values within `y`, on a log scale when asked."""

    columns: int
    rows: int
    y: tuple[float, float]
    log: bool = False

    def row(self, value: float) -> float:
        """The height of a value in dots from the bottom; outside [0, rows] when outside the limits."""
        low, high = self.y
        if self.log:
            if value <= 0:
                return -math.inf
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return (value - low) / (high - low) * self.rows

    def dot(self, point: Point) -> Dot:
        """The dot that holds a point of the canvas; its upper and right edges belong to the last dots."""
        column, row = point
        # A value on a tick lies between two dots: rounding must not put it below the gridline.
        return min(self.columns - 1, max(0, int(column))), min(self.rows - 1, max(0, int(row + 1e-6)))


def polylines(
    columns: Columns, band: Band, role: int, *, before: float | None, after: float | None, joined: bool = True
) -> list[Polyline]:
    """The lines that draw a shrunk series: through first, low, high and last of each column, cut at gaps.

    `before` and `after` are the columns, in dots, of the neighbours outside the x limits; None for no line.
    """
    if not joined:
        kept = {dot for point in _single(columns, band) if (dot := _inside(point, band))}
        return [Polyline(sorted(kept), role, joined=False)]
    lines = []
    for path in paths(columns, band, before, after):
        for clipped in clip(path, band.columns, band.rows):
            dots = list(_without_repeats(band.dot(point) for point in clipped))
            lines.append(Polyline(dots, role, joined=len(dots) > 1))
    return lines


def _single(columns: Columns, band: Band) -> Iterator[Point]:
    for column, low, high in zip(columns.column, columns.low, columns.high, strict=True):
        yield column + 0.5, band.row(low)
        yield column + 0.5, band.row(high)


def _inside(point: Point, band: Band) -> Dot | None:
    return band.dot(point) if 0 <= point[1] <= band.rows else None


def paths(columns: Columns, band: Band, before: float | None, after: float | None) -> Iterator[list[Point]]:
    """The lines through first, low, high and last of each column, cut at gaps, not yet clipped."""
    path: list[Point] = []
    if columns.before is not None and before is not None and not (columns.broken and columns.broken[0]):
        path.append((before, band.row(columns.before[1])))
    parts = (columns.column, columns.first, columns.low, columns.high, columns.last, columns.broken)
    for column, first, low, high, last, broken in zip(*parts, strict=True):
        if broken and path:
            yield path
            path = []
        x = column + 0.5
        if low == high:
            path.append((x, band.row(first)))
        else:
            path.extend((x, band.row(value)) for value in (first, low, high, last))
    if columns.after is not None and after is not None:
        path.append((after, band.row(columns.after[1])))
    if path:
        yield path


def _without_repeats(dots: Iterable[Dot]) -> Iterator[Dot]:
    previous = None
    for dot in dots:
        if dot != previous:
            yield dot
        previous = dot


def clip(path: list[Point], width: float, height: float) -> list[list[Point]]:
    """The parts of a polyline that lie within [0, width] × [0, height]; a lone point counts as a part."""
    if all(0 <= x <= width and 0 <= y <= height for x, y in path):
        return [path]
    if len(path) == 1:
        return []
    parts: list[list[Point]] = []
    end: Point | None = None
    for start, stop in pairwise(path):
        piece = _clip_segment(start, stop, width, height)
        if piece is None:
            end = None
            continue
        if end != start or piece[0] != start:
            parts.append([piece[0]])
        parts[-1].append(piece[1])
        end = piece[1]
    return parts


def _clip_segment(start: Point, stop: Point, width: float, height: float) -> tuple[Point, Point] | None:
    """Liang and Barsky's parametric clipping (ACM TOG 1984)."""
    (x, y), (dx, dy) = start, (stop[0] - start[0], stop[1] - start[1])
    if not (math.isfinite(dx) and math.isfinite(dy)):
        return None
    enter, leave = 0.0, 1.0
    for towards, room in ((-dx, x), (dx, width - x), (-dy, y), (dy, height - y)):
        if towards == 0:
            if room < 0:
                return None
        elif towards < 0:
            enter = max(enter, room / towards)
        else:
            leave = min(leave, room / towards)
    if enter > leave:
        return None
    first = start if enter == 0 else (x + enter * dx, y + enter * dy)
    last = stop if leave == 1 else (x + leave * dx, y + leave * dy)
    return first, last
