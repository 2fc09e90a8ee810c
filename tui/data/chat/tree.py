"""The turns of a pane as a tree: an edited question or an answer asked for again is a sibling."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from nanochat.serve.answer import Answer
from nanochat.serve.answer_parts import PartList
from nanochat.serve.conversation import Conversation, Turn

WHOLE = ("stop", "length", "other")
"""The reasons of `FINISH_REASONS` that an answer has which nobody broke off."""


class TurnNode:
    """A question and its answer, which may still be coming.

    `answer.parts` and `answer.tokens` only grow while it comes: a reader that keeps the lengths it has seen
    finds what is new behind them, without comparing texts.
    """

    def __init__(self, number: int, question: str, parent: TurnNode | None, tree: TurnTree) -> None:
        self.number = number
        """Unique within the tree, in the order of asking."""
        self.question = question
        self.answer: Answer | None = None
        """None until the question was sent."""
        self.failure = ""
        """Why no answer came, or why it broke off, as one line."""
        self.is_saved = False
        """Whether it is in a file."""
        self.parent = parent
        self.children: list[TurnNode] = []
        self._chosen = 0
        self.tree = tree
        self._turn: Turn | None = None

    @property
    def siblings(self) -> list[TurnNode]:
        """The turns that may stand here, this one included, oldest first."""
        return self.tree.roots if self.parent is None else self.parent.children

    @property
    def place(self) -> tuple[int, int]:
        """Which of its siblings this is, from 1, and how many there are: (2, 3) for "2 of 3"."""
        return self.siblings.index(self) + 1, len(self.siblings)

    @property
    def has_answer(self) -> bool:
        """Whether something of an answer came."""
        return self.answer is not None and (bool(self.answer.parts) or self.is_done)

    @property
    def is_done(self) -> bool:
        """Whether the answer ended as the model or its limits had it."""
        return self.answer is not None and self.answer.reason in WHOLE

    @property
    def turn(self) -> Turn | None:
        """The turn as logs and messages have it; None without an answer. Joined once, when it is whole."""
        if not self.has_answer or self.answer is None:
            return None
        if self is not self.tree.coming:
            self._turn = self._turn or self.answer.turn
            return self._turn
        return self.answer.turn


class TurnTree:
    """All turns of a pane, and the path through them that is shown and sent."""

    def __init__(self) -> None:
        self.roots: list[TurnNode] = []
        self.version = 0
        """Grows when the tree or the path changes."""
        self.started = datetime.now().replace(microsecond=0)
        """When the conversation began, in local time."""
        self.coming: TurnNode | None = None
        """The turn whose answer is coming."""
        self._chosen = 0
        self._count = 0

    @classmethod
    def of(cls, conversation: Conversation) -> TurnTree:
        """The tree of a conversation, one turn after the other."""
        tree = cls()
        tree.started = conversation.started
        for turn in conversation.turns:
            node = tree.add(turn.question, tree.leaf)
            node.answer = Answer(
                turn.question, turn.settings, turn.model, PartList(turn.answer), turn.finish_reason
            )
            node.is_saved = True
        return tree

    @property
    def path(self) -> list[TurnNode]:
        """The turns shown, from the first to the last."""
        found: list[TurnNode] = []
        level, chosen = self.roots, self._chosen
        while level:
            node = level[chosen]
            found.append(node)
            level, chosen = node.children, node._chosen
        return found

    @property
    def leaf(self) -> TurnNode | None:
        """The last turn of the path."""
        path = self.path
        return path[-1] if path else None

    def add(self, question: str, parent: TurnNode | None) -> TurnNode:
        """A new turn after `parent` (None: the first), and the path goes to it."""
        self._count += 1
        node = TurnNode(self._count, question, parent, self)
        node.siblings.append(node)
        self.show(node)
        return node

    def show(self, node: TurnNode) -> None:
        """Lays the path through `node`."""
        at: TurnNode | None = node
        while at is not None:
            place = at.siblings.index(at)
            if at.parent is None:
                self._chosen = place
            else:
                at.parent._chosen = place
            at = at.parent
        self.version += 1

    def go(self, offset: int, node: TurnNode | None = None) -> TurnNode | None:
        """Shows the sibling `offset` places on, around the end, of `node`, by default the last turn that has
        siblings. Its own later turns follow as they were. None when there is no sibling."""
        if node is None:
            node = next((one for one in reversed(self.path) if len(one.siblings) > 1), None)
        if node is None or len(node.siblings) < 2:
            return None
        shown = node.siblings[(node.siblings.index(node) + offset) % len(node.siblings)]
        self.show(shown)
        return shown

    def conversation(self, system: str = "", before: TurnNode | None = None) -> Conversation:
        """The turns of the path that have an answer; those that stand before `before`, if given."""
        turns = []
        if before is None:
            nodes = self.path
        else:
            nodes = []
            at = before.parent
            while at is not None:
                nodes.append(at)
                at = at.parent
            nodes.reverse()
        for node in nodes:
            turn = node.turn
            if turn is not None:
                turns.append(turn)
        return Conversation(self.started, system, tuple(turns))

    @property
    def unsaved(self) -> int:
        """Turns with an answer that are in no file."""
        return sum(node.has_answer and not node.is_saved for node in self.nodes())

    def nodes(self) -> Iterator[TurnNode]:
        """Every turn, in the order of asking."""
        waiting, found = list(self.roots), []
        while waiting:
            node = waiting.pop()
            found.append(node)
            waiting += node.children
        yield from sorted(found, key=lambda node: node.number)
