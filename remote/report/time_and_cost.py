"""How long the runs of a report took, and what their hosts' prices make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nanochat.common.text import duration
from remote.facts.money import UNKNOWN, cost, dollars, spent_text
from remote.report.blocks import Table
from remote.report.stage import StageFacts
from remote.runs import host_time

_HOUR = 3600.0


@dataclass(frozen=True)
class Bill:
    """Time and money of some runs. `cost` is None where a host has no price."""

    at_work: float
    """Seconds that the attempts took, one after the other."""
    wall: float
    """Seconds from the first start to the last end, waiting included."""
    cost: float | None


def bill(stages: Sequence[StageFacts], prices: Mapping[str, float | None]) -> Bill:
    """What some runs come to. Runs that share a host at the same time pay for it once."""
    spans = [span for stage in stages for span in stage.spans]
    wall = max((end for _, end in spans), default=0.0) - min((start for start, _ in spans), default=0.0)
    total: float | None = 0.0
    for host in dict.fromkeys(stage.run.host for stage in stages if stage.spans):
        price = prices.get(host)
        seconds = union(span for stage in stages if stage.run.host == host for span in stage.spans)
        total = None if total is None or price is None else total + seconds / _HOUR * price
    return Bill(sum(stage.seconds for stage in stages), wall, total if spans else None)


def union(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in which any of the spans was under way."""
    covered, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def time_table(
    stages: Sequence[StageFacts], own: Sequence[StageFacts], prices: Mapping[str, float | None]
) -> Table:
    """A row per run, and the sums: of the report's `own` runs, and where there were earlier ones of all."""
    rows = [
        (
            stage.run.name or stage.run.stage or stage.run.run_id,
            stage.run.host,
            stage.run.status,
            duration(stage.seconds) if stage.spans else "not started",
            _spent(stage, prices),
        )
        for stage in stages
    ]
    sums = bill(own, prices)
    rows.append(("total", "", "", duration(sums.at_work), dollars(sums.cost)))
    notes = [f"From the first start to the last end: {duration(sums.wall)}."]
    if len(stages) > len(own):
        every = bill(stages, prices)
        rows.append(("with earlier runs", "", "", duration(every.at_work), dollars(every.cost)))
    notes += _price_notes(stages, prices)
    return Table(("stage", "host", "status", "time", "cost"), tuple(rows), tuple(notes))


def _spent(stage: StageFacts, prices: Mapping[str, float | None]) -> str:
    run = stage.run
    current = stage.spans[-1][1] - stage.spans[-1][0] if stage.spans else 0.0
    found = cost(run, prices.get(run.host), host_time(run, None, 0.0), stage.seconds - current)
    return spent_text(found)


def _price_notes(stages: Sequence[StageFacts], prices: Mapping[str, float | None]) -> list[str]:
    notes = []
    for host in dict.fromkeys(stage.run.host for stage in stages):
        price = prices.get(host)
        if price is None:
            notes.append(
                f"The price of host '{host}' is {UNKNOWN}: nanochat hosts price {host} X sets it, per hour."
            )
        else:
            notes.append(f"Host '{host}' costs {dollars(price)} an hour.")
    return notes
