"""The runs that are compared, a line each: letter, name, status, how far, result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.app import RenderResult
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from nanochat.common.text import sanitize, when
from remote.key_metric import key_figure
from remote.run_summary import reading, steps
from remote.runs import RunRow
from tui.style.palette import Palette, palette
from tui.style.status import status_style
from tui.widgets.columns import fit


@dataclass(frozen=True)
class ComparedRun:
    """One line: `colour` numbers the line that plots draw it in, None for none; `base` is the first run."""

    run: RunRow
    letter: str
    name: str
    colour: int | None
    base: bool
    gone: bool


class ComparedRuns(Widget):
    """As many lines as there are runs. A dot in a run's colour tells its line in the plots."""

    DEFAULT_CSS = "ComparedRuns { height: auto; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.runs: list[ComparedRun] = []

    def show(self, runs: Sequence[ComparedRun]) -> None:
        """Shows these runs."""
        if list(runs) != self.runs:
            self.refresh(layout=len(runs) != len(self.runs))
            self.runs = list(runs)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.runs)

    @property
    def palette(self) -> Palette:
        return palette(self.app.current_theme, self.app.theme_variables, self.background_colors[1])

    def render(self) -> RenderResult:
        return ""

    def render_line(self, y: int) -> Strip:
        width, colours = self.size.width, self.palette
        if y >= len(self.runs):
            return Strip.blank(width, colours.text)
        one = self.runs[y]
        line = colours.muted if one.colour is None else colours.line[one.colour]
        left = [
            (" ", colours.text),
            ("●" if one.colour is not None else "○", line),
            (f" {one.letter} ", line + Style(bold=True)),
            (one.name + " ", colours.title),
        ]
        right = self._right(one, colours)
        room = width - sum(cell_len(text) for text, _ in right) - sum(cell_len(text) for text, _ in left[:-1])
        name, style = left[-1]
        left[-1] = fit(name, max(4, room)), style
        return Strip([Segment(*part) for part in (*left, *right)]).adjust_cell_length(width, colours.text)

    def _right(self, one: ComparedRun, colours: Palette) -> list[tuple[str, Style]]:
        run, status = one.run, status_style(one.run.status)
        shown = "gone" if one.gone else f"{status.glyph} {status.word}"
        parts = [
            ("base  " if one.base else "      ", colours.focus),
            (fit(sanitize(run.stage, 40), 11), colours.muted),
            (fit(shown, 11), colours.warning if one.gone or run.live else colours.text),
            (fit(reading(run) or str(key_figure(run)), 15, "right"), colours.title),
        ]
        if self.size.width >= 100:
            parts.insert(3, (fit(steps(run), 16, "right") + " ", colours.text))
            parts.append((fit(when(run.created_at, time.time()), 13, "right"), colours.muted))
        return [*parts, (" ", colours.text)]
