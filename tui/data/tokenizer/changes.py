"""How far two splits look the same, so that only what is below is drawn again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tui.data.tokenizer.splitting import Shown


MOST_COMPARED = 50_000
"""Characters of texts that are compared: of longer ones all lines in sight are drawn again."""


def first_changed_line(before: Shown, after: Shown) -> int:
    """The first line of `after` that may look other than the same line of `before`."""
    if before.split is None or after.split is None or before.blocks is None or after.blocks is None:
        return 0
    if before.look != after.look or before.splitter is not after.splitter or after.lines is None:
        return 0
    one, other = before.blocks.characters, after.blocks.characters
    if max(len(one), len(other)) > MOST_COMPARED:
        return 0
    character = _common(one.codes, other.codes)
    byte = min(int(one.starts[character]), int(other.starts[character]))
    token = min(
        _common(before.split.ids, after.split.ids),
        _common(before.split.ends, after.split.ends),
        int(after.split.ends.searchsorted(byte, "right")),
    )
    if before.differs is None or after.differs is None:
        token = token if before.differs is after.differs else 0
    else:
        token = min(token, _common(before.differs, after.differs))
    if before.lines is None or not token:
        return 0
    # A line may end elsewhere when what follows it is other, and a token may share a character with the next.
    here = after.lines.line_of(min(token, max(0, len(after.split) - 1)))
    return max(0, min(here, after.lines.line_of(token - 1)) - 1)


def _common(one: Any, other: Any) -> int:
    """How many values at the beginning of two arrays are equal."""
    least = min(len(one), len(other))
    differing = one[:least] != other[:least]
    found = int(differing.argmax()) if least else 0
    return found if least and differing[found] else least
