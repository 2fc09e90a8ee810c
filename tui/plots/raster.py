"""The only module that uses plotext: polylines of dots in, coloured braille (or ASCII) cells out.

plotext 6.1 has one global figure, aborts on a NaN and fills memory with lines that leave the canvas. So it
gets only integer dots inside the canvas, from one thread (`submit`), and draws only the canvas: ticks, axes
and marks are ours. plotext is imported at the first drawing, not for the app's first frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

Dot = tuple[int, int]
"""(column, row) of a dot, counted from the canvas's lower left corner."""

Run = tuple[str, int]
"""Characters of one role side by side; role -1 is the empty canvas."""

ASCII_MARKS = "*+xo#%@&"
_ROLE = re.compile(r"\x1b\[38;2;(\d+);(\d+);0m|\x1b\[0m|([^\x1b]+)")


@dataclass(frozen=True, slots=True)
class Polyline:
    """Dots joined by straight lines, or left single; `role` (0 … 65024) names the colour."""

    dots: Sequence[Dot]
    role: int
    joined: bool = True


def dots_per_cell(unicode: bool) -> tuple[int, int]:
    """Dots across and up in one cell: 2 × 4 in braille, 1 × 1 in ASCII."""
    return (2, 4) if unicode else (1, 1)


def rasterise(lines: Sequence[Polyline], width: int, height: int, *, unicode: bool = True) -> list[list[Run]]:
    """Draw `lines` in order, later over earlier, on width × height cells; runs per row, top row first.

    Raises ValueError for a dot outside the canvas: plotext would use memory without bound for it.
    Must only be called from the plot thread.
    """
    across, up = dots_per_cell(unicode)
    for line in lines:
        for column, row in line.dots:
            if not (0 <= column < across * width and 0 <= row < up * height):
                raise ValueError(f"dot ({column}, {row}) lies outside a canvas of {width}×{height} cells")
    plotext, figure = _figure()
    figure.clear.data()
    figure.plot_size(width, height)
    figure.ruler("x", "lower").lim(0, width)
    figure.ruler("y", "left").lim(0, height)
    for line in lines:
        if not line.dots:
            continue
        symbol = "braille" if unicode else ASCII_MARKS[line.role % len(ASCII_MARKS)]
        marker = plotext.marker(symbol, (1 + line.role % 255, line.role // 255, 0))
        xs = [(column + 0.5) / across for column, _ in line.dots]
        ys = [(row + 0.5) / up for _, row in line.dots]
        figure.draw(figure.signal(xs, ys, marker=marker).lines(line.joined))
    return [_runs(text) for text in figure.build().string().split("\n")[:height]]


def _runs(text: str) -> list[Run]:
    runs: list[Run] = []
    role = -1
    for match in _ROLE.finditer(text):
        red, green, characters = match.groups()
        if characters:
            runs.append((characters, role))
        else:
            role = int(red) - 1 + 255 * int(green) if red else -1
    return runs


class _Figure(Protocol):
    clear: Any

    def plot_size(self, width: int, height: int) -> object: ...
    def ruler(self, axis: str, side: str) -> Any: ...
    def signal(self, x: Sequence[float], y: Sequence[float], *, marker: object) -> Any: ...
    def draw(self, signal: object) -> object: ...
    def build(self) -> Any: ...


@lru_cache(maxsize=1)
def _figure() -> tuple[Any, _Figure]:
    """plotext and its figure, stripped to a bare canvas whose limits are the cells' outer edges."""
    import plotext

    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear.all()
    figure.axes(False)
    figure.legend(False)
    figure.canvas("default")
    figure.ruler("both", "both").ticks([], []).alignment(lim="edge")
    return plotext, cast(_Figure, figure)


def load() -> None:
    """Loads plotext, on the plot thread, before something is to be drawn."""
    _figure()


_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="plot")


def submit(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Run `function` on the plot thread, the owner of the figure and of every series; jobs keep order."""
    return _thread.submit(function, *args, **kwargs)
