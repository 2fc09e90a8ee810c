"""The lines of the Checkpoints screen: tags with several steps fold, those with one are a line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from nanochat.common.text import sanitize
from remote.checkpoints.table import Row

OTHER_RUN = re.compile(r"step_\d+-[0-9a-f]{6}")
"""What is saved beside another run's checkpoint of the same step."""

Tag = tuple[str, str, str]
"""Host, source, tag."""


@dataclass(frozen=True)
class Line:
    """A checkpoint, or a tag of several (`steps` > 0): then `row` is the one that its name stands for.

    `depth` is 1 for a step below its tag.
    """

    row: Row
    steps: int = 0
    bytes: int = 0
    folded: bool = False
    depth: int = 0

    @property
    def key(self) -> str:
        one = self.row.one
        return f"{one.host}:{one.name.source}/{one.name.tag}" if self.steps else one.key

    @property
    def tag(self) -> Tag:
        return tag_of(self.row)


def tag_of(row: Row) -> Tag:
    """The tag that a checkpoint belongs to."""
    return row.one.host, row.one.name.source, row.one.name.tag


def lines(rows: Iterable[Row], folded: Collection[Tag], flat: bool) -> list[Line]:
    """The rows as lines of a tree, or `flat`: each checkpoint a line of its own, to be sorted."""
    if flat:
        return [Line(row, bytes=row.one.bytes) for row in rows]
    found: list[Line] = []
    for tag, group in groupby(rows, tag_of):
        own = list(group)
        if len(own) == 1:
            found.append(Line(own[0], bytes=own[0].one.bytes))
            continue
        head = next((row for row in own if row.newest), own[0])
        found.append(Line(head, len(own), sum(row.one.bytes for row in own), tag in folded))
        if tag not in folded:
            found += [Line(row, bytes=row.one.bytes, depth=1) for row in own]
    return found


def kept(rows: Iterable[Row], words: Sequence[str]) -> list[Row]:
    """The rows that hold every word: in name, host, run, origin, state."""
    return [row for row in rows if all(word in text(row) for word in words)]


def text(row: Row) -> str:
    """What of a row the filter looks through."""
    one = row.one
    marks = ["upstream" if one.upstream else "", "in use" if row.users else "", one.problem, one.era]
    return " ".join((str(one.name), one.host, one.run, row.origin, one.text.name, *marks)).lower()


def title(line: Line) -> str:
    """The name of a line: a step below its tag is told by its step alone."""
    name = line.row.one.name
    if line.steps:
        return sanitize(f"{'▸' if line.folded else '▾'} {name.source}/{name.tag}", 120)
    suffix = f" ·{line.row.one.entry[-6:]}" if OTHER_RUN.fullmatch(line.row.one.entry) else ""
    sign = "!" if line.row.one.problem else "●" if line.row.users else " "
    told = f"  @{name.step}" if line.depth else sanitize(str(name), 120)
    return f"{sign} {told}{suffix}"
