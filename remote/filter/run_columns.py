"""Any figure, option or metric of runs as a column of a table, by the names that the filter knows.

`config.depth` is an option, `val/bpb` or `bpb` a metric as screens tell it, `best:val/bpb` the best of it;
the fields of the filter and `spent` and `forecast` are columns too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError, nearest
from nanochat.common.text import duration, number, percent, sanitize, when
from remote.facts.money import forecast_text, spent_text
from remote.filter.fields import OPTION, STATUS_WORDS, Vocabulary
from remote.key_metric import KEY_FIGURES, key_figure, told
from remote.metrics import better, evaluated
from remote.run_summary import elapsed, eta, mfu, mfu_value, progress, said, speed, steps
from remote.runs import host_time
from remote.store.summary import as_number

if TYPE_CHECKING:
    from remote.facts.run_facts import RunFacts
    from remote.runs import RunRow

BEST = "best:"
"""In front of a metric's name: the best value that it had."""

Value = float | str | None
"""What a column sorts by: a number, a text, or nothing, which stands last."""


@dataclass(frozen=True)
class RunColumn:
    """A column: its name as it is written, its title, and what it tells of a run.

    `metric` is the one whose best has to be read before it is known (`RunFacts.fill`), else "".
    """

    name: str
    title: str
    text: Callable[[RunRow], str]
    value: Callable[[RunRow], Value]
    is_number: bool = True
    metric: str = ""


FIGURES = (
    *(
        "id",
        "name",
        "stage",
        "host",
        "status",
        "plan",
        "tag",
        "note",
        "result",
        "step",
        "done",
        "speed",
        "mfu",
    ),
    *("eta", "time", "age", "created", "ended", "attempt", "alerts", "spent", "forecast"),
)
"""The columns that are no metric and no option."""
_Made = tuple[str, Callable[["RunRow"], str], Callable[["RunRow"], Value], bool]


def _built(facts: RunFacts) -> dict[str, _Made]:
    """The columns that every run has: title, text, what it sorts by, whether that is a number."""

    def seconds(run: RunRow) -> float | None:
        return elapsed(run, host_time(run, facts.links.get(run.host), time.time()))

    def text(
        read: Callable[[RunRow], str],
    ) -> tuple[Callable[[RunRow], str], Callable[[RunRow], Value], bool]:
        return (lambda run: sanitize(read(run))), (lambda run: read(run) or None), False

    def age(run: RunRow) -> float | None:
        return time.time() + run.clock_ahead - run.created_at if run.created_at else None

    return {
        "id": ("run", *text(lambda run: run.run_id)),
        "name": ("name", *text(lambda run: run.label)),
        "stage": ("stage", *text(lambda run: run.stage)),
        "host": ("host", *text(lambda run: run.host)),
        "status": ("status", *text(lambda run: STATUS_WORDS.get(run.status, run.status))),
        "plan": ("plan", *text(lambda run: run.plan_name)),
        "tag": ("tags", *text(lambda run: " ".join(f"#{tag}" for tag in run.tags))),
        "note": ("reason, note", *text(said)),
        "result": ("result", lambda run: str(key_figure(run)), lambda run: key_figure(run).value, True),
        "step": ("step", steps, lambda run: run.step, True),
        "done": ("done", lambda run: percent(progress(run)), progress, True),
        "speed": ("tok/s", lambda run: speed(run).text, lambda run: speed(run).value, True),
        "mfu": ("MFU", mfu, mfu_value, True),
        "eta": ("ETA", eta, lambda run: run.eta_s if eta(run) else None, True),
        "time": ("time", lambda run: duration(seconds(run)), seconds, True),
        "age": ("age", lambda run: duration(age(run)), age, True),
        "created": (
            "created",
            lambda run: when(run.created_at, time.time()),
            lambda run: run.created_at or None,
            True,
        ),
        "ended": (
            "ended",
            lambda run: "" if run.live else when(run.ended_at, time.time()),
            lambda run: None if run.live else run.ended_at,
            True,
        ),
        "attempt": ("attempt", lambda run: str(run.attempt or ""), lambda run: float(run.attempt), True),
        "alerts": ("alerts", lambda run: str(run.alerts or ""), lambda run: float(run.alerts), True),
        "spent": (
            "spent",
            lambda run: spent_text(facts.cost(run, time.time())),
            lambda run: facts.cost(run, time.time()).spent,
            True,
        ),
        "forecast": (
            "forecast",
            lambda run: forecast_text(run, facts.cost(run, time.time())),
            lambda run: facts.cost(run, time.time()).forecast,
            True,
        ),
    }


