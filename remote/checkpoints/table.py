"""The table of checkpoints: the rows that the Checkpoints screen and `nanochat checkpoints` show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.checkpoint.names import SOURCES
from nanochat.common.text import amount, short, size_bytes, when
from nanochat.evals.results import Kind
from remote.checkpoints.lineage import Family, told
from remote.checkpoints.saved import Listing, SavedCheckpoint
from remote.hosts.book import LOCAL
from remote.store.evaluation import Evaluation


@dataclass(frozen=True)
class Row:
    """A checkpoint with what is known of it elsewhere: its scores, its copies, who uses it."""

    one: SavedCheckpoint
    bpb: float | None = None
    core: float | None = None
    chat_core: float | None = None
    evaluations: int = 0
    """Of these weights, on any host."""
    origin: str = ""
    """The name of the checkpoint it was started from; with `?` where only the options tell."""
    copies: tuple[str, ...] = ()
    """Other hosts that have it too."""
    users: tuple[str, ...] = ()
    newest: bool = False
    """Whether its name without a step stands for it."""

    @property
    def is_here(self) -> bool:
        """Whether this machine has it."""
        return LOCAL in (self.one.host, *self.copies)


def rows(listings: Iterable[Listing], evaluations: Iterable[Evaluation]) -> list[Row]:
    """A row for every checkpoint: by host, stage and tag, in a tag the one saved last first."""
    listings = list(listings)
    known = [one for listing in listings for one in listing.checkpoints]
    alike, family = _copies(known), Family(known)
    scores = _Scores(evaluations)
    newest = {_tag(one): one.key for one in sorted(known, key=_saved)}
    found = []
    for listing in listings:
        for one in listing.checkpoints:
            same = [one, *alike[one.key]]
            parent = family.origin(one)
            named = str(parent.name) if parent is not None else one.origin.name if one.origin else ""
            found.append(
                Row(
                    one,
                    one.bpb if one.bpb is not None else scores.mean(same, "bpb"),
                    scores.mean(same, "core", "core/core"),
                    scores.mean(same, "chat", "chat/ChatCORE"),
                    scores.count(same),
                    named + ("?" if named and one.origin is not None and one.origin.asked else ""),
                    tuple(dict.fromkeys(other.host for other in alike[one.key])),
                    tuple(listing.users(one)),
                    newest[_tag(one)] == one.key,
                )
            )
    hosts = {listing.host: number for number, listing in enumerate(listings)}
    last: dict[tuple[str, str, str], float] = {_tag(row.one): 0.0 for row in found}
    for row in found:
        last[_tag(row.one)] = max(last[_tag(row.one)], row.one.t)

    def place(row: Row) -> tuple[Any, ...]:
        one = row.one
        tag = SOURCES.index(one.name.source), -last[_tag(one)], one.name.tag
        return hosts[one.host], *tag, *(-value for value in _saved(one)), one.entry

    return sorted(found, key=place)


def _saved(one: SavedCheckpoint) -> tuple[bool, float, int]:
    """The order of saving, as `nanochat.checkpoint.files.list_checkpoints` has it: upstream's by step."""
    return not one.upstream, 0.0 if one.upstream else one.t, one.name.step or 0


def _tag(one: SavedCheckpoint) -> tuple[str, str, str]:
    return one.host, one.name.source, one.name.tag


def _copies(known: Sequence[SavedCheckpoint]) -> dict[str, list[SavedCheckpoint]]:
    """The copies of each checkpoint on other hosts."""
    groups: defaultdict[object, list[SavedCheckpoint]] = defaultdict(list)
    for one in known:
        groups[one.weights or (str(one.name), one.files.get(one.entry))].append(one)
    return {
        one.key: [other for other in group if other.host != one.host]
        for group in groups.values()
        for one in group
    }


