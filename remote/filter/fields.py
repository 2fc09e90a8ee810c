"""What the fields of the filter read from a run, and the values they are compared with."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from remote.key_metric import KEY_FIGURES, told
from remote.run_summary import elapsed, mfu_value, progress, speed
from remote.runs import ENDED, LIVE, host_time
from remote.store.summary import as_number

if TYPE_CHECKING:
    from remote.runs import RunRow

OPTION = "config."
"""In front of the name of one of a run's options: `config.depth`."""
STATUS_WORDS = {"created": "queued"}
"""Statuses that screens call otherwise; the filter takes both words."""

TEXTS: dict[str, Callable[[RunRow], Sequence[str]]] = {
    "name": lambda run: (run.name, run.label),
    "stage": lambda run: (run.stage,),
    "host": lambda run: (run.host,),
    "plan": lambda run: (run.plan_name,),
    "tag": lambda run: run.tags,
    "note": lambda run: (run.note,),
    "reason": lambda run: (run.reason,),
    "id": lambda run: (run.run_id,),
}
"""Fields of text: `:` finds a part of it, `=` is the whole; case is ignored."""

HAS: dict[str, Callable[[RunRow], bool]] = {
    "alerts": lambda run: run.alerts > 0,
    "note": lambda run: bool(run.note),
    "tags": lambda run: bool(run.tags),
    "pin": lambda run: run.pinned,
    "plan": lambda run: bool(run.plan_id),
    "reason": lambda run: bool(run.reason),
    "problem": lambda run: bool(run.problem),
}
IS: dict[str, Callable[[RunRow], bool]] = {
    "live": lambda run: run.live,
    "ended": lambda run: not run.live,
    "pinned": lambda run: run.pinned,
    "archived": lambda run: run.archived,
    "any": lambda run: True,
}
SHOWING_ARCHIVED = ("archived", "any")
"""Values of `is:` that bring archived runs into the list at all."""
STATUS: dict[str, Callable[[RunRow], bool]] = {
    **{status: lambda run, status=status: run.status == status for status in sorted(LIVE | ENDED)},  # type: ignore[misc]
    "queued": lambda run: run.status == "created",
    "live": lambda run: run.live,
    "ended": lambda run: not run.live,
}
CHOICES: dict[str, Mapping[str, Callable[[RunRow], bool]]] = {"status": STATUS, "has": HAS, "is": IS}
"""Fields with a few known values, each a test; the start of one is enough, in `status` any part."""


@dataclass(frozen=True)
class Number:
    """A field of numbers: how it is read from a run (None: it has none) and how a person writes one."""

    read: Callable[[RunRow], float | None]
    parse: Callable[[str], float | None]
    example: str


def plain(text: str) -> float | None:
    """`2.5`, `1e-3`, `10k`, `1.5M`, `2G`; None when it is no number."""
    found = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)([kKmMgGbBtT]?)", text)
    if found is None:
        return None
    scale = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}[found[2].lower()]
    return float(found[1]) * scale


def share(text: str) -> float | None:
    """Percent: `66%` or `66`."""
    return plain(text.removesuffix("%"))


def seconds(text: str) -> float | None:
    """`90s`, `1h30m`, `2d`; a number alone is seconds."""
    if plain(text) is not None and not text[-1:].isalpha():
        return plain(text)
    parts = re.fullmatch(
        r"(?:(\d+\.?\d*)d)?(?:(\d+\.?\d*)h)?(?:(\d+\.?\d*)m)?(?:(\d+\.?\d*)s)?", text.lower()
    )
    if not text or parts is None:
        return None
    return sum(
        float(part or 0) * unit for part, unit in zip(parts.groups(), (86400, 3600, 60, 1), strict=True)
    )


def _speed(run: RunRow) -> float | None:
    return speed(run).value


def _done(run: RunRow) -> float | None:
    done = progress(run)
    return None if done is None else 100 * done


def _age(run: RunRow) -> float | None:
    return time.time() + run.clock_ahead - run.created_at if run.created_at else None


