"""A terminal's screen as a small SVG, still or moving: text, no font files, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

CELL = 8
LINE = 16
BASELINE = 12
MARGIN = 8
WORDS = re.compile(r"\S+(?: \S+)*")
"""Words with one space between them: more would be taken for one by what draws the picture."""
FONT = "ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"


@dataclass(frozen=True)
class Run:
    """Cells of one style next to each other: their column, their text, their two colours and weight."""

    at: int
    text: str
    ink: str
    ground: str
    bold: bool = False
    underline: bool = False

    @property
    def cells(self) -> int:
        return cell_len(self.text)


Row = tuple[Run, ...]
Picture = tuple[Row, ...]
"""A screen, row by row."""


def row(segments: Iterable[Segment], ink: str, ground: str) -> Row:
    """The runs of a line of segments; `ink` and `ground` are the screen's own colours."""
    found: list[Run] = []
    at = 0
    for text, style, control in segments:
        if control or not text:
            continue
        style = style or Style.null()
        fore, back = _hex(style.color, ink), _hex(style.bgcolor, ground)
        if style.reverse:
            fore, back = back, fore
        run = Run(at, text, fore, back, bool(style.bold), bool(style.underline))
        last = found[-1] if found else None
        same = last is not None and (last.ink, last.ground, last.bold, last.underline) == (
            (fore if text.strip() else last.ink),
            back,
            run.bold,
            run.underline,
        )
        if last is not None and same:
            found[-1] = Run(last.at, last.text + text, last.ink, back, run.bold, run.underline)
        else:
            found.append(run)
        at += run.cells
    return tuple(found)


def _hex(colour: Color | None, default: str) -> str:
    if colour is None or colour.is_default:
        return default.lower()
    return colour.get_truecolor().hex


class _Classes:
    """The styles that are used, each with a short class."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def of(self, rules: str) -> str:
        return self.names.setdefault(rules, f"c{len(self.names)}")

    def css(self) -> str:
        return "".join(f".{name}{{{rules}}}" for rules, name in self.names.items())


def _drawn(row: Row, y: int, ground: str, classes: _Classes) -> str:
    """A row as rectangles and texts; `y` is the number of the row."""
    ground = ground.lower()
    parts = []
    for _, runs in groupby(row, lambda run: run.ground):
        side = [*runs]
        first, last = side[0], side[-1]
        if first.ground != ground:
            name = classes.of(f"fill:{first.ground}")
            x, width = first.at * CELL, (last.at + last.cells - first.at) * CELL
            parts.append(f'<rect class="{name}" x="{x}" y="{y * LINE}" width="{width}" height="{LINE}"/>')
    for run in row:
        rules = f"fill:{run.ink}" + (";font-weight:700" if run.bold else "")
        rules += ";text-decoration:underline" if run.underline else ""
        for word in WORDS.finditer(run.text):
            x, length = (run.at + cell_len(run.text[: word.start()])) * CELL, cell_len(word[0]) * CELL
            place = f'x="{x}" y="{y * LINE + BASELINE}" textLength="{length}"'
            parts.append(f'<text class="{classes.of(rules)}" {place}>{escape(word[0])}</text>')
    return "".join(parts)


def _whole(body: str, css: str, columns: int, rows: int, ground: str) -> str:
    width, height = columns * CELL + 2 * MARGIN, rows * LINE + 2 * MARGIN
    box = f'viewBox="{-MARGIN} {-MARGIN} {width} {height}" width="{width}" height="{height}"'
    frame = f'x="{-MARGIN}" y="{-MARGIN}" width="{width}" height="{height}" rx="8" fill="{ground}"'
    style = f"text{{font:13.3px {FONT}}}{css}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}><style>{style}</style><rect {frame}/>{body}</svg>\n'
    )


def still(picture: Picture, columns: int, ground: str) -> str:
    """One screen."""
    classes = _Classes()
    body = "".join(_drawn(row, y, ground, classes) for y, row in enumerate(picture))
    return _whole(body, classes.css(), columns, len(picture), ground)


def moving(frames: Sequence[tuple[Picture, float]], columns: int, ground: str) -> str:
    """Screens one after the other, again and again, each for some seconds. A row that stays is drawn once."""
    total = sum(seconds for _, seconds in frames)
    starts = [sum(seconds for _, seconds in frames[:index]) for index in range(len(frames) + 1)]
    classes = _Classes()
    times: dict[tuple[int, int], str] = {}
    body = []
    for y in range(len(frames[0][0])):
        first = 0
        for index in range(1, len(frames) + 1):
            if index < len(frames) and frames[index][0][y] == frames[first][0][y]:
                continue
            drawn = _drawn(frames[first][0][y], y, ground, classes)
            if drawn and (first, index) == (0, len(frames)):
                body.append(drawn)
            elif drawn:
                name = times.setdefault((first, index), f"t{len(times)}")
                body.append(f'<g class="{name}">{drawn}</g>')
            first = index
    css = [classes.css()]
    for (first, last), name in times.items():
        seen = {0.0: "hidden", 100 * starts[first] / total: "visible", 100 * starts[last] / total: "hidden"}
        points = "".join(f"{at:.3f}%{{visibility:{value}}}" for at, value in sorted(seen.items()))
        css.append(f"@keyframes {name}{{{points}}}")
        still_seen = "visible" if first == 0 else "hidden"  # where nothing moves
        css.append(f".{name}{{visibility:{still_seen};animation:{name} {total:g}s step-end infinite}}")
    return _whole("".join(body), "".join(css), columns, len(frames[0][0]), ground)