class _Scores:
    """The means of evaluations by host, checkpoint and kind."""

    def __init__(self, evaluations: Iterable[Evaluation]) -> None:
        self._by: defaultdict[tuple[str, str], list[Evaluation]] = defaultdict(list)
        for one in evaluations:
            self._by[one.host, one.name].append(one)

    def mean(self, same: Sequence[SavedCheckpoint], kind: Kind, figure: str = "") -> float | None:
        """Of the newest evaluation made for its own sake, else of one made while training, else what the
        training wrote into the metadata."""
        found = [
            (one.while_training, -one.t, one.mean)
            for checkpoint in same
            for one in self._by.get((checkpoint.host, str(checkpoint.name)), ())
            if one.kind == kind and one.mean is not None
        ]
        if found:
            return min(found)[2]
        return next((one.figures[figure] for one in same if figure in one.figures), None)

    def count(self, same: Sequence[SavedCheckpoint]) -> int:
        return sum(len(self._by.get((one.host, str(one.name)), ())) for one in same)


# ---- what is told of a row -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A column of tables for people and programs: its title, what it shows, what it is."""

    title: str
    shown: Callable[[Row, float], str]
    value: Callable[[Row], object]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


COLUMNS: dict[str, Told] = {
    "host": Told("host", lambda row, now: row.one.host, lambda row: row.one.host),
    "checkpoint": Told("checkpoint", lambda row, now: str(row.one.name), lambda row: str(row.one.name)),
    "bytes": Told("size", lambda row, now: size_bytes(row.one.bytes), lambda row: row.one.bytes),
    "parameters": Told("parameters", lambda row, now: parameters(row.one), lambda row: row.one.parameters),
    "bpb": Told("bpb", lambda row, now: _figure(row.bpb), lambda row: row.bpb),
    "core": Told("CORE", lambda row, now: _figure(row.core), lambda row: row.core),
    "chat_core": Told("ChatCORE", lambda row, now: _figure(row.chat_core), lambda row: row.chat_core),
    "saved": Told("saved", lambda row, now: when(row.one.t, now) if row.one.t else "", lambda row: row.one.t),
    "from": Told("from", lambda row, now: row.origin, lambda row: row.origin),
    "run": Told("run", lambda row, now: row.one.run, lambda row: row.one.run),
    "optimizer": Told(
        "optimizer", lambda row, now: "yes" if row.one.optimizer else "no", lambda row: row.one.optimizer
    ),
    "copies": Told("also on", lambda row, now: ", ".join(row.copies), lambda row: list(row.copies)),
    "state": Told("state", lambda row, now: state(row), lambda row: state(row)),
}


def parameters(one: SavedCheckpoint) -> str:
    """`561M`; "" where it is not known."""
    return "" if one.parameters is None else short(one.parameters)


def state(row: Row) -> str:
    """What is to be known before it is used or deleted, in a few words; "" for nothing."""
    if row.one.problem:
        return f"! {row.one.problem}"
    return "in use" if row.users else ""


def family_of(listings: Iterable[Listing]) -> Family:
    """Every checkpoint that the hosts told, as one family."""
    return Family(one for listing in listings for one in listing.checkpoints)


def document(row: Row, family: Family) -> dict[str, Any]:
    """All that is known of a checkpoint, as JSON."""
    one = row.one
    found = {name: column.value(row) for name, column in COLUMNS.items()}
    config = one.config
    return found | {
        "entry": one.entry,
        "format": "upstream" if one.upstream else "nanochat",
        "era": one.era,
        "files": dict(one.files),
        "weights_sha256": one.weights,
        "tokenizer": one.tokenizer,
        "text": {"name": one.text.name, "size": one.text.size, "sha256": one.text.sha256},
        "model_config": None if config is None else config.to_meta(),
        "figures": dict(one.figures),
        "evaluations": row.evaluations,
        "used_by": list(row.users),
        "problem": one.problem,
        "lineage": [step.name for step in family.lineage(one)],
        "started_from_it": [f"{other.host}:{other.name}" for other in family.children(one)],
    }


