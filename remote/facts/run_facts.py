"""What a table tells of runs that their rows do not hold: bests, the time of earlier attempts, prices.

Bests and times are read from the store, in a thread, and kept until a run has something new; the rest of a
screen asks for what is known already.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from remote.facts.money import Cost, cost
from remote.metrics import better
from remote.runs import Attempt, Link, host_time

if TYPE_CHECKING:
    from remote.hosts.book import Host
    from remote.runs import RunRow
    from remote.store.store import Store


class RunFacts:
    """Facts about runs as far as `fill` has read them. `links` tell what the hosts' clocks show."""

    def __init__(self) -> None:
        self.prices: Mapping[str, float | None] = {}
        self.links: Mapping[str, Link] = {}
        self._lock = threading.Lock()
        self._bests: dict[tuple[str, str], _Best] = {}
        self._earlier: dict[str, tuple[int, float | None]] = {}

    def set_hosts(self, hosts: Iterable[Host]) -> None:
        """Takes the prices of the book of hosts."""
        self.prices = {host.name: host.price_per_hour for host in hosts}

    @property
    def priced(self) -> bool:
        """Whether any host has a price, so that money can be told at all."""
        return any(price is not None for price in self.prices.values())

    def best(self, run: RunRow, metric: str) -> float | None:
        """The best value of a metric by what is read of it; None while that is nothing."""
        known = self._bests.get((run.key, metric))
        return None if known is None else known.value

    def earlier(self, run: RunRow) -> float | None:
        """The seconds that attempts before the current one took; None while they are not read."""
        if run.attempt <= 1:
            return 0.0
        attempt, seconds = self._earlier.get(run.key, (0, None))
        return seconds if attempt == run.attempt else None  # else resumed since: one attempt is missing

    def cost(self, run: RunRow, now: float) -> Cost:
        """What a run has cost; `now` is ours."""
        at = host_time(run, self.links.get(run.host), now)
        return cost(run, self.prices.get(run.host), at, self.earlier(run))

    def fill(self, store: Store, rows: Iterable[RunRow], metrics: Collection[str]) -> bool:
        """Reads what is new of `rows`; True when a fact is another than before. Blocks on the disk."""
        changed = False
        with self._lock:
            for run in rows:
                if run.attempt > 1 and self.prices.get(run.host) is not None:
                    changed |= self._fill_earlier(store, run)
                for metric in metrics:
                    if metric in run.latest:
                        changed |= self._fill_best(store, run, metric)
        return changed

    def _fill_best(self, store: Store, run: RunRow, metric: str) -> bool:
        known = self._bests.get((run.key, metric))
        if known is not None and known.row_seq == run.last_seq:
            return False
        found = _best_so_far(store, run, metric, known)
        self._bests[run.key, metric] = found
        return known is None or known.value != found.value

    def _fill_earlier(self, store: Store, run: RunRow) -> bool:
        known = self._earlier.get(run.key)
        if known is not None and known[0] == run.attempt:
            return False
        seconds = earlier_seconds(store, run.key)
        self._earlier[run.key] = (run.attempt, seconds)
        return True


@dataclass(frozen=True)
class _Best:
    """The best of what has been read of a metric."""

    value: float | None
    row_seq: int
    """The run's newest event as its row told it then."""
    seq: int
    """The newest point that was read; -1 for none."""
    attempts: Sequence[Attempt]


def _best_so_far(store: Store, run: RunRow, metric: str, known: _Best | None) -> _Best:
    """The best finite value of a metric that no later attempt redid; None where there is none, or where
    neither lower nor higher is better.

    Only points after `known` are read, unless an attempt has begun since: it may redo some of those before.
    """
    direction = better(metric)
    if direction == 0:
        return _Best(None, run.last_seq, -1, ())
    # before the points: an attempt that begins in between is then seen the next time
    attempts = store.attempts(run.key)
    if known is None or known.attempts != attempts or known.row_seq > run.last_seq:
        known = _Best(None, run.last_seq, -1, attempts)
    series = store.series(run.key, metric, known.seq)
    pairs = zip(series.value, series.superseded, strict=True)
    values = [value for value, old in pairs if not old and math.isfinite(value)]
    values += [] if known.value is None else [known.value]
    value = (min if direction < 0 else max)(values, default=None)
    return _Best(value, run.last_seq, series.seq[-1] if len(series) else known.seq, attempts)


def earlier_seconds(store: Store, key: str) -> float:
    """How long the attempts before the current one took: each from its start to the last event of it."""
    seconds = 0.0
    for one, following in pairwise(store.attempts(key)):
        last = store.events(key, following.first_seq - 2, limit=1)
        seconds += max(0.0, last[0].t - one.t) if last else 0.0
    return seconds
