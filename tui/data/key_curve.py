"""The one curve that tells most of a run, read from the store in a thread and kept for the runs seen last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remote.key_metric import KEY_FIGURES

if TYPE_CHECKING:
    from remote.runs import RunRow
    from remote.store.series import Series
    from remote.store.store import Store

LOSS = "train/loss"
KEPT = 32
"""Runs whose curves are kept."""
MOST_POINTS = 400_000
"""Points of curves that are kept together; the newest one whatever its length."""


@dataclass(frozen=True)
class KeyCurve:
    """A run's curve as of event `last_seq`, of the metric that the store calls `metric`.

    Without `points` the run has measured nothing that is a curve.
    """

    key: str
    label: str
    metric: str
    last_seq: int
    points: Series | None


class KeyCurves:
    """Reads curves; one that is known and up to date is not read again. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, KeyCurve] = OrderedDict()

    def known(self, run: RunRow) -> KeyCurve | None:
        """The curve as it was read last, also where the run has gone on since."""
        return self._kept.get(run.key)

    def read(self, store: Store, run: RunRow) -> KeyCurve:
        """The curve as it is now. Blocks on the disk."""
        with self._lock:
            known = self._kept.get(run.key)
            if known is not None and known.last_seq == run.last_seq:
                self._kept.move_to_end(run.key)
                return known
            metric = curve_metric(run)
            points = store.series(run.key, metric) if metric else None
            made = KeyCurve(run.key, run.label, metric, run.last_seq, points if points else None)
            self._kept[run.key] = made
            self._kept.move_to_end(run.key)
            while len(self._kept) > KEPT or (len(self._kept) > 1 and self._size() > MOST_POINTS):
                self._kept.popitem(last=False)
            return made

    def _size(self) -> int:
        return sum(len(curve.points) for curve in self._kept.values() if curve.points is not None)


def curve_metric(run: RunRow) -> str:
    """The loss of a training, else what the run is judged by, else its first metric; "" for none."""
    names = [LOSS, *(metric for metric, _ in KEY_FIGURES), *sorted(run.latest)]
    return next((name for name in names if isinstance(run.latest.get(name), int | float | str)), "")
