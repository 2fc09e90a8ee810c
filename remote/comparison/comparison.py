"""Several runs read from the store and set side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.smoothing import SHARE
from nanochat.common.text import amount
from remote.comparison import LETTERS, MOST_RUNS
from remote.comparison.curves import ALIGNED_AXES, RunCurves, tracks_of
from remote.comparison.groups import Group, Grouping, grouped
from remote.comparison.lines import BandKind, BandLine, Line, band, gap
from remote.comparison.names import distinct_names
from remote.comparison.settings import Facts, Setting, read_facts, settings
from remote.comparison.table import Columns

if TYPE_CHECKING:
    from remote.runs import RunRow
    from remote.store.store import Store

_NAMED = 3


@dataclass(frozen=True)
class Comparison:
    """Two to six runs, the first of which the others are compared with.

    `names` tell them apart; `gone` are the indices of runs that are no longer there: what was read of them
    stays.
    """

    facts: Sequence[Facts]
    names: Sequence[str]
    curves: Sequence[RunCurves]
    gone: frozenset[int] = field(default_factory=frozenset)
    letters: str = LETTERS

    @property
    def settings(self) -> list[Setting]:
        """What the runs were asked, side by side; see `remote.comparison.settings`."""
        return settings(self.facts)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that at least two runs have."""
        return tuple(axis for axis in ALIGNED_AXES if sum(axis in curves.axes for curves in self.curves) > 1)

    def columns(self, axis: str, by: Grouping = "", kind: BandKind = "range") -> Columns:
        """The runs, alone or in groups, as columns of tables of metrics."""
        return Columns(self.curves, grouped(self.facts, self.names, by), axis, kind)

    def letter(self, at: int) -> str:
        return self.letters[at]


def check_count(count: int) -> None:
    """Raises `UserError` unless `count` runs can be set side by side."""
    if count < 2:
        raise UserError("comparing takes at least two runs", "mark two to six")
    if count > MOST_RUNS:
        raise UserError(f"at most {MOST_RUNS} runs are compared, not {count}", "leave some out")


def read_comparison(store: Store, runs: Sequence[RunRow], share: float = SHARE) -> Comparison:
    """All that the store has of the runs; noisy metrics are smoothed over `share` of their points (0: not).

    Raises `UserError` for fewer than two or more than six.
    """
    check_count(len(runs))
    names = distinct_names(runs)
    curves = [
        RunCurves(name, tracks_of(store.all_series(run.key, {}), share))
        for name, run in zip(names, runs, strict=True)
    ]
    return Comparison([read_facts(store, run) for run in runs], names, curves)


def gap_lines(columns: Columns, metric: str, *, raw: bool = False) -> list[Line]:
    """For every column but the first: how far it lies above the first, over their common range."""
    means = [mean_line(columns, metric, group, raw=raw) for group in columns.groups]
    base = means[0]
    empty = Line.of([], [])
    return [gap(base, other) if base is not None and other is not None else empty for other in means[1:]]


def mean_line(columns: Columns, metric: str, group: Group, *, raw: bool = False) -> Line | None:
    """The line of a column: of one run, or the mean of several."""
    found = band_line(columns, metric, group, raw=raw)
    return None if found is None or not len(found.mean) else found.mean


def band_line(columns: Columns, metric: str, group: Group, *, raw: bool = False) -> BandLine | None:
    """The mean of a column's runs and the band around it; None where none has the metric."""
    lines = columns.lines(metric, group, raw=raw)
    return band(lines, columns.band) if lines else None


def notes(comparison: Comparison, axis: str) -> list[str]:
    """What is to be known before the figures are trusted, one clear line each."""
    runs, curves = [facts.run for facts in comparison.facts], comparison.curves
    told = []

    def tell(which: Sequence[int], text: str) -> None:
        if which:
            told.append(f"{_list(comparison, which)}: {text}")

    every = range(len(runs))
    tell(sorted(comparison.gone), "removed meanwhile, what was read stays")
    stages = dict.fromkeys(run.stage for run in runs)
    if len(stages) > 1:
        told.append(f"stages differ ({', '.join(stages)}): options that only one has are no difference")
    started = [at for at in every if comparison.facts[at].started]
    tell([at for at in every if at not in started], "not started, its options are as given")
    tell([at for at in started if runs[at].live], "still live, its figures move")
    tell([at for at in every if runs[at].partial], "still being read, its figures are of a part")
    with_points = [at for at in every if curves[at].tracks]
    tell([at for at in started if at not in with_points], "no metric yet")
    tell([at for at in with_points if axis not in curves[at].axes], f"no {axis}, another axis shows it")
    for at in every:
        tell([at] if _superseded(curves[at]) else [], _superseded(curves[at]))
        tell([at] if _not_finite(curves[at]) else [], _not_finite(curves[at]))
    if len(with_points) > 1 and not comparison.columns(axis).metrics():
        told.append(f"no two of these runs have a metric in common on the axis {axis}")
    return told


def _list(comparison: Comparison, which: Sequence[int]) -> str:
    return ", ".join(comparison.letter(at) for at in which)


def _superseded(curves: RunCurves) -> str:
    most = max((track.superseded for track in curves.tracks.values()), default=0)
    return f"resumed, {amount(most, 'point')} of an earlier attempt left out" if most else ""


def _not_finite(curves: RunCurves) -> str:
    bad = {name: track.left_out for name, track in curves.tracks.items() if track.left_out}
    shown = ", ".join(f"{count} of {name}" for name, count in list(bad.items())[:_NAMED])
    more = f" and {len(bad) - _NAMED} more metrics" if len(bad) > _NAMED else ""
    return f"NaN or infinite {shown}{more}, left out" if bad else ""
