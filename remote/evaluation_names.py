"""Which evaluation a person means: by the checkpoint's name, by a published model's, or by its number."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nanochat.common.errors import UserError, nearest
from nanochat.common.text import sanitize
from remote.evaluation_tables import settings_key
from remote.store.evaluations import Evaluation, Kind

_LISTED = 3  # others that a note names
_KIND_ORDER: tuple[Kind, ...] = ("core", "chat", "bpb", "tokenizer")
WORDS: dict[Kind, str] = {
    "core": "CORE",
    "chat": "chat",
    "bpb": "bits-per-byte",
    "tokenizer": "tokenizer",
}
"""What the kinds are called in a sentence."""


@dataclass(frozen=True)
class Wanted:
    """What narrows a name down: "" and None leave it open."""

    kind: Kind | None = None
    host: str = ""
    run: str = ""
    """A run id, or the start of one."""

    def fits(self, one: Evaluation) -> bool:
        run = one.run.rpartition("/")[2]
        return (
            (self.kind is None or one.kind == self.kind)
            and (not self.host or one.host == self.host)
            and (not self.run or one.run == self.run or (bool(run) and run.startswith(self.run)))
        )


@dataclass(frozen=True)
class Chosen:
    """The evaluation that is meant, and others of the same checkpoint, step and kind with other settings."""

    one: Evaluation
    others: tuple[Evaluation, ...]

    @property
    def note(self) -> str:
        """Which is shown of several and how to choose another; "" where there is one."""
        if not self.others:
            return ""
        told = ", ".join(f"{one.id} ({_differs(one, self.one)})" for one in self.others[:_LISTED])
        more = f" and {len(self.others) - _LISTED} more" if len(self.others) > _LISTED else ""
        return (
            f"{self.one.name} has {len(self.others) + 1} {WORDS[self.one.kind]} evaluations: this is "
            f"{self.one.id} ({_differs(self.one, self.others[0])}), the newest; others are {told}{more}: "
            f"name one by its number, as in `nanochat evals show {self.others[0].id}`"
        )


def choose(
    evaluations: Sequence[Evaluation],
    name: str,
    wanted: Wanted | None = None,
    there: Mapping[str, str] | None = None,
) -> Chosen:
    """The newest evaluation of what `name` names: `base/d4`, `base/d4@500`, `gpt2-xl`, or a number.

    Without a step the last one evaluated, by a stage of its own rather than on a training's way; without a
    kind CORE before chat before bits per byte. Raises `UserError` with close names when there is none; of a
    checkpoint that is `there` (its host by its name) with the command that evaluates it.
    """
    wanted = wanted or Wanted()
    found = _named(evaluations, name.strip())
    if not found:
        known = {one.checkpoint for one in evaluations}
        new = {other: host for other, host in (there or {}).items() if other not in known}
        raise _unevaluated(name, new) or _unknown(evaluations, name)
    fitting = [one for one in found if wanted.fits(one)]
    if not fitting:
        raise UserError(
            f"no such evaluation of '{sanitize(name, 200)}'",
            "there is " + ", ".join(dict.fromkeys(_told(one) for one in found[:_LISTED])),
        )
    own = [one for one in fitting if not one.while_training] or fitting
    last = max(-1 if one.step is None else one.step for one in own)
    at = [one for one in own if (-1 if one.step is None else one.step) == last]
    kind = min((one.kind for one in at), key=_KIND_ORDER.index)
    alike = sorted((one for one in at if one.kind == kind), key=lambda one: (one.t, one.id), reverse=True)
    best = next((one for one in alike if one.status != "ended"), alike[0])
    return Chosen(best, _with_other_settings(best, alike))


def bits_of(evaluations: Sequence[Evaluation], one: Evaluation) -> Evaluation | None:
    """The newest bits per byte of the checkpoint that `one` is of; None for an evaluation that is such."""
    if one.kind == "bpb" or one.step is None:
        return None
    found = [
        other
        for other in evaluations
        if other.kind == "bpb" and (other.host, other.name) == (one.host, one.name) and other.tasks
    ]
    return max(found, key=lambda other: (not other.while_training, other.t), default=None)


def _named(evaluations: Sequence[Evaluation], name: str) -> list[Evaluation]:
    if name.isascii() and name.isdigit():
        return [one for one in evaluations if str(one.id) == (name.lstrip("0") or "0")]
    lowered = name.lower()
    exact = [one for one in evaluations if name in (one.name, one.checkpoint)]
    if exact or "@" in name:
        return exact
    return [
        one
        for one in evaluations
        if lowered
        in (one.checkpoint.lower(), one.checkpoint.lower().rpartition("/")[2] if one.reference else "")
        or (one.reference and lowered.rpartition("/")[2] == one.checkpoint.lower())
    ]


def _with_other_settings(best: Evaluation, alike: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    seen = {(best.host, settings_key(best.settings))}
    others = []
    for one in alike:
        if (one.host, settings_key(one.settings)) not in seen:
            seen.add((one.host, settings_key(one.settings)))
            others.append(one)
    return tuple(others)


def _differs(one: Evaluation, other: Evaluation) -> str:
    """What tells an evaluation from another of the same checkpoint."""
    words = [
        f"{name} {sanitize(str(value), 40)}"
        for name, value in one.settings.items()
        if value != other.settings.get(name) and not isinstance(value, dict | list)
    ]
    if one.host != other.host:
        words.insert(0, f"on {one.host}")
    return ", ".join(words[:_LISTED]) or "other settings"


def _unevaluated(name: str, there: Mapping[str, str]) -> UserError | None:
    """What is said of a checkpoint that is on a host and that nobody has evaluated."""
    checkpoint = name.partition("@")[0]
    if checkpoint not in there:
        return None
    source, _, tag = checkpoint.partition("/")
    stage = "base_eval" if source == "base" else f"chat_eval --source {source}"
    where = sanitize(f"{checkpoint} on host '{there[checkpoint]}' has not been evaluated", 300)
    return UserError(where, f"evaluate it: nanochat {stage} --model-tag {sanitize(shlex.quote(tag), 200)}")


def _unknown(evaluations: Sequence[Evaluation], name: str) -> UserError:
    shown = sanitize(name, 200)
    checkpoint, at, _ = name.partition("@")
    steps = sorted({one.step for one in evaluations if one.checkpoint == checkpoint and one.step is not None})
    if at and steps:
        told = ", ".join(map(str, steps[-8:]))
        return UserError(
            f"no evaluation of '{shown}'", f"{sanitize(checkpoint, 200)} was evaluated at {told}"
        )
    known = sorted({one.checkpoint for one in evaluations if one.checkpoint})
    if not known:
        return UserError("nothing has been evaluated yet", "evaluate a checkpoint: nanochat base_eval")
    hint = nearest(name, known)
    return UserError(f"no evaluation of '{shown}'", hint or "see nanochat evals ls")


def _told(one: Evaluation) -> str:
    return f"{WORDS[one.kind]} {one.id} of {one.name}" + (f" on {one.host}" if one.host else "")