def about(row: Row, family: Family, now: float) -> list[tuple[str, str]]:
    """All that is told of a checkpoint to a person: headings and lines, "" where the last heading goes on."""
    one, config = row.one, row.one.config
    shape = (
        ""
        if config is None
        else (
            f"{one.era} · {config.n_layer} layers · width {config.n_embd} · {config.n_head} heads · "
            f"context {config.sequence_len:,} · vocabulary {config.vocab_size:,}"
        )
    )
    model = " · ".join(part for part in (parameters(one) and f"{parameters(one)} parameters", shape) if part)
    scores = [("bpb", row.bpb), ("CORE", row.core), ("ChatCORE", row.chat_core)]
    means = [f"{name} {value:.4f}" for name, value in scores if value is not None]
    lines = [
        (
            "checkpoint",
            f"{one.name} on {one.host}"
            + (" · the one that its name without a step means" if row.newest else ""),
        ),
        ("model", model),
        ("scores", " · ".join([*means, *_scores_told(row)])),
        (
            "evaluated",
            f"{amount(row.evaluations, 'time')}: nanochat evals show {one.name}" * (row.evaluations > 0),
        ),
        ("saved", f"{when(one.t, now)} · {size_bytes(one.bytes)} in {len(one.files)} files" if one.t else ""),
        (
            "optimizer",
            "its state is there" + (": training can go on from it" if not one.problem else "")
            if one.optimizer
            else "no state: training cannot go on from it",
        ),
        ("also on", ", ".join(row.copies)),
        ("in use by", "; ".join(row.users)),
        ("problem", one.problem),
    ]
    found = [(heading, line) for heading, line in lines if line]
    for number, line in enumerate(told(family.lineage(one))):
        found.append(("lineage" if not number else "", line))
    children = family.children(one)
    if children:
        found.append(("started from it", ", ".join(_where(other, one) for other in children)))
    return found


def brief(row: Row, family: Family) -> list[tuple[str, str]]:
    """What is told of a checkpoint under the cursor, a heading and a line each, the most important first."""
    one, config = row.one, row.one.config
    shape = "" if config is None else f"{config.n_layer} layers · width {config.n_embd} · {one.era}"
    chain = family.lineage(one)
    oldest = chain[-1].checkpoint
    names = [step.name + (" (gone)" if step.checkpoint is None else "") for step in chain[1:]]
    text = "" if oldest is None or not oldest.text.name else f"text {oldest.text.name}"
    told = [
        ("in use by", "; ".join(row.users)),
        ("problem", one.problem),
        (
            "model",
            " · ".join(
                part for part in (f"{parameters(one)} parameters" * (config is not None), shape) if part
            ),
        ),
        ("from", " ← ".join(part for part in (*names, text if names else "") if part)),
        ("run", one.run),
        ("trained on", " · ".join(part for part in (one.text.name, one.text.size) if part)),
        (
            "training",
            ("can go on: its optimizer state is there" if not one.problem else "cannot go on: it is damaged")
            if one.optimizer
            else "cannot go on: no optimizer state",
        ),
        ("also on", ", ".join(row.copies)),
        ("scores", " · ".join(_scores_told(row))),
        ("evaluated", amount(row.evaluations, "time") if row.evaluations else "not yet"),
    ]
    return [(heading, line) for heading, line in told if line]


MOST_SCORES = 8


def _scores_told(row: Row) -> list[str]:
    """What its metadata say of tasks, which are in no column: `SpellingBee 0.6667`, `pass@1 0.8281`."""
    found = []
    for name, value in row.one.figures.items():
        group, _, task = name.partition("/")
        if group in ("chat", "core", "rl") and task not in ("core", "ChatCORE") and "stderr" not in task:
            found.append(f"{task} {value:.4f}")
    return found[:MOST_SCORES]


def depends(row: Row, family: Family) -> list[str]:
    """What depends on a checkpoint, a line each: read before it is deleted."""
    one = row.one
    lines = []
    if children := family.children(one):
        names = ", ".join(_where(other, one) for other in children)
        lines.append(f"{names} started from it and would lose that ancestor")
    if row.evaluations:
        stay = "stays" if row.evaluations == 1 else "stay"
        lines.append(f"{amount(row.evaluations, 'evaluation')} of it {stay} known, and cannot be made again")
    if row.newest:
        lines.append(f"{one.name.source}/{one.name.tag} without a step stands for it")
    if not row.copies:
        lines.append("no other host that is known has these weights")
    return lines


def _where(other: SavedCheckpoint, one: SavedCheckpoint) -> str:
    return str(other.name) if other.host == one.host else f"{other.host}:{other.name}"
