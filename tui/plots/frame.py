"""What a plot is to show, and a drawn plot: the types between the widget and the plot thread.

A `Frame` is immutable: the widget shows its strips and reads its mapping and readings without touching the
series, which belong to the plot thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textual.strip import Strip

from tui.plots.points import Reading
from tui.plots.run_metrics import RunMetrics
from tui.style.palette import Palette

MAX_RUNS = 4
"""As many runs as can be distinguished in one plot."""


@dataclass(frozen=True, slots=True)
class View:
    """How a plot shows its metric. `x` and `y` are the limits asked for, None for everything.

    `smoothing` is the time constant of the moving average of noisy metrics as a share of the points in view,
    0 for none.
    """

    axis: str = "step"
    x: tuple[float, float] | None = None
    y: tuple[float, float] | None = None
    log: bool = False
    smoothing: float = 0.0
    superseded: bool = False
    partial: bool = False
    """Whether the run has more points than have been read: the best of them is not known yet."""
    axis_name: str = ""
    """What the x axis is called where it is none of a run's."""
    places: tuple[tuple[float, str], ...] = ()
    """Places on the x axis that have a name, rising: ticks stand there alone, and the cursor tells it."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A mark on the x axis: a loss spike, a stall, a non-finite step."""

    step: float
    t: float
    level: str = "warn"


@dataclass(frozen=True, slots=True)
class PlotSpec:
    """Everything a frame is drawn from; width and height are the cells below the title row."""

    metric: str
    runs: tuple[RunMetrics, ...]
    view: View
    width: int
    height: int
    palette: Palette
    unicode: bool = True
    alerts: tuple[Alert, ...] = ()
    derive: Callable[[PlotSpec], PlotSpec] | None = None
    """Makes lines out of the runs' own, such as their distances; called on the plot thread before drawing."""
    caption: str = ""
    signed: bool = False
    """Whether the lines are differences: 0 is in sight then, and no value is the best."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The last, lowest and highest value of a line within the limits shown."""

    last: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Legend:
    """One run in one plot: its label, and what the title says of it. Every figure is one of what is drawn.

    `points` counts the finite points of the whole run. `line` are the figures of the line in full colour,
    None when no point is in view; `raw` those of the faint line behind a smoothed one. `decay` is that of
    the smoothing, 0 for none. `best` is the best evaluation where it is in view. `readings` has the drawn
    point nearest to each cell column. `trend` is the relative change from the twentieth of the run's points
    before last to the last twentieth.
    """

    label: str
    role: int
    points: int = 0
    line: Figures | None = None
    raw: Figures | None = None
    decay: float = 0.0
    best: Reading | None = None
    readings: Sequence[Reading | None] = ()
    trend: float = 0.0


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawn plot. The canvas begins at cell (`left`, 0) and is `columns` × `rows` cells.

    `x` and `y` are the limits shown, `extent` those of the whole run on the x axis.
    """

    width: int
    height: int
    left: int
    columns: int
    rows: int
    x: tuple[float, float]
    y: tuple[float, float]
    extent: tuple[float, float]
    view: View
    strips: Sequence[Strip] = ()
    legends: Sequence[Legend] = ()
    notes: Sequence[str] = ()
    approximate: bool = False
    caption: str = ""

    @property
    def empty(self) -> bool:
        return all(legend.points == 0 for legend in self.legends)

    def x_at(self, column: float) -> float:
        """The x in data units at the centre of a canvas column (0 = leftmost)."""
        return self.x[0] + (self.x[1] - self.x[0]) * (column + 0.5) / max(1, self.columns)

    def column_at(self, x: float) -> int | None:
        """The canvas column that holds x, None outside the limits."""
        low, high = self.x
        if not low <= x <= high:
            return None
        # What lies on a column's left edge is drawn in it: rounding must not put it into the one before.
        return min(self.columns - 1, int((x - low) / (high - low) * self.columns + 1e-9))
