"""The marks of a plot as shapes, so that they look the same whatever fonts a viewer has."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tui.plots.export.drawing import Line, Point, Polygon, Shape
from tui.plots.layout import UNICODE

STAR, TRIANGLE, CROSS = 9.0, 6.0, 5.0
"""Sizes in pixels, from the centre to the outermost point."""


def sign(glyph: str, at: Point, colour: str) -> Iterator[Shape]:
    """The shape of one of the marks of `UNICODE` at a point; nothing for one that is not drawn."""
    x, y = at
    if glyph == UNICODE.best:
        yield Polygon(_star(x, y), colour)
    elif glyph in (UNICODE.alert, UNICODE.above):
        yield Polygon(((x, y - TRIANGLE), (x + TRIANGLE, y + TRIANGLE), (x - TRIANGLE, y + TRIANGLE)), colour)
    elif glyph == UNICODE.below:
        yield Polygon(((x, y + TRIANGLE), (x + TRIANGLE, y - TRIANGLE), (x - TRIANGLE, y - TRIANGLE)), colour)
    elif glyph == UNICODE.broken:
        yield Line(((x - CROSS, y - CROSS), (x + CROSS, y + CROSS)), colour, 2.5)
        yield Line(((x - CROSS, y + CROSS), (x + CROSS, y - CROSS)), colour, 2.5)


def _star(x: float, y: float) -> tuple[Point, ...]:
    corners = []
    for corner in range(10):
        angle = math.pi * corner / 5
        radius = STAR if corner % 2 == 0 else 0.42 * STAR
        corners.append((x + radius * math.sin(angle), y - radius * math.cos(angle)))
    return tuple(corners)
