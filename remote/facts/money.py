"""What a run has cost and will cost: the price of its host an hour, for as long as its attempts ran.

Prices are dollars, as the book of hosts has them. One that is not known makes a cost unknown, never 0. Runs
that share a host at the same time each count its whole price.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.common.text import amount
from remote.run_summary import elapsed

if TYPE_CHECKING:
    from remote.runs import RunRow

UNKNOWN = "unknown"
"""What stands for a cost whose price is not known."""
_HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """Dollars spent so far, and in the end for a run that has told how long it still takes; None: unknown.

    `started` is False for a run that has cost nothing because it has not begun.
    """

    spent: float | None = None
    forecast: float | None = None
    started: bool = False


def cost(run: RunRow, price: float | None, now: float, earlier: float | None = 0.0) -> Cost:
    """The cost of a run on a host of `price` an hour; `now` is what its host's clock shows.

    `earlier` are the seconds that its attempts before the current one took, None where they are not known.
    """
    seconds = elapsed(run, now)
    if seconds is None:
        return Cost()
    if price is None or earlier is None or not math.isfinite(price):
        return Cost(started=True)
    spent = (seconds + earlier) / _HOUR * price
    left = run.eta_s if run.status == "running" and not run.partial else None
    known = left is not None and math.isfinite(left) and left >= 0
    return Cost(spent, spent + (left or 0.0) / _HOUR * price if known else None, True)


def dollars(value: float | None) -> str:
    """`$0.42`, `$53.60`, `$1,235`; `unknown` for None."""
    if value is None:
        return UNKNOWN
    return f"${value:,.2f}" if abs(value) < 1000 else f"${value:,.0f}"


def spent_text(found: Cost) -> str:
    """What was spent, `unknown` without a price; empty for a run that has not begun."""
    return dollars(found.spent) if found.started else ""


def forecast_text(run: RunRow, found: Cost) -> str:
    """What it will have cost, while it runs and tells its end; else empty."""
    if run.status != "running" or run.eta_s is None or run.partial:
        return ""
    return dollars(found.forecast)


def told(found: Cost) -> str:
    """`$53.60 spent, $80.12 forecast`; empty where nothing is known."""
    words = [f"{dollars(found.spent)} spent"] if found.spent is not None else []
    words += [f"{dollars(found.forecast)} forecast"] if found.forecast is not None else []
    return ", ".join(words)


def brief(found: Cost) -> str:
    """The same where there is little room: `$53.60 of $80.12`."""
    words = [dollars(value) for value in (found.spent, found.forecast) if value is not None]
    return " of ".join(words)


def total(costs: Iterable[Cost]) -> str:
    """The sum over runs: `$53.60 spent, $80.12 forecast, 2 runs unknown`; empty where no price is known.

    The forecast counts what ended runs have cost too, and of a run that tells no end what it has so far.
    """
    found = [item for item in costs if item.started]
    known = [item for item in found if item.spent is not None]
    if not known:
        return ""
    spent = sum(item.spent or 0.0 for item in known)
    words = [f"{dollars(spent)} spent"]
    if any(item.forecast is not None for item in known):
        end = sum(item.spent or 0.0 if item.forecast is None else item.forecast for item in known)
        words.append(f"{dollars(end)} forecast")
    if len(known) < len(found):
        words.append(f"{amount(len(found) - len(known), 'run')} {UNKNOWN}")
    return ", ".join(words)
