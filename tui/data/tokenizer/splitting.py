"""What the panes of the Tokenizer screen make of a text: splits, figures, differences, lines.

Pure work, on the event loop for a short text and in a thread for a long one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.text import valid_text
from nanochat.tokenizer.explore.differences import Differences, differences
from nanochat.tokenizer.explore.figures import Figures, figures
from tui.data.tokenizer.blocks import Blocks, make_blocks
from tui.data.tokenizer.characters import Characters, Glyphs, Widths, characters
from tui.data.tokenizer.lines import Lines, View, make_lines

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nanochat.tokenizer.explore.splitter import Split, Splitter

PLAIN_KINDS = ("bytes", "characters", "words")
"""They differ from every vocabulary nearly everywhere: not told where there are two others to compare."""


@dataclass(frozen=True)
class Look:
    """How a pane shows a split: the view, its width in cells, whether a sign stands after each token."""

    view: View = "tokens"
    width: int = 40
    separated: bool = False


@dataclass(frozen=True, eq=False)
class Shown:
    """What a pane shows of a text; of one that its tokenizer refuses, only `error`."""

    splitter: Splitter
    look: Look
    split: Split | None = None
    blocks: Blocks | None = None
    lines: Lines | None = None
    figures: Figures | None = None
    differs: npt.NDArray[np.bool_] | None = None
    """(n,) the tokens where the tokenizers that are compared differ; None where there are none to compare."""
    error: str = ""


@dataclass(frozen=True, eq=False)
class Result:
    """A text in all panes, in their order. `differences` are None where there are none to compare."""

    text: str
    panes: tuple[Shown, ...] = ()
    differences: Differences | None = None


class Work:
    """Splits texts for the panes of a screen."""

    def __init__(self, glyphs: Glyphs) -> None:
        self.glyphs = glyphs
        self._widths = Widths(glyphs)

    def result(self, text: str, panes: Sequence[tuple[Splitter, Look]]) -> Result:
        """What all panes show of a text."""
        text = valid_text(text)
        known = characters(text, self._widths)
        splits = [_split(splitter, text) for splitter, _ in panes]
        good = [split for split in splits if not isinstance(split, UserError)]
        told = iter(figures(good) if good else [])
        found = _differences([splitter for splitter, _ in panes], splits)
        shown = []
        for (splitter, look), split in zip(panes, splits, strict=True):
            if isinstance(split, UserError):
                shown.append(Shown(splitter, look, error=str(split)))
                continue
            one = self._shown(splitter, look, split, known)
            shown.append(replace(one, figures=next(told), differs=_marked(split, found)))
        return Result(text, tuple(shown), found)

    def _shown(self, splitter: Splitter, look: Look, split: Split, text: Characters) -> Shown:
        blocks = make_blocks(split, text, self.glyphs, separated=look.separated)
        lines = make_lines(look.view, blocks, splitter, look.width)
        return Shown(splitter, look, split, blocks, lines)

    def alone(self, splitter: Splitter, look: Look, split: Split, marked: int | None = None) -> Shown:
        """A split by itself, with one token marked."""
        import numpy as np

        shown = self._shown(splitter, look, split, characters(split.text, self._widths))
        marks = np.zeros(len(split), np.bool_)
        if marked is not None and len(split):
            marks[marked] = True
        return replace(shown, differs=marks)

    def laid_out(self, shown: Shown, look: Look) -> Shown:
        """The same split in another view or width."""
        if shown.split is None or shown.blocks is None or look == shown.look:
            return replace(shown, look=look)
        blocks = shown.blocks
        if look.separated != shown.look.separated:
            blocks = make_blocks(shown.split, blocks.characters, self.glyphs, separated=look.separated)
        lines = make_lines(look.view, blocks, shown.splitter, look.width)
        return replace(shown, look=look, blocks=blocks, lines=lines)


def _split(splitter: Splitter, text: str) -> Split | UserError:
    try:
        return splitter.split(text)
    except UserError as error:
        return error


def _differences(splitters: Sequence[Splitter], splits: Sequence[Split | UserError]) -> Differences | None:
    good = [
        (splitter, split)
        for splitter, split in zip(splitters, splits, strict=True)
        if not isinstance(split, UserError)
    ]
    learned = [split for splitter, split in good if splitter.kind not in PLAIN_KINDS]
    compared = learned if len(learned) > 1 else [split for _, split in good]
    return differences(compared) if len(compared) > 1 else None


def _marked(split: Split, found: Differences | None) -> npt.NDArray[np.bool_] | None:
    """The tokens that touch a stretch where tokenizers differ."""
    import numpy as np

    if found is None:
        return None
    starts = np.concatenate([[0], split.ends[:-1]]) if len(split) else split.ends
    before = np.searchsorted(found.ends, starts, "right")
    after = np.searchsorted(found.starts, np.maximum(split.ends, starts + 1), "left")
    marked: npt.NDArray[np.bool_] = after > before
    return marked
