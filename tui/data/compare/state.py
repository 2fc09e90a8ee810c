"""Which runs are compared and how: order, axis, groups, band, gap, chosen places. Without widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from remote.comparison import LETTERS, MOST_RUNS
from remote.comparison.comparison import Comparison, check_count
from remote.comparison.curves import RunCurves
from remote.comparison.figures import short_titles
from remote.comparison.groups import GROUPINGS, Group, Grouping
from remote.comparison.lines import BANDS, BandKind
from remote.comparison.names import distinct_names
from remote.comparison.settings import Facts
from remote.comparison.table import Columns

if TYPE_CHECKING:
    from remote.runs import RunRow

MOST_PLACES = 8
"""Places of one axis that are kept: more rows than that nobody compares."""
_LABEL = 24


@dataclass(frozen=True)
class Drawing:
    """What plots are to make of the runs: a line a group, or with `gap` their distances to the first group.

    `labels` name the groups, `caption` says in a plot's title what is drawn.
    """

    groups: tuple[Group, ...]
    labels: tuple[str, ...]
    gap: bool
    band: BandKind
    caption: str


@dataclass
class CompareState:
    """The runs by key, in their order: the others are compared with the first.

    A run keeps its letter when the order changes. `facts` are known once they have been read. `places` are
    kept by axis: 2000 steps are not 2000 tokens.
    """

    keys: list[str]
    rows: dict[str, RunRow] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    by: Grouping = ""
    band: BandKind = "range"
    gap: bool = False
    only_differences: bool = False
    places: dict[str, list[float]] = field(default_factory=dict)
    letters: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_count(len(self.keys))
        for key in self.keys:
            self._give_letter(key)

    def _give_letter(self, key: str) -> None:
        free = [letter for letter in LETTERS if letter not in self.letters.values()]
        self.letters[key] = free[0]

    # ---- which runs ------------------------------------------------------------------------------------

    def add(self, key: str) -> None:
        """One run more. Raises `UserError` when there are six."""
        if len(self.keys) >= MOST_RUNS:
            raise UserError(f"{MOST_RUNS} runs are compared already", "remove one first")
        self.keys.append(key)
        self._give_letter(key)

    def remove(self, key: str) -> None:
        """One run less. Raises `UserError` when only two are left."""
        if len(self.keys) <= 2:
            raise UserError("two runs are the least that can be compared", "add another one first")
        self.keys.remove(key)
        for known in (self.rows, self.facts, self.letters):
            known.pop(key, None)
        self.gone.discard(key)

    def rotate(self) -> None:
        """The next run is the one that the others are compared with."""
        self.keys.append(self.keys.pop(0))

    def see(self, rows: Sequence[RunRow]) -> None:
        """Takes newer rows in; a run that is no longer among them stays as it was, and is `gone`."""
        found = {run.key: run for run in rows}
        for key in self.keys:
            if key in found:
                self.rows[key] = found[key]
        self.gone = {key for key in self.keys if key not in found and key in self.rows}

    @property
    def stale_facts(self) -> list[str]:
        """The runs whose facts are not read, or of an earlier attempt."""

        def known(key: str) -> bool:
            facts, row = self.facts.get(key), self.rows[key]
            if facts is None or facts.run.attempt != row.attempt:
                return False
            return facts.started or facts.run.last_seq == row.last_seq

        return [key for key in self.keys if key in self.rows and not known(key)]

    # ---- how -------------------------------------------------------------------------------------------

    def next_grouping(self) -> Grouping:
        """Groups by the next thing, or not at all."""
        self.by = GROUPINGS[(GROUPINGS.index(self.by) + 1) % len(GROUPINGS)]
        return self.by

    def next_band(self) -> BandKind:
        """The other kind of band."""
        kinds = list(BANDS)
        self.band = kinds[(kinds.index(self.band) + 1) % len(kinds)]
        return self.band

    def places_on(self, axis: str) -> tuple[float, ...]:
        """The places of an axis that are kept, the first one first."""
        return tuple(self.places.get(axis, ()))

    def keep_place(self, axis: str, at: float) -> bool:
        """Keeps a place of an axis, or drops it when it was kept; whether it is kept now."""
        kept = self.places.setdefault(axis, [])
        if at in kept:
            kept.remove(at)
            return False
        self.places[axis] = sorted([*kept, at])[-MOST_PLACES:]
        return True

    def drop_places(self, axis: str) -> None:
        """Drops all places of an axis that are kept."""
        self.places.pop(axis, None)

    @property
    def looks(self) -> dict[str, object]:
        """What is kept for the next start."""
        return {"band": self.band, "differences": self.only_differences}

    def set_looks(self, kept: Any) -> None:
        """Takes over what `looks` told once; what makes no sense is left out."""
        known = kept if isinstance(kept, Mapping) else {}
        self.band = next((kind for kind in BANDS if kind == known.get("band")), self.band)
        self.only_differences = known.get("differences") is True

    # ---- what is shown ---------------------------------------------------------------------------------

    def comparison(self, curves: Mapping[str, RunCurves] | None = None) -> Comparison:
        """The runs in order; without `curves` all but the metrics."""
        keys = [key for key in self.keys if key in self.rows]
        names = distinct_names([self.rows[key] for key in keys])
        known = {} if curves is None else curves
        facts = []
        for key in keys:
            run, read = self.rows[key], self.facts.get(key)
            facts.append(
                Facts(run, read.options, read.info, read.started) if read else Facts(run, run.options)
            )
        return Comparison(
            facts,
            names,
            [known.get(key) or RunCurves(name) for key, name in zip(keys, names, strict=True)],
            frozenset(at for at, key in enumerate(keys) if key in self.gone),
            "".join(self.letters[key] for key in keys),
        )

    def label(self, key: str, name: str) -> str:
        """What the end of a run's line is called."""
        return sanitize(f"{self.letters[key]} {name}", _LABEL)

    def drawing(self, comparison: Comparison, most: int) -> Drawing | None:
        """What plots are to make of the runs, in at most `most` lines; None to draw the runs as they are."""
        columns = comparison.columns("step", self.by, self.band)
        gap = self.gap and len(columns.groups) > 1  # one group has nothing to lie apart from
        if not gap and all(len(group.members) == 1 for group in columns.groups):
            return None
        groups = tuple(columns.groups[: most + (1 if gap else 0)])
        shown = Columns(columns.runs, groups, "step", self.band)
        labels = _labels(comparison, shown, gap)
        words = [f"gap to {labels[0]}"] if gap else []
        if any(len(group.members) > 1 for group in groups):
            words.append(f"mean, {BANDS[self.band]}" if not gap else "of means")
        return Drawing(groups, labels, gap, self.band, " ".join(words))

    def colours(self, comparison: Comparison, most: int) -> list[int | None]:
        """For each run the number of the line it is drawn in; None where it has none of its own."""
        drawing = self.drawing(comparison, most)
        count = len(comparison.names)
        if drawing is None:
            return [at if at < most else None for at in range(count)]
        found: list[int | None] = [None] * count
        for number, group in enumerate(drawing.groups[1:] if drawing.gap else drawing.groups):
            for at in group.members:
                found[at] = number
        return found


def _labels(comparison: Comparison, columns: Columns, gap: bool) -> tuple[str, ...]:
    letters = short_titles(comparison, columns)
    if not gap:
        return tuple(letters[at] + _tail(group, comparison) for at, group in enumerate(columns.groups))
    return (letters[0], *(f"{letter}-{letters[0]}" for letter in letters[1:]))


def _tail(group: Group, comparison: Comparison) -> str:
    return f" {comparison.names[group.members[0]]}" if len(group.members) == 1 else ""
