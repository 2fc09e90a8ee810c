"""What a picture is made of: a few kinds of shapes in pixels, from which both SVG and PNG are written."""

from __future__ import annotations

from dataclasses import dataclass, field

Point = tuple[float, float]
"""(x, y) in pixels from the upper left corner."""


@dataclass(frozen=True, slots=True)
class Line:
    """A polyline. `dash` is the length of dashes and gaps, 0 for none."""

    points: tuple[Point, ...]
    colour: str
    width: float = 1.0
    dash: float = 0.0


@dataclass(frozen=True, slots=True)
class Dots:
    """Small discs of one colour."""

    centres: tuple[Point, ...]
    colour: str
    radius: float


@dataclass(frozen=True, slots=True)
class Polygon:
    """A filled shape."""

    points: tuple[Point, ...]
    colour: str


@dataclass(frozen=True, slots=True)
class Text:
    """Text `width` pixels wide whose left end is at `x`, on the baseline `y`, in a font of fixed width."""

    x: float
    y: float
    text: str
    colour: str
    width: float
    bold: bool = False


Shape = Line | Dots | Polygon | Text


@dataclass(slots=True)
class Drawing:
    """A picture in pixels; shapes are drawn in order, later over earlier. Colours are `#rrggbb`."""

    width: float
    height: float
    background: str
    font_size: float
    title: str = ""
    shapes: list[Shape] = field(default_factory=list)
