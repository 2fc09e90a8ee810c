"""Which evaluations stand in the tables as columns, in which order, and what is told of each."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nanochat.checkpoint.names import SOURCES
from nanochat.common.text import amount, percent, sanitize, size_bytes, when
from remote.evaluation_tables import settings_key, settings_line

if TYPE_CHECKING:
    from remote.store.evaluation import Listed
    from remote.store.evaluations import Evaluation, Kind

TABLES: tuple[tuple[Kind, str], ...] = (
    ("core", "CORE"),
    ("chat", "chat"),
    ("bpb", "bits per byte"),
    ("tokenizer", "tokenizers"),
)
"""The tables of the screen with their titles."""

EXTENT = ("max_per_task", "max_problems")
"""The settings that say how many items of a task there are at most."""
_STAMP = re.compile(r"^\d{8}-\d{6}-")
"""When a run was made, at the beginning of its id."""


def kind_of(name: object) -> Kind | None:
    """The table of that name, where there is one."""
    return next((kind for kind, _ in TABLES if kind == name), None)


@dataclass
class Board:
    """The columns of each table: the newest of what is alike, but for what was chosen otherwise.

    `shown` and `hidden` are ids of evaluations.
    """

    shown: set[int] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)

    def columns(self, evaluations: Iterable[Evaluation], kind: Kind) -> list[Evaluation]:
        """The evaluations of a kind that are columns, in their order."""
        known = [one for one in evaluations if one.kind == kind]
        usual = _usual(known)
        return column_order(
            one for one in known if one.id in self.shown or (one.id in usual and one.id not in self.hidden)
        )

    def choose(self, evaluations: Iterable[Evaluation], kind: Kind, chosen: Collection[int]) -> None:
        """Makes these the columns of a table; what comes later joins them as it would."""
        known = [one for one in evaluations if one.kind == kind]
        usual = _usual(known)
        for one in known:
            self.shown.discard(one.id)
            self.hidden.discard(one.id)
            if one.id in chosen and one.id not in usual:
                self.shown.add(one.id)
            elif one.id not in chosen and one.id in usual:
                self.hidden.add(one.id)

    def document(self) -> dict[str, list[int]]:
        """What `restore` takes."""
        return {"shown": sorted(self.shown), "hidden": sorted(self.hidden)}

    def restore(self, document: object) -> None:
        """Takes over what was chosen at an earlier start; what makes no sense is left out."""
        known = document if isinstance(document, Mapping) else {}

        def numbers(name: str) -> set[int]:
            found = known.get(name)
            return {one for one in found if type(one) is int} if isinstance(found, list) else set()

        self.shown, self.hidden = numbers("shown"), numbers("hidden")


def _usual(known: Iterable[Evaluation]) -> set[int]:
    """The ids of what is a column unless it was chosen otherwise; not of what says nothing."""
    return {one.id for one in newest_of_alike(one for one in known if _says_something(one))}


def _says_something(one: Evaluation) -> bool:
    return bool(one.tasks or one.status == "running" or one.problem)


def newest_of_alike(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The newest step, in it the newest evaluation, of each checkpoint folder with the same settings. One
    that ended early stands only where there is no other of its step."""
    newest: dict[tuple[str, ...], Evaluation] = {}
    for one in evaluations:
        key = (one.host, one.kind, one.checkpoint or one.run, settings_key(one.settings))
        other = newest.get(key)
        if other is None or _age(one) > _age(other):
            newest[key] = one
    return list(newest.values())


def _age(one: Evaluation) -> tuple[int, bool, float]:
    return (-1 if one.step is None else one.step, one.status != "ended", one.t)


