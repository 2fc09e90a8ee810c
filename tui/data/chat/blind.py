"""Blind comparison: names hidden, panes shuffled, the better answer voted for."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Literal, TypeAlias

from nanochat.common.errors import UserError
from remote.store.votes import Vote, VotedAnswer
from tui.data.chat.pane import Pane
from tui.data.chat.target import CheckpointTarget
from tui.data.chat.tree import TurnNode

Verdict: TypeAlias = Literal["tie", "all_bad"] | int


class Blind:
    """Blind mode over `panes`: label A, B, … in shuffled order. `Store.add_vote` keeps the votes.

    While `revealed` is false, show nothing of a pane that tells what it is: not its name, its news, its
    figures, nor the line of a failure.
    """

    def __init__(self, panes: Sequence[Pane], seed: int | None = None) -> None:
        if len(panes) < 2:
            raise UserError("a blind comparison needs two panes", "open another one")
        self._random = random.Random(seed) if seed is not None else random.SystemRandom()
        self.order = list(panes)
        """The panes as they are to stand on the screen, the one labelled A first."""
        self.revealed = False
        self._voted: tuple[TurnNode, ...] = ()
        self.shuffle()

    def shuffle(self) -> None:
        """Hides the names again, in a new order: for the next question."""
        self._random.shuffle(self.order)
        self.revealed = False

    def why_no_vote(self) -> str:
        """Why there is nothing to vote on yet, as a line; "" when there is."""
        leaves = [pane.tree.leaf for pane in self.order]
        if any(pane.state.is_busy for pane in self.order):
            return "an answer is still coming"
        if any(leaf is None or not leaf.has_answer for leaf in leaves):
            return "not every pane has an answer"
        if len({leaf.question for leaf in leaves if leaf is not None}) > 1:
            return "the panes were asked different questions"
        if tuple(leaf for leaf in leaves if leaf is not None) == self._by_pane(self._voted):
            return "these answers were voted on"
        return ""

    def vote(self, verdict: Verdict) -> Vote:
        """The vote on the last answers: the index in `order` of the winner, or tie or all_bad. Reveals the
        names. Raises `UserError` when there is nothing to vote on."""
        if why := self.why_no_vote():
            raise UserError(why, "ask a question first")
        winner = verdict if isinstance(verdict, int) else None
        if winner is not None and not 0 <= winner < len(self.order):
            raise UserError(f"there is no pane {winner + 1}")
        leaves = [pane.tree.leaf for pane in self.order]
        nodes = [leaf for leaf in leaves if leaf is not None]
        self._voted = tuple(nodes)
        self.revealed = True
        answers = tuple(_voted(pane, node) for pane, node in zip(self.order, nodes, strict=True))
        return Vote(time.time(), nodes[0].question, answers, winner, verdict == "all_bad")

    def take_back(self) -> None:
        """Undoes a vote that could not be kept: names are hidden again, and the answers can be voted on."""
        self._voted = ()
        self.revealed = False

    def _by_pane(self, voted: tuple[TurnNode, ...]) -> tuple[TurnNode, ...]:
        """The turns that were voted on, in the order in which the panes stand now."""
        trees = {id(node.tree): node for node in voted}
        found = [trees.get(id(pane.tree)) for pane in self.order]
        return tuple(node for node in found if node is not None)


def _voted(pane: Pane, node: TurnNode) -> VotedAnswer:
    turn = node.turn
    assert turn is not None  # it has an answer
    host = pane.target.host if isinstance(pane.target, CheckpointTarget) else ""
    settings = turn.settings
    return VotedAnswer(
        turn.model, host, turn.answer_text, settings.temperature, settings.top_k, settings.seed
    )
