"""Blind comparison: names hidden, panes shuffled, the better answer voted for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from remote.store.votes import Vote
from tui.data.chat.pane import Pane

Verdict = Literal["tie", "both_bad"] | int


class Blind:
    """Blind mode over `panes`: label A, B, … in shuffled order. Votes are stored by `Store.add_vote`."""

    def __init__(self, panes: Sequence[Pane]) -> None: ...

    order: list[Pane]
    """The panes as they are to stand on the screen, the one labelled A first."""
    revealed: bool

    def label(self, pane: Pane) -> str:
        """ "A", "B", …"""
        raise NotImplementedError

    def can_vote(self) -> bool:
        """Whether every pane has an answer to the same last question, and none is still coming."""
        raise NotImplementedError

    def vote(self, verdict: Verdict) -> Vote:
        """The vote on the last answers: the index in `order` of the winner, or tie or both_bad. Reveals the
        names. Raises `UserError` when there is nothing to vote on, or it has been voted on."""
        raise NotImplementedError

    def shuffle(self) -> None:
        """Hides the names again, in a new order: for the next question."""
