"""The turns of a pane as a tree: an edited question or an answer asked for again is a sibling."""

from __future__ import annotations

from collections.abc import Iterator

from nanochat.serve.chat import Answer
from nanochat.serve.conversation import Conversation


class TurnNode:
    """A question and its answer, which may still be coming.

    `answer.parts` and `answer.tokens` only grow while it comes: a reader that keeps the lengths it has seen
    finds what is new behind them, without comparing texts.
    """

    number: int
    """Unique within the tree, in the order of asking."""
    question: str
    answer: Answer | None
    """None until the question was sent."""
    parent: TurnNode | None
    children: list[TurnNode]

    @property
    def siblings(self) -> list[TurnNode]:
        """The turns that may stand here, this one included, oldest first."""
        raise NotImplementedError

    @property
    def place(self) -> tuple[int, int]:
        """Which of its siblings this is, from 1, and how many there are: (2, 3) for "2 of 3"."""
        raise NotImplementedError


class TurnTree:
    """All turns of a pane, and the path through them that is shown and sent."""

    version: int
    """Grows when the tree or the path changes."""

    @property
    def path(self) -> list[TurnNode]:
        """The turns shown, from the first to the last."""
        raise NotImplementedError

    @property
    def leaf(self) -> TurnNode | None:
        """The last turn of the path."""
        raise NotImplementedError

    def add(self, question: str, parent: TurnNode | None) -> TurnNode:
        """A new turn after `parent` (None: the first), and the path goes to it."""
        raise NotImplementedError

    def go(self, offset: int, node: TurnNode | None = None) -> TurnNode | None:
        """Shows the sibling `offset` places on, around the end, of `node`, by default the last turn that has
        siblings. Its own later turns follow as they were. None when there is no sibling."""
        raise NotImplementedError

    def conversation(self, upto: TurnNode | None = None) -> Conversation:
        """The path as a conversation: its turns that have an answer; up to and without `upto`, if given."""
        raise NotImplementedError

    def nodes(self) -> Iterator[TurnNode]:
        """Every turn, in the order of asking."""
        raise NotImplementedError