NUMBERS: dict[str, Number] = {
    "step": Number(lambda run: None if run.step is None else float(run.step), plain, "step>1000"),
    "done": Number(_done, share, "done>50%"),
    "speed": Number(_speed, plain, "speed>10k"),
    "mfu": Number(mfu_value, share, "mfu>40"),
    "eta": Number(lambda run: run.eta_s if run.status == "running" else None, seconds, "eta<2h"),
    "time": Number(lambda run: elapsed(run, host_time(run, None, 0.0)), seconds, "time>1h30m"),
    "age": Number(_age, seconds, "age<2d"),
    "attempt": Number(lambda run: float(run.attempt), plain, "attempt>1"),
    "alerts": Number(lambda run: float(run.alerts), plain, "alerts>0"),
}
DATES: dict[str, Callable[[RunRow], float | None]] = {
    "created": lambda run: run.created_at or None,
    "ended": lambda run: run.ended_at if not run.live else None,
}
"""Fields of dates, compared with a day, a month or a minute: `created>=2026-11`."""


def period(text: str) -> tuple[float, float] | None:
    """The Unix times where a month, a day or a minute begins and ends; `today` and `yesterday` too."""
    today = datetime.fromtimestamp(time.time()).replace(hour=0, minute=0, second=0, microsecond=0)
    day = timedelta(days=1)
    named = {"today": today, "yesterday": today - day}.get(text.lower())
    try:
        if named is not None:
            start, end = named, named + day
        elif re.fullmatch(r"\d{4}-\d\d", text):
            start = datetime.strptime(text, "%Y-%m")
            end = (start + 31 * day).replace(day=1)
        elif re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            start = datetime.strptime(text, "%Y-%m-%d")
            end = start + day
        else:
            start = datetime.strptime(text.upper(), "%Y-%m-%dT%H:%M")
            end = start + timedelta(minutes=1)
        return start.timestamp(), end.timestamp()
    except (ValueError, OverflowError, OSError):
        return None


FIELDS: tuple[str, ...] = (*TEXTS, *CHOICES, *NUMBERS, *DATES)
"""Every field that is no metric and no option."""


class Vocabulary:
    """The names of metrics and options that some runs have: what a filter over them can compare."""

    def __init__(self, rows: Iterable[RunRow] = ()) -> None:
        self.metrics: set[str] = {metric for metric, _ in KEY_FIGURES}
        self.options: set[str] = set()
        for run in rows:
            self.metrics.update(run.latest, run.results)
            self.options.update(run.options)
        self._by_name: dict[str, list[str]] = {}
        for metric in sorted(self.metrics):
            for name in {metric.lower(), metric.rpartition("/")[2].lower()}:
                self._by_name.setdefault(name, []).append(metric)

    def metrics_called(self, name: str) -> list[str]:
        """The metrics meant by a whole name (`val/bpb`), its last part (`bpb`) or its screen name (`CORE`).

        The first that a run has counts: the one it is judged by, then in order of the alphabet.
        """
        name = name.lower()
        order = [metric for metric, _ in KEY_FIGURES]
        found = {
            *self._by_name.get(name, ()),
            *(metric for metric, short in KEY_FIGURES if short.lower() == name),
        }
        return sorted(
            found, key=lambda metric: (order.index(metric) if metric in order else len(order), metric)
        )

    def options_called(self, name: str) -> list[str]:
        """The options of that name, whatever its case and whether written with - or _."""
        return sorted(option for option in self.options if _same(option) == _same(name))

    def names(self) -> list[str]:
        """Everything that can stand before an operator, as it is best written."""
        short = {metric.rpartition("/")[2] for metric in self.metrics}
        return [
            *FIELDS,
            *sorted({*short, *self.metrics}),
            *(OPTION + option for option in sorted(self.options)),
        ]


def _same(name: str) -> str:
    return name.lower().replace("-", "_")


def metric_value(run: RunRow, metrics: Sequence[str]) -> float | None:
    """The value, as screens tell it, of the first of `metrics` that the run has as a number."""
    for metric in metrics:
        value = as_number(told(run, metric))
        if value is not None:
            return value
    return None
