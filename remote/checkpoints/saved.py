"""A checkpoint on a host, as its agent tells of it: another machine wrote it all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nanochat.checkpoint.meta import FIGURES, measured_bpb
from nanochat.checkpoint.names import SOURCES, CheckpointName
from nanochat.common import fields
from nanochat.common.errors import UserError
from nanochat.model.architecture import (
    CLASSIC,
    MODERN,
    ArchitectureFlags,
    ModelConfig,
    config_from_checkpoint,
    parameter_counts,
)
from remote.runs import RUN_ID
from remote.store.evaluation_figures import checkpoint_of

Json = dict[str, Any]

MOST = 10_000
MOST_FILES = 4_000
_MODERN_WEIGHTS = ("resid_lambdas", "value_embeds.0", "smear_lambda", "backout_lambda")


@dataclass(frozen=True)
class Origin:
    """What a checkpoint's training started from: a checkpoint by its name, and its weights where recorded.

    `asked` says that only the options tell, which of several saved there is then not known.
    """

    name: str
    weights: str = ""
    asked: bool = False


@dataclass(frozen=True)
class Text:
    """What it was trained on: the corpus or conversations by name, size and digest."""

    name: str = ""
    size: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class SavedCheckpoint:
    """One checkpoint. `name` has its step; `entry` is its folder, or upstream nanochat's model file.

    `files` are sizes in bytes by name; `t` is when it was saved (Unix seconds, the host's clock), `run` the
    id of the run that saved it, `weights` tells these weights from others ("" where that is not recorded),
    `optimizer` whether it can be trained on. `problem` is a line about files that are missing or damaged.
    """

    host: str
    name: CheckpointName
    entry: str
    upstream: bool = False
    files: Mapping[str, int] = field(default_factory=dict)
    t: float = 0.0
    run: str = ""
    stage: str = ""
    weights: str = ""
    optimizer: bool = False
    problem: str = ""
    used_by: tuple[str, ...] = ()
    config: ModelConfig | None = None
    bpb: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    text: Text = Text()
    tokenizer: str = ""
    """The fingerprint of its ids; "" where it is not recorded."""
    origin: Origin | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Those that the run which saved it was started with, where its log is there."""

    @property
    def key(self) -> str:
        """What tells it from every other: two runs may have saved the same step."""
        return f"{self.host}:{self.name.source}/{self.name.tag}/{self.entry}"

    @property
    def bytes(self) -> int:
        return sum(self.files.values())

    @property
    def parameters(self) -> int | None:
        """Its number of parameters; None where the metadata do not give its shape."""
        return None if self.config is None else parameter_counts(self.config)["total"]

    @property
    def era(self) -> str:
        """`classic`, `modern`, or "" where the shape is not known."""
        if self.config is None:
            return ""
        return "classic" if self.config.parts == CLASSIC else "modern"


@dataclass(frozen=True)
class LiveRun:
    """A run at work or waiting on a host, and which checkpoint it will read where it waits."""

    run: str
    stage: str
    waits: bool
    source: str = ""
    tag: str = ""
    step: int = -1

    def will_read(self, name: CheckpointName) -> bool:
        """Whether it may read that checkpoint when it starts."""
        return (
            self.waits
            and self.source == name.source
            and self.tag in ("", name.tag)
            and self.step in (-1, name.step)
        )


@dataclass(frozen=True)
class Listing:
    """What a host told of its checkpoints: when (Unix seconds), each of them, and how many were left out."""

    host: str
    at: float
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    live: tuple[LiveRun, ...] = ()
    left_out: int = 0

    def users(self, one: SavedCheckpoint) -> list[str]:
        """Who uses one of them now, or will when it starts: it cannot be deleted."""
        at_work = [live for live in self.live if live.run == one.run]
        found = list(one.used_by)
        found += [f"run {live.run}, which saved it and is at work" for live in at_work]
        waiting = [live for live in self.live if live.run != one.run and live.will_read(one.name)]
        return found + [f"run {live.run}, which waits to read it" for live in waiting]


def listing_of(host: str, answer: Json, now: float) -> Listing:
    """An agent's answer, read field by field; an entry that is none is left out."""
    starts = answer.get("starts")
    starts = starts if isinstance(starts, dict) else {}
    saved = answer.get("saved")
    found = [one for entry in _dicts(saved, MOST) if (one := _checkpoint(host, entry, starts)) is not None]
    live = [run for entry in _dicts(answer.get("live"), MOST) if (run := _live(entry)) is not None]
    return Listing(host, now, tuple(found), tuple(live), fields.whole(answer.get("left_out"), 0) or 0)


def _dicts(value: object, most: int) -> Iterator[Json]:
    if isinstance(value, list):
        yield from (entry for entry in value[:most] if isinstance(entry, dict))


def _checkpoint(host: str, entry: Json, starts: Json) -> SavedCheckpoint | None:
    source, tag, step = entry.get("source"), entry.get("tag"), fields.whole(entry.get("step"), 0)
    name, sizes = fields.text(entry.get("entry")), entry.get("files")
    if source not in SOURCES or not isinstance(tag, str) or step is None or not name:
        return None
    if not 0 < len(tag) <= 200 or not tag.isprintable() or set("/@") & set(tag):
        return None
    files = {
        file: size
        for file, told in list(sizes.items() if isinstance(sizes, dict) else ())[:MOST_FILES]
        if isinstance(file, str) and file.isprintable() and (size := fields.whole(told, 0)) is not None
    }
    meta = entry.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    run = fields.text(entry.get("run")) or ""
    run = run if RUN_ID.fullmatch(run) else ""
    upstream = entry.get("upstream") is True
    start = starts.get(run)
    start = start if isinstance(start, dict) else {}
    figures = meta.get(FIGURES)
    told = list(figures.items())[:400] if isinstance(figures, dict) else []
    return SavedCheckpoint(
        host,
        CheckpointName(source, tag, step),
        name,
        upstream,
        files,
        fields.moment(entry.get("t")) or 0.0,
        run,
        fields.text(start.get("stage"), 80) or "",
        fields.text(entry.get("weights"), 100) or "",
        entry.get("optimizer") is True,
        fields.text(entry.get("problem")) or "",
        fields.texts(entry.get("used_by") or (), 200, 1_000) or (),
        _config(meta),
        measured_bpb(meta, step, upstream),
        {
            fields.text(key, 120) or "": number
            for key, value in told
            if (number := fields.real(value)) is not None
        },
        _text(meta),
        fields.text(meta.get("tokenizer_fingerprint"), 100)
        or fields.text(meta.get("tokenizer_sha256"), 100)
        or "",
        _origin(source, tag, meta, start),
        options if isinstance(options := fields.plain(start.get("options")), dict) else {},
    )


def _config(meta: Json) -> ModelConfig | None:
    """The shape of the model; None where the metadata do not give it.

    Upstream's metadata name no parts: what has a window pattern is modern; weights are not read.
    """
    sizes, parts = meta.get("model_config"), meta.get("parts")
    if not isinstance(sizes, dict):
        return None
    try:
        found = config_from_checkpoint(sizes, _MODERN_WEIGHTS if "window_pattern" in sizes else ())
        if isinstance(parts, dict):
            known = {name: value for name, value in parts.items() if hasattr(MODERN, name)}
            found = ModelConfig(**{**found.to_meta(), "parts": ArchitectureFlags(**known)})
    except (UserError, TypeError):
        return None
    too_many = found.n_layer > 10_000 or max(found.n_embd, found.vocab_size) > 1 << 24
    return None if too_many else found


def _text(meta: Json) -> Text:
    data = meta.get("data")
    if not isinstance(data, dict):
        return Text()
    name, size, digest = (fields.text(data.get(word)) for word in ("name", "size", "sha256"))
    return Text(name or "", size or "", digest or "")


def _origin(source: str, tag: str, meta: Json, start: Json) -> Origin | None:
    """Where its training started: as its metadata record it, else its run's log, else what was asked for."""
    recorded = meta.get("started_from")
    if isinstance(recorded, dict) and (name := fields.text(recorded.get("name"))):
        return Origin(name, fields.text(recorded.get("weights"), 100) or "")
    if path := fields.text(start.get("started_from"), 1_000):
        name, step = checkpoint_of(path)
        return Origin(name if step is None else f"{name}@{step}")
    options = meta.get("user_config")
    options = options if isinstance(options, dict) else {}
    if initial := fields.text(options.get("init_from"), 1_000):
        name, step = checkpoint_of(initial)
        return Origin(name if step is None else f"{name}@{step}", asked=True)
    asked, step = fields.text(options.get("source")), fields.whole(options.get("model_step"), 0)
    if source == "base" or asked not in SOURCES:
        return None
    named = fields.text(options.get("model_tag")) or tag
    return Origin(f"{asked}/{named}" if step is None else f"{asked}/{named}@{step}", asked=True)


def _live(entry: Json) -> LiveRun | None:
    run, source = fields.text(entry.get("run")), entry.get("source")
    if not run or not RUN_ID.fullmatch(run):
        return None
    return LiveRun(
        run,
        fields.text(entry.get("stage"), 80) or "",
        entry.get("waits") is True,
        source if source in SOURCES else "",
        fields.text(entry.get("tag")) or "",
        -1 if (step := fields.whole(entry.get("step"), 0)) is None else step,
    )