def column_called(name: str, rows: Iterable[RunRow] | Vocabulary, facts: RunFacts) -> RunColumn:
    """The column of that name. Raises `UserError`, with the nearest names, for what no run has."""
    vocabulary = rows if isinstance(rows, Vocabulary) else Vocabulary(rows)
    wanted = name.strip()
    built = _built(facts).get(wanted.lower())
    if built is not None:
        title, text, value, is_number = built
        return RunColumn(wanted.lower(), title, text, _finite(value), is_number)
    if wanted.lower().startswith(OPTION):
        return _option(wanted[len(OPTION) :], vocabulary)
    if wanted.lower().startswith(BEST):
        return _best(wanted[len(BEST) :], vocabulary, facts)
    metrics = vocabulary.metrics_called(wanted)
    if not metrics:
        raise UserError(f"no column '{sanitize(name, 80)}'", _near(wanted, vocabulary))
    title = wanted if wanted in metrics else metrics[0]
    return RunColumn(
        wanted, _short(title), lambda run: _told(run, metrics)[0], _finite(lambda run: _told(run, metrics)[1])
    )


def columns_called(names: Iterable[str], rows: Iterable[RunRow], facts: RunFacts) -> list[RunColumn]:
    """`column_called` for each of the names; one that is given twice counts once."""
    vocabulary = Vocabulary(rows)
    found = {name: column_called(name, vocabulary, facts) for name in names if name.strip()}
    return list({column.name: column for column in found.values()}.values())


def names_offered(rows: Sequence[RunRow], facts: RunFacts) -> list[str]:
    """Every column that these runs have something for, the likeliest wanted first.

    Figures they are judged by, options that differ between them, other metrics, bests, other options.
    """
    vocabulary = Vocabulary(())
    distinct: dict[str, set[str]] = {}
    for run in rows:
        vocabulary.metrics.update(run.latest, run.results)
        for option, value in run.options.items():
            distinct.setdefault(option, set()).add(str(value))
    held = {metric for run in rows for metric in (*run.latest, *run.results)}
    key = [metric for metric, _ in KEY_FIGURES if metric in held]
    metrics = sorted(held - set(key), key=lambda metric: (metric.endswith("_stderr"), metric))
    bests = [
        BEST + metric for metric in (*key, *metrics) if better(metric) and evaluated(metric) and "/" in metric
    ]
    differing = sorted(option for option, values in distinct.items() if len(values) > 1)
    same = sorted(option for option, values in distinct.items() if len(values) == 1)
    return [
        *(["spent", "forecast"] if facts.priced else []),
        *key,
        *(OPTION + option for option in differing),
        *bests,
        *metrics,
        *("id", "tag", "age", "ended", "attempt", "alerts"),
        *(OPTION + option for option in same),
        *([] if facts.priced else ["spent", "forecast"]),
    ]


def _finite(value: Callable[[RunRow], Value]) -> Callable[[RunRow], Value]:
    """NaN has no place in an order: it counts as no value."""

    def read(run: RunRow) -> Value:
        found = value(run)
        return None if isinstance(found, float) and math.isnan(found) else found

    return read


def _told(run: RunRow, metrics: Sequence[str]) -> tuple[str, float | None]:
    """A metric as screens tell it: its text, and its number where it is one."""
    for metric in metrics:
        value = told(run, metric)
        if value is not None:
            return number(value), as_number(value)
    return "", None


def _option(name: str, vocabulary: Vocabulary) -> RunColumn:
    options = vocabulary.options_called(name)
    if not options:
        known = [OPTION + option for option in vocabulary.options]
        raise UserError(
            f"no run has an option '{sanitize(OPTION + name, 80)}'", nearest(OPTION + name, known)
        )

    def read(run: RunRow) -> object:
        return next((run.options[option] for option in options if option in run.options), None)

    def text(run: RunRow) -> str:
        value = read(run)
        if isinstance(value, bool):
            return "yes" if value else "no"
        return "" if value is None else sanitize(str(value), 200)

    def value(run: RunRow) -> Value:
        found = as_number(read(run))
        return found if found is not None else text(run) or None

    return RunColumn(OPTION + options[0], options[0], text, _finite(value))


def _best(name: str, vocabulary: Vocabulary, facts: RunFacts) -> RunColumn:
    metrics = vocabulary.metrics_called(name)
    if not metrics:
        known = {part for metric in vocabulary.metrics for part in (metric, metric.rpartition("/")[2])}
        raise UserError(f"no metric '{sanitize(name, 80)}'", nearest(name, known))
    metric = metrics[0]
    if not better(metric):
        raise UserError(f"{metric} has no best", "neither lower nor higher is known to be better")
    return RunColumn(
        BEST + metric,
        f"best {metric.rpartition('/')[2]}",
        lambda run: number(facts.best(run, metric)),
        lambda run: facts.best(run, metric),
        metric=metric,
    )


def _short(metric: str) -> str:
    """What a column of a metric is called: as screens call it, else its name."""
    names = dict(KEY_FIGURES)
    return names.get(metric, metric)


def _near(name: str, vocabulary: Vocabulary) -> str:
    known = [*FIGURES, *vocabulary.names()]
    hint = nearest(name, known)
    return (
        hint
        if hint.startswith("did")
        else "known: figures such as spent, metrics, best:METRIC, config.OPTION"
    )
