"""Events folded into a run's summary and into columns of its metrics, a stretch of like events at a time.

Nearly all events of a long run are metrics of the same names, one a step. Taken one by one a million of
them cost a minute; such a stretch is taken column by column, with the same result.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import groupby

from nanochat.run.event_rows import EventRows
from nanochat.run.events import Event
from remote.store.series import Series
from remote.store.summary import HOW_FAR, Summary, metric_name, series_values

_SHORTEST = 8
"""Events of the same names from which on columns are faster than events."""


def fold_events(summary: Summary, found: EventRows) -> dict[str, Series]:
    """Takes events in and returns the points they add to each metric, in order."""
    points: dict[str, Series] = {}
    for start, stop in _stretches(found):
        if stop - start < _SHORTEST or not _fold_columns(summary, found, start, stop, points):
            for index in range(start, stop):
                _fold_one(summary, found.event(index), points)
    return points


def _stretches(found: EventRows) -> Iterator[tuple[int, int]]:
    """From where to before where events are metrics of the same names, or anything else."""
    start = 0
    kinds = [row[2] for row in found.rows]
    for _, same in groupby(zip(kinds, map(tuple, found.data), strict=True)):
        stop = start + sum(1 for _ in same)
        yield start, stop
        start = stop


def _fold_one(summary: Summary, event: Event, points: dict[str, Series]) -> None:
    summary.fold(event)
    step = -1 if event.step is None else event.step
    for name, value in series_values(event):
        points.setdefault(name, Series()).append((event.seq, step, event.t, value, summary.attempt))


def _fold_columns(
    summary: Summary, found: EventRows, start: int, stop: int, points: dict[str, Series]
) -> bool:
    """Takes in metrics of the same names; False, with nothing done, where a value is no plain number."""
    rows, data = found.rows[start:stop], found.data[start:stop]
    if rows[0][2] != "metric":
        return False
    spelled = list(data[0])
    names = [metric_name(word) for word in spelled]
    values = list(zip(*(event.values() for event in data), strict=True))
    if len(set(names)) < len(names) or not all({float, int}.issuperset(map(type, v)) for v in values):
        return False
    _fold_last(summary, found, start, stop)
    seq = array("q", [row[0] for row in rows])
    step = array("q", [-1 if row[3] is None else row[3] for row in rows])
    t = array("d", [row[1] for row in rows])
    attempt = array("i", [summary.attempt]) * len(rows)
    for word, name, column in zip(spelled, names, values, strict=True):
        if word not in HOW_FAR:
            series = points.setdefault(name, Series())
            series.extend(Series(seq, step, t, array("d", column), attempt))
    return True


def _fold_last(summary: Summary, found: EventRows, start: int, stop: int) -> None:
    """Folds the last event of a stretch, which leaves the summary as all of them would."""
    before = summary.left_out
    summary.fold(found.event(stop - 1))
    summary.left_out += (summary.left_out - before) * (stop - start - 1)
    step = next((row[3] for row in reversed(found.rows[start:stop]) if row[3] is not None), None)
    if step is not None:
        summary.step = step
