"""What the Tokenizer screen hands to a screen that it opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.splitter import Splitter


@dataclass(frozen=True)
class ChosenTokenizer:
    """A tokenizer of a pane: `spec` opens it again (`explore.sources.open_source`)."""

    spec: str
    splitter: Splitter


@dataclass(frozen=True)
class Chosen:
    """What is chosen on the Tokenizer screen: the tokenizers of its panes that could be opened, in order,
    which of them is looked at, the id of the token under its cursor, and the text."""

    panes: tuple[ChosenTokenizer, ...] = ()
    current: int = 0
    token: int | None = None
    text: str = ""

    @property
    def here(self) -> ChosenTokenizer | None:
        """The tokenizer that is looked at; None without a pane."""
        return self.panes[self.current] if self.current < len(self.panes) else None
