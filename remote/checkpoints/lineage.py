"""Where a checkpoint came from, back to the text and the tokenizer that its first ancestor was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nanochat.checkpoint.names import CheckpointName, parse_name
from nanochat.common.errors import UserError
from remote.checkpoints.saved import SavedCheckpoint

LONGEST = 50


@dataclass(frozen=True)
class Ancestor:
    """A step of a lineage: a checkpoint, or only its `name` where it is nowhere any more.

    `note` says in words what is not certain about it.
    """

    name: str
    checkpoint: SavedCheckpoint | None = None
    note: str = ""


class Family:
    """The checkpoints that are known, and which of them was started from which."""

    def __init__(self, known: Iterable[SavedCheckpoint]) -> None:
        self._by_weights: defaultdict[str, list[SavedCheckpoint]] = defaultdict(list)
        self._by_tag: defaultdict[tuple[str, str, str], list[SavedCheckpoint]] = defaultdict(list)
        self._children: defaultdict[str, list[SavedCheckpoint]] = defaultdict(list)
        known = list(known)
        for one in known:
            if one.weights:
                self._by_weights[one.weights].append(one)
            self._by_tag[one.host, one.name.source, one.name.tag].append(one)
        for one in known:
            if (parent := self.origin(one)) is not None:
                self._children[parent.key].append(one)

    def origin(self, one: SavedCheckpoint) -> SavedCheckpoint | None:
        """The checkpoint that another was started from: by its weights, on its own host where that has them,
        else by name on its own host."""
        origin = one.origin
        if origin is None:
            return None
        same = [other for other in self._by_weights.get(origin.weights, ()) if other.key != one.key]
        if same:
            return min(same, key=lambda other: other.host != one.host)
        try:
            name = parse_name(origin.name)
        except UserError:
            return None
        candidates = [
            other
            for other in self._by_tag.get((one.host, name.source, name.tag), ())
            if other.key != one.key and not (origin.weights and other.weights)
        ]
        return _saved_before(one, candidates, name)

    def children(self, one: SavedCheckpoint) -> list[SavedCheckpoint]:
        """The checkpoints whose training started from this one."""
        return list(self._children.get(one.key, ()))

    def lineage(self, one: SavedCheckpoint) -> list[Ancestor]:
        """The checkpoint itself, what it started from, and so on: the oldest ancestor that is known last."""
        found = [Ancestor(str(one.name), one)]
        seen = {one.key}
        while one.origin is not None and len(found) < LONGEST:
            parent = self.origin(one)
            if parent is None:
                found.append(Ancestor(one.origin.name, None, "not there any more"))
                break
            if parent.key in seen:
                break
            seen.add(parent.key)
            note = f"on {parent.host}" if parent.host != one.host else ""
            note = "as the options name it" if one.origin.asked else note
            found.append(Ancestor(str(parent.name), parent, note))
            one = parent
        return found


def _saved_before(
    one: SavedCheckpoint, candidates: Sequence[SavedCheckpoint], name: CheckpointName
) -> SavedCheckpoint | None:
    """Of those of a tag the one of the step, or without one the last that was there when `one` started."""
    if name.step is not None:
        return next((other for other in candidates if other.name.step == name.step), None)
    earlier = [other for other in candidates if not one.t or other.t <= one.t]
    return max(earlier, key=lambda other: other.t, default=None)


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
            lines.append(f"text {oldest.text.name} · sha256 {oldest.text.sha256[:16]}")
        elif oldest.upstream:
            lines.append("upstream nanochat's metadata do not record the text it was trained on")
        digest = oldest.tokenizer[:16]
        lines.append(f"tokenizer {digest}" if digest else "its tokenizer is not recorded")
    return lines


def _trained_on(one: SavedCheckpoint) -> str:
    text = one.text
    if not text.name:
        return ""
    return f"trained on {text.name}" + (f" ({text.size})" if text.size else "")