def column_order(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Stage by stage of one tag, the tag evaluated last first; published tables at the end, by their mean."""
    found = list(evaluations)
    references = [one for one in found if one.reference]
    own = [one for one in found if not one.reference]
    last: dict[str, float] = {}
    for one in own:
        tag = _tag(one)
        last[tag] = max(one.t, last.get(tag, 0.0))
    own.sort(key=lambda one: (-last[_tag(one)], _tag(one), _stage(one), *_age(one)))
    references.sort(key=lambda one: (one.mean is None, one.mean or 0.0, one.checkpoint))
    return [*own, *references]


def _tag(one: Evaluation) -> str:
    return one.checkpoint.partition("/")[2] or one.checkpoint


def _stage(one: Evaluation) -> int:
    source = one.checkpoint.partition("/")[0]
    return SOURCES.index(source) if source in SOURCES else len(SOURCES)


# ---- what is told of an evaluation ---------------------------------------------------------------------


def title(one: Evaluation) -> str:
    """Its checkpoint with the step, clean; where that is not known the run that made it."""
    if one.checkpoint:
        return sanitize(one.name, 60)
    run = _STAMP.sub("", one.run.partition("/")[2]) or "?"
    return sanitize(run if one.step is None else f"{run}@{one.step}", 60)


def command_name(one: Evaluation, evaluations: Iterable[Evaluation]) -> str:
    """How a command names it: by its checkpoint, by its number where that would name several."""
    alike = [other for other in evaluations if (other.name, other.kind) == (one.name, one.kind)]
    return one.name if len(alike) < 2 and one.checkpoint else str(one.id)


def standing(one: Evaluation) -> tuple[str, str]:
    """How far it is, and the role of its colour; "" for one that is complete."""
    if one.reference:
        return "published", "muted"
    if one.status == "running":
        return ("◐ " + ("running" if one.progress is None else percent(one.progress)), "live")
    if one.gone:
        return "✗ deleted", "warn"
    if one.problem:
        return "! unreadable", "bad"
    if one.status == "partial":
        if one.asked is None or one.asked <= len(one.tasks):  # all that was asked for, of too few for a mean
            return amount(len(one.tasks), "task"), "muted"
        return f"◌ {len(one.tasks)} of {amount(one.asked, 'task')}", "warn"
    if one.status == "ended":
        at = "" if one.progress is None else f" at {percent(one.progress)}"
        return f"■ ended{at}", "warn"
    return "", "muted"


def extent(settings: Mapping[str, Any]) -> str:
    """On how many items of each task it was made: `500 a task`, `all items`; "" where that is not known."""
    most = next((settings[name] for name in EXTENT if name in settings), None)
    if not isinstance(most, int) or isinstance(most, bool):
        return ""
    return "all items" if most < 0 else f"{most:,} a task"


def note(one: Evaluation, hosts: Collection[str], others: Iterable[Evaluation] = ()) -> tuple[str, str]:
    """The line below its name, and the role of its colour; with its host where there are several, and what
    it was asked for otherwise than others of the same name among `others`."""
    words, role = standing(one)
    where = sanitize(one.host, 20) if len(hosts) > 1 else ""
    parts = [words, where, *_distinctions(one, others), extent(one.settings)]
    parts.append("training" if one.while_training else "")
    return " · ".join(part for part in parts if part), role


def _distinctions(one: Evaluation, others: Iterable[Evaluation]) -> list[str]:
    """Its own values of the settings in which evaluations of the same name differ."""
    alike = [other for other in others if other.name == one.name and other.host == one.host]
    names = dict.fromkeys(name for other in alike for name in other.settings)
    differing = [
        name
        for name in names
        if name not in EXTENT and len({str(other.settings.get(name)) for other in alike}) > 1
    ]
    return [sanitize(str(one.settings[name]), 20) for name in differing if name in one.settings]


def about(one: Evaluation, now: float) -> str:
    """All that is told of an evaluation, in a line."""
    words, _ = standing(one)
    where = f"on {sanitize(one.host, 30)}" if one.host else ""
    parts = [title(one), where, words, settings_line(one)]
    if one.while_training:
        parts.append("made while training")
    if one.items is not None:
        parts.append(f"items {size_bytes(one.items.bytes)}")
    elif not one.reference:
        parts.append("no items")
    if one.t:
        parts.append(when(one.t, now))
    if one.problem:
        parts.append(sanitize(one.problem, 160))
    return " · ".join(part for part in parts if part)


def unread(listed: Listed) -> str:
    """What of a host's files of results is not in the tables, in a line; "" where all is."""
    lines = list(listed.problems[:1])
    if len(listed.problems) > 1:
        lines.append(f"and {amount(len(listed.problems) - 1, 'more file')}, told by nanochat evals ls")
    if listed.left_out:
        lines.append(f"{amount(listed.left_out, 'more file')} of results and runs than are looked at")
    return " · ".join(lines)


def hosts_of(evaluations: Sequence[Evaluation]) -> frozenset[str]:
    """The hosts that evaluations were made on."""
    return frozenset(one.host for one in evaluations if one.host)
