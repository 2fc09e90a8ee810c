"""Where a checkpoint came from, back to the text and the tokenizer that its first ancestor was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nanochat.checkpoint.names import parse_name
from nanochat.common.errors import UserError
from remote.checkpoints.saved import Origin, SavedCheckpoint

LONGEST = 50


@dataclass(frozen=True)
class Ancestor:
    """A step of a lineage: a checkpoint, or only its `name` where it is nowhere any more.

    `note` says in words what is not certain about it.
    """

    name: str
    checkpoint: SavedCheckpoint | None = None
    note: str = ""


def lineage(one: SavedCheckpoint, known: Sequence[SavedCheckpoint]) -> list[Ancestor]:
    """The checkpoint itself, what it started from, and so on: the oldest ancestor that is known last."""
    found = [Ancestor(str(one.name), one)]
    seen = {one.key}
    while one.origin is not None and len(found) < LONGEST:
        parent = origin_of(one, known)
        if parent is None:
            found.append(Ancestor(one.origin.name, None, "not there any more"))
            break
        if parent.key in seen:
            break
        seen.add(parent.key)
        found.append(Ancestor(str(parent.name), parent, _note(one, one.origin, parent)))
        one = parent
    return found


def origin_of(one: SavedCheckpoint, known: Iterable[SavedCheckpoint]) -> SavedCheckpoint | None:
    """The checkpoint that another was started from: by its weights, else by name on its own host."""
    origin = one.origin
    if origin is None:
        return None
    others = sorted(
        (other for other in known if other.key != one.key), key=lambda other: other.host != one.host
    )
    if origin.weights:
        same = [other for other in others if other.weights == origin.weights]
        if same:
            return same[0]
    try:
        name = parse_name(origin.name)
    except UserError:
        return None
    for other in others:
        if other.host != one.host or (origin.weights and other.weights and other.weights != origin.weights):
            continue
        if other.name == name:
            return other
    if name.step is None:  # of those there the last one that was there when it started
        earlier = [
            other
            for other in others
            if other.host == one.host
            and (other.name.source, other.name.tag) == (name.source, name.tag)
            and (not one.t or other.t <= one.t)
        ]
        return max(earlier, key=lambda other: other.t, default=None)
    return None


def started_from(one: SavedCheckpoint, known: Sequence[SavedCheckpoint]) -> list[SavedCheckpoint]:
    """The checkpoints whose training started from this one."""
    return [
        other
        for other in known
        if other.key != one.key and (origin := origin_of(other, known)) is not None and origin.key == one.key
    ]


def _note(one: SavedCheckpoint, origin: Origin, parent: SavedCheckpoint) -> str:
    if origin.asked:
        return "as the options name it"
    return f"on {parent.host}" if parent.host != one.host else ""


def told(chain: Sequence[Ancestor]) -> list[str]:
    """A lineage in lines, the checkpoint first, its first text and tokenizer last."""
    lines = []
    for number, step in enumerate(chain):
        words = [step.name, step.note]
        if step.checkpoint is not None:
            one = step.checkpoint
            words += [f"run {one.run}" if one.run else "", _trained_on(one)]
        lines.append(("" if not number else "← ") + " · ".join(word for word in words if word))
    oldest = chain[-1].checkpoint
    if oldest is not None:
        if oldest.text.sha256:
            lines.append(f"text {oldest.text.name} sha256 {oldest.text.sha256[:16]}")
        elif oldest.upstream:
            lines.append("upstream nanochat's metadata do not record the text it was trained on")
        lines.append(f"tokenizer {oldest.tokenizer[:16]}" if oldest.tokenizer else "tokenizer not recorded")
    return lines


def _trained_on(one: SavedCheckpoint) -> str:
    text = one.text
    if not text.name:
        return ""
    return f"trained on {text.name}" + (f" ({text.size})" if text.size else "")
