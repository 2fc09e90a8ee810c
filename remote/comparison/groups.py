"""Runs that belong together: several seeds of one setting, or those with the same tag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from nanochat.common.text import sanitize
from remote.comparison.settings import NAMES, SEEDS, Facts, fingerprint, spelled

Grouping = Literal["", "seed", "tag"]
GROUPINGS: tuple[Grouping, ...] = ("", "seed", "tag")
_NAMED = 2  # options that the name of a group tells


@dataclass(frozen=True)
class Group:
    """Runs shown as one: the indices of its members among the runs that are compared."""

    name: str
    members: tuple[int, ...]


def grouped(facts: Sequence[Facts], names: Sequence[str], by: Grouping) -> list[Group]:
    """The groups in order of their first members; without a grouping each run is its own.

    "seed": runs that differ only in their seed and their name. "tag": runs with a tag that two of them have,
    each by the first such tag of its own.
    """
    keys = [_key(one, facts, by) for one in facts]
    members: dict[Hashable, list[int]] = {}
    for at, key in enumerate(keys):
        members.setdefault((at,) if key is None else key, []).append(at)
    groups = list(members.values())
    titles = [_title(group, groups, facts, names, by) for group in groups]
    return [Group(title, tuple(group)) for title, group in zip(titles, groups, strict=True)]


def _key(one: Facts, facts: Sequence[Facts], by: Grouping) -> Hashable | None:
    if by == "seed":
        return fingerprint(one)
    if by == "tag":
        counts = Counter(tag for other in facts for tag in set(other.run.tags))
        return next((tag for tag in one.run.tags if counts[tag] > 1), None)
    return None


def _title(
    group: Sequence[int],
    groups: Sequence[Sequence[int]],
    facts: Sequence[Facts],
    names: Sequence[str],
    by: Grouping,
) -> str:
    if len(group) == 1:
        return names[group[0]]
    if by == "tag":
        tag = _key(facts[group[0]], facts, by)
        return f"#{sanitize(str(tag), 40)} ×{len(group)}"
    own, firsts = facts[group[0]].options, [facts[other[0]].options for other in groups]
    telling = [
        name
        for name in own
        if name not in (*SEEDS, *NAMES) and len({repr(other.get(name)) for other in firsts}) > 1
    ]
    told = " ".join(f"{name}={spelled(own[name])}" for name in telling[:_NAMED])
    seeds = ",".join(spelled(facts[at].options.get("seed")) for at in group)
    return sanitize(f"{told or names[group[0]]} ×{len(group)} (seeds {seeds})", 60)
