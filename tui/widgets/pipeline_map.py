"""The pipeline from left to right with the newest run of each stage, evaluations below: boxes where their
words fit, else a line of words each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget

from nanochat.common.text import percent
from nanochat.config.stages import STAGES
from remote.key_metric import key_figure
from remote.run_summary import progress
from tui.style.status import ROLE_STYLES, status_style
from tui.widgets.columns import fit
from tui.widgets.pipeline_line import EVALS, Span, Stop, fitted
from tui.widgets.pipeline_line import STAGES as STAGE_DETAILS

if TYPE_CHECKING:
    from remote.runs import RunRow


@dataclass(frozen=True)
class StageBox:
    """A box of the map: its title, the stages it shows, and the evaluations below it."""

    title: str
    stages: tuple[str, ...]
    evals: tuple[str, ...] = ()


PIPELINE: tuple[StageBox, ...] = (
    StageBox("data", ("data_build", "data_download")),
    StageBox("tok_train", ("tok_train",), ("tok_eval",)),
    StageBox("base_train", ("base_train",), ("base_loss", "base_eval")),
    StageBox("mid_train", ("mid_train",)),
    StageBox("chat_sft", ("chat_sft",), ("chat_eval",)),
    StageBox("chat_rl", ("chat_rl",)),
)
ARROW = " → "
MAX_BOX_WIDTH = 64
BOXES_FROM = (150, 40)
"""The least width and height of the screen for boxes: below it their words would be cut, or take rows that
the table of runs needs more."""


def boxes(known: Iterable[str] = STAGES) -> list[StageBox]:
    """The boxes of the stages that exist, with the evals that exist."""
    names = set(known)
    found = []
    for box in PIPELINE:
        stages = tuple(name for name in box.stages if name in names)
        if stages:
            found.append(StageBox(box.title, stages, tuple(name for name in box.evals if name in names)))
    return found


def newest(rows: Sequence[RunRow], stages: Sequence[str]) -> RunRow | None:
    """The newest run of any of `stages`; `rows` are newest first."""
    return next((run for run in rows if run.stage in stages), None)


Line = list[tuple[str, str]]


class PipelineMap(Widget):
    """Draws the pipeline; a click on a box filters the runs by its stage."""

    class Picked(Message):
        """A box was clicked."""

        def __init__(self, stages: tuple[str, ...]) -> None:
            super().__init__()
            self.stages = stages

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.boxes = boxes()
        self.rows: Sequence[RunRow] = ()
        self._spans: list[list[Span]] = []
        self._told: list[tuple[str, str, str, str]] = []

    def show(self, rows: Sequence[RunRow]) -> None:
        """Shows `rows`, newest first; draws them if they say anything else than before."""
        latest: dict[str, RunRow] = {}
        for run in rows:
            latest.setdefault(run.stage, run)
        self.rows = list(latest.values())
        told = [(run.key, run.status, percent(progress(run)), str(key_figure(run))) for run in self.rows]
        if told != self._told:
            self._told = told
            self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 4 + max(len(box.evals) for box in self.boxes) if self._in_boxes(width) else 2

    def _in_boxes(self, width: int) -> bool:
        return width >= BOXES_FROM[0] and self.app.size.height >= BOXES_FROM[1]

    @property
    def _box_width(self) -> int:
        count = len(self.boxes)
        return min(MAX_BOX_WIDTH, (self.size.width - len(ARROW) * (count - 1)) // count)

    def render(self) -> Content:
        return self._boxes() if self._in_boxes(self.size.width) else self._lines()

    def _lines(self) -> Content:
        """The stages on one line, their evaluations on a second one."""
        stages = [Stop(box.title, newest(self.rows, box.stages), box.stages) for box in self.boxes]
        evals = [Stop(name, newest(self.rows, (name,)), (name,)) for box in self.boxes for name in box.evals]
        width = self.size.width
        drawn = [fitted(stages, STAGE_DETAILS, width, " "), fitted(evals, EVALS, width, " evals  ")]
        self._spans = [spans for _, spans in drawn]
        return Content("\n").join(Content.assemble(*parts) for parts, _ in drawn)

    def _boxes(self) -> Content:
        height = self.size.height
        lines: list[Line] = [[] for _ in range(height)]
        for index, box in enumerate(self.boxes):
            for line, parts in zip(lines, self._draw(box, self._box_width, height), strict=True):
                line.extend(parts)
            if index < len(self.boxes) - 1:
                for y, line in enumerate(lines):
                    line.append((ARROW if y == 1 else " " * len(ARROW), "$muted"))
        pieces: Line = []
        for line in lines:
            pieces += [*line, ("\n", "")]
        return Content.assemble(*pieces[:-1])

    def _draw(self, box: StageBox, width: int, height: int) -> list[Line]:
        run = newest(self.rows, box.stages)
        lines = [*_box(box.title, run, width)]
        lines += [_eval(stage, newest(self.rows, (stage,)), width) for stage in box.evals]
        lines += [[(" " * width, "")]] * (height - len(lines))
        return lines[:height]

    def on_click(self, event: events.Click) -> None:
        if not self._in_boxes(self.size.width):
            for span in self._spans[event.y] if event.y < len(self._spans) else ():
                if span.start <= event.x < span.stop:
                    self.post_message(self.Picked(span.stages))
            return
        index, x = divmod(event.x, self._box_width + len(ARROW))
        if index < len(self.boxes) and x < self._box_width:
            self.post_message(self.Picked(self.boxes[index].stages))


def _box(title: str, run: RunRow | None, width: int) -> list[Line]:
    inner = width - 4
    if run is None:
        rule, style, text, figure = "$rule", "$muted", "· not run yet", ""
    else:
        status = status_style(run.status)
        rule = style = ROLE_STYLES[status.role]
        part = percent(progress(run)) if run.live else ""
        text = f"{status.glyph} {status.word}" + (f" {part}" if part else "")
        figure = str(key_figure(run))
    head = fit(title, min(len(title), width - 4))
    done = (progress(run) or 0.0) if run is not None and run.at_work else 0.0
    filled = round(done * (width - 2))
    return [
        [("╭ ", rule), (head, "bold"), (" " + "─" * (width - 4 - len(head)) + "╮", rule)],
        [("│ ", rule), (fit(text, inner), style), (" │", rule)],
        [("│ ", rule), (fit(figure, inner), ""), (" │", rule)],
        [("╰", rule), ("━" * filled, "$primary"), ("─" * (width - 2 - filled) + "╯", rule)],
    ]


def _eval(stage: str, run: RunRow | None, width: int) -> Line:
    if run is None:
        return [(fit(f" └ {stage}", width), "$muted")]
    status = status_style(run.status)
    figure = key_figure(run)
    text = f"{status.glyph} {stage} {figure}"
    if cell_len(text) > width - 3:
        text = f"{status.glyph} {stage} {figure.text}"
    return [(" └ ", "$muted"), (fit(text, width - 3), ROLE_STYLES[status.role])]
