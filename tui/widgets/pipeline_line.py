"""The pipeline as one line of whole words, with what fits of each stage's progress and figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from nanochat.common.text import percent
from remote.key_metric import key_figure
from remote.run_summary import progress
from tui.style.status import ROLE_STYLES, status_style

if TYPE_CHECKING:
    from remote.runs import RunRow

SHORT = {"tok_train": "tok", "base_train": "base", "mid_train": "mid", "chat_sft": "sft", "chat_rl": "rl"}
"""Titles of stages where the whole ones do not fit."""

Parts = list[tuple[str, str]]


@dataclass(frozen=True)
class Stop:
    """A stage on the line: its title, its newest run, and the stages that a click on it filters by."""

    title: str
    run: RunRow | None
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Detail:
    """How much is said of each stop; `between` stands between two of them."""

    between: str
    short: bool = False
    words: bool = True
    figures: bool = True
    names: bool = True


def _details(between: str, tight: str) -> tuple[Detail, ...]:
    return (
        Detail(between),
        Detail(between, short=True),
        Detail(between, short=True, names=False),
        Detail(between, short=True, words=False, names=False),
        Detail(between, short=True, words=False, figures=False, names=False),
        Detail(tight, short=True, words=False, figures=False, names=False),
    )


STAGES = _details(" → ", "→")
EVALS = _details("   ", "  ")


@dataclass(frozen=True)
class Span:
    """The cells of one stop on its line."""

    start: int
    stop: int
    stages: tuple[str, ...]


def fitted(
    stops: Sequence[Stop], details: Sequence[Detail], width: int, lead: str
) -> tuple[Parts, list[Span]]:
    """The line in the first of `details` that fits into `width` cells, and where its stops are."""
    for detail in details:
        parts, spans = _line(stops, detail, lead)
        if spans[-1].stop <= width:
            break
    return parts, spans


def _line(stops: Sequence[Stop], detail: Detail, lead: str) -> tuple[Parts, list[Span]]:
    parts: Parts = [(lead, "$muted")]
    spans = []
    at = cell_len(lead)
    for index, stop in enumerate(stops):
        if index:
            parts.append((detail.between, "$muted"))
            at += cell_len(detail.between)
        words = list(_words(stop, detail))
        parts += words
        length = sum(cell_len(text) for text, _ in words)
        spans.append(Span(at, at + length, stop.stages))
        at += length
    return parts, spans


def _words(stop: Stop, detail: Detail) -> Iterator[tuple[str, str]]:
    title = SHORT.get(stop.title, stop.title) if detail.short else stop.title
    run = stop.run
    if run is None:
        yield f"· {title}", "$muted"
        return
    status = status_style(run.status)
    role = ROLE_STYLES[status.role]
    yield f"{status.glyph} ", role
    yield title, f"bold {role}"
    said = [percent(progress(run)) if run.at_work else ""]
    if detail.words and run.status not in ("running", "succeeded"):
        said.append(status.word)
    if any(said):
        yield "".join(f" {word}" for word in said if word), role
    figure = key_figure(run)
    if detail.figures and figure.text:
        yield f" {figure if detail.names else figure.text}", ""
