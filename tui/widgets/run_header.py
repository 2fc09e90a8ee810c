"""Two lines on top of a run: its name and host, and its progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from nanochat.common.text import duration, percent, sanitize
from remote.facts.money import brief, told
from remote.facts.run_facts import RunFacts
from remote.key_metric import key_figure
from remote.run_summary import elapsed, eta, extent, mean_speed, progress, reading, speed
from remote.runs import host_time
from tui.style.status import ROLE_STYLES, status_style

if TYPE_CHECKING:
    from remote.runs import Link, RunRow

ROOMY = 110
"""The width from which money is told in words."""
Parts = list[tuple[str, str]]


class RunHeader(Widget):
    """Shows `run`; `link` says whether its data is up to date."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.run: RunRow | None = None
        self.link: Link | None = None
        self.facts = RunFacts()

    def show(self, run: RunRow | None, link: Link | None) -> None:
        self.run, self.link = run, link
        self.refresh()

    @property
    def stale(self) -> bool:
        """True when a live run's host is out of contact."""
        return self.run is not None and self.run.live and self._silent

    @property
    def _silent(self) -> bool:
        return self.link is None or self.link.status != "up"

    def render(self) -> Content:
        run = self.run
        if run is None:
            return Content.styled("no run chosen", "$muted")
        now = time.time()
        return Content("\n").join([self._line(*self._who(run, now)), self._line(*self._how_far(run, now))])

    def _who(self, run: RunRow, now: float) -> tuple[Parts, Parts]:
        status = status_style(run.status)
        style = "$muted" if self.stale else ROLE_STYLES[status.role]
        left: Parts = [
            (f" {status.glyph} {status.word}{'?' if self.stale else ''} ", f"bold {style}"),
            (f" {sanitize(run.label, 60)} ", "bold"),
            (f" {run.stage} · {sanitize(run.host, 40)}", "$muted"),
        ]
        if run.attempt > 1:
            left.append((f" · attempt {run.attempt}", "$muted"))
        left += [(f" #{sanitize(tag, 30)}", "$accent") for tag in run.tags]
        if run.note:
            left.append((f" · {sanitize(run.note, 120)}", "$muted"))
        if self.stale:
            return left, [(stale_words(self.link, now) + " ", "bold $warning")]
        if run.partial:
            silent = f" · {stale_words(self.link, now)}" if self._silent else ""
            return left, [(f"{reading(run)}{silent} ", "bold $warning")]
        if run.reason and not run.live:
            return left, [(sanitize(run.reason, 120) + " ", style)]
        return left, [(f"{key_figure(run)} ", "bold $accent")]

    def _how_far(self, run: RunRow, now: float) -> tuple[Parts, Parts]:
        done = run.share_read if run.partial else progress(run)
        words = [
            f"so far {extent(run)}" if run.partial else extent(run),
            duration(elapsed(run, host_time(run, self.link, now))),
            f"ETA {eta(run)}" if eta(run) and not run.partial else "",
            self._cost(run, now),
            "" if run.partial else _pace(run),
            f"⚠ {run.alerts}" if run.alerts else "",
        ]
        right: Parts = [(" · ".join(word for word in words if word) + " ", "")]
        room = max(10, self.size.width - cell_len(right[0][0]) - 10)
        filled = round((done or 0.0) * room)
        colour = "$muted" if self.stale or run.partial else ROLE_STYLES[status_style(run.status).role]
        left: Parts = [
            (" ", ""),
            ("━" * filled, colour),
            ("─" * (room - filled), "$rule"),
            (" read " if run.partial else f" {percent(done):>4} ", "bold"),
        ]
        return left, right

    def _cost(self, run: RunRow, now: float) -> str:
        found = self.facts.cost(run, now)
        return told(found) if self.size.width >= ROOMY else brief(found)

    def _line(self, left: Parts, right: Parts) -> Content:
        room = self.size.width - sum(cell_len(text) for text, _ in right)
        start = Content.assemble(*left)
        if start.cell_length > room:
            start = start.truncate(max(0, room - 1), ellipsis=True)
        return Content.assemble(start, " " * max(0, room - start.cell_length), *right)


def _pace(run: RunRow) -> str:
    """`3.60k tok/s`; of an ended training its mean, and said so."""
    pace = speed(run)
    if not pace.text:
        return ""
    return f"{'' if run.live or mean_speed(run) is None else 'mean '}{pace.text} {pace.name}"


def stale_words(link: Link | None, now: float) -> str:
    """`no contact for 12s, retrying in 4s`."""
    if link is None:
        return "host is not in the list"
    silence = link.silence(now)
    words = "no contact yet" if silence is None else f"no contact for {duration(silence) or '0s'}"
    if link.status == "connecting":
        return f"{words}, connecting"
    if link.retry_in is not None:
        return f"{words}, retrying in {duration(max(0.0, link.since + link.retry_in - now))}"
    return words
