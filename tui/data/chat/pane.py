"""One pane of the Chat screen: what it talks to, its turns, and the answer that comes."""

from __future__ import annotations

import asyncio

from nanochat.common.errors import UserError
from nanochat.serve.conversation import AnswerSettings, Conversation
from tui.data.chat.lens import LensReading, read_lens
from tui.data.chat.pane_state import Figures, PaneState
from tui.data.chat.pane_work import PaneWork
from tui.data.chat.target import CheckpointTarget, PaneTarget
from tui.data.chat.tree import TurnNode, TurnTree

__all__ = ["Figures", "Pane", "PaneState"]

COMING = "an answer is coming"


class Pane(PaneWork):
    """Made by `PaneSet.add`. Everything but `lens` and `close` returns at once; what goes on shows in
    `state`. Everything happens in the event loop."""

    # ---- what it is ------------------------------------------------------------------------------------

    @property
    def settings(self) -> AnswerSettings:
        """Assign new ones to change them for the next answer."""
        return self._settings

    @settings.setter
    def settings(self, settings: AnswerSettings) -> None:
        before = vars(self._settings)
        self.given |= {name for name, value in vars(settings).items() if value != before[name]}
        self._settings = settings
        self._changed()

    @property
    def context(self) -> int | None:
        """Tokens that prompt and answer may have together, where known."""
        return self._connection.model.context if self._connection else None

    @property
    def has_lens(self) -> bool:
        """Whether `lens` works: only on our own server."""
        return self._connection is not None and self._connection.is_ours

    @property
    def is_base(self) -> bool:
        """Whether the model is a base model: it continues each question's text, without the turns before."""
        return self._connection is not None and self._connection.is_base

    @property
    def conversation(self) -> Conversation:
        """The path shown, with the system message."""
        return self.tree.conversation(self.system)

    def figures(self, node: TurnNode | None = None) -> Figures:
        """Of the answer of `node`, by default the last turn."""
        node = node or self.tree.leaf
        return Figures.of(node.answer if node else None)

    # ---- connecting ------------------------------------------------------------------------------------

    def open(self, device: str | None = None) -> None:
        """Connects, and on a host starts the service and loads the checkpoint; `state` says what it waits
        for. `device`: of the offers, where the state is `choosing`."""
        if device:
            self.chosen_device = device
        if self.state.kind in ("closed", "choosing", "failed"):
            self._begin(again=True)

    def use(self, target: PaneTarget) -> None:
        """Talks to something else from now on; the turns stay, and a question that waits is not asked. Opens
        it."""
        if getattr(target, "host", None) != getattr(self.target, "host", None):
            self.device = self.chosen_device = ""
        self.target = target
        self.answers_with, self.has_probabilities, self._refuses_tokens = "", None, False
        self._give_up("not asked: the pane talks to something else now")
        self._say("")
        self._begin(again=True)

    async def close(self) -> None:
        """Ends what is under way and the connection."""
        task, self._task, self._wanted = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._disconnect()
        self._become("closed")

    # ---- talking ---------------------------------------------------------------------------------------

    def ask(self, question: str) -> TurnNode:
        """Asks after the path's last turn. One while the pane opens is asked when it is open. Raises
        `UserError` during an answer, and for an empty question."""
        self.check_free()
        return self._want(_question(question), self.tree.leaf)

    def regenerate(self, node: TurnNode | None = None) -> TurnNode:
        """Asks the question of `node` (by default the last turn) again, as a sibling, with a new seed.
        Raises `UserError` when nothing was asked, or an answer is coming."""
        self.check_free()
        node = self._asked(node)
        return self._want(node.question, node.parent, new_seed=True)

    def edit(self, question: str, node: TurnNode | None = None) -> TurnNode:
        """Asks `question` in place of that of `node` (by default the last turn), as a sibling."""
        self.check_free()
        return self._want(_question(question), self._asked(node).parent)

    def retry(self) -> None:
        """Goes on after a failure: connects again, and asks again what got no whole answer.

        What came of a broken answer stays as a sibling. Raises `UserError` during an answer.
        """
        self.check_free()
        leaf = self.tree.leaf
        if leaf is None or leaf.is_done:
            self._begin(again=True)
        elif leaf.has_answer:
            self._want(leaf.question, leaf.parent, again=True)
        else:
            self._wanted = leaf, False
            self._begin(again=True)

    def stop(self) -> None:
        """Ends the answer, or the opening, that is under way; what came of it stays."""
        if self.state.is_busy and self._task is not None:
            self._task.cancel()
        elif self.state.kind == "choosing":
            self._give_up("stopped")
            self._become("closed")

    def clear(self) -> None:
        """Begins a new conversation. Raises `UserError` during an answer."""
        self.check_free()
        self.tree = TurnTree()
        self._say("")

    def start(self, conversation: Conversation) -> None:
        """Goes on with a conversation, such as one of a chat log. Raises `UserError` during an answer."""
        self.check_free()
        self.tree, self.system = TurnTree.of(conversation), conversation.system
        self._changed()

    def go(self, offset: int, node: TurnNode | None = None) -> TurnNode | None:
        """See `TurnTree.go`. Raises `UserError` during an answer."""
        self.check_free()
        found = self.tree.go(offset, node)
        self._changed()
        return found

    async def lens(self, node: TurnNode, token: int) -> LensReading:
        """What each layer would have said at the place of `node.answer.tokens[token]`.

        Raises `UserError` where the server has no lens or did not tell the tokens.
        """
        if self._connection is None:
            raise UserError("the pane is not connected", "open it first")
        return await read_lens(self._connection, node, token)

    # ---- what others know ------------------------------------------------------------------------------

    def saved(self, step: int) -> None:
        """Says that the run which the pane follows has saved a checkpoint: the next answer takes it."""
        if isinstance(self.target, CheckpointTarget) and self.target.name.step is None:
            self._say(f"step {step:,} is saved: the next answer takes it")

    def link_changed(self, host: str, is_up: bool) -> None:
        """Says that the link to a host is cut, or back; a pane that failed meanwhile connects again."""
        if not isinstance(self.target, CheckpointTarget) or self.target.host != host:
            return
        if not is_up:
            self._say(f"no contact with {host}")
        elif self.state.kind == "failed":
            self._begin(again=True)
            self._say(f"{host} is back")
        else:
            self._say("")

    # ---- inside ----------------------------------------------------------------------------------------

    def check_free(self) -> None:
        """Raises `UserError` while an answer is coming, or asked for."""
        if self._wanted is not None or self.state.kind in ("waiting", "streaming"):
            raise UserError(COMING, "stop it first")

    def _asked(self, node: TurnNode | None) -> TurnNode:
        node = node or self.tree.leaf
        if node is None:
            raise UserError("nothing has been asked yet")
        return node

    def _want(
        self, question: str, parent: TurnNode | None, *, new_seed: bool = False, again: bool = False
    ) -> TurnNode:
        node = self.tree.add(question, parent)
        self._wanted = node, new_seed
        self._say("")
        if self.state.kind not in ("opening", "choosing"):
            # What failed may be gone: a server that started again has another port.
            self._begin(again=again or self.state.kind == "failed")
        self._changed()
        return node


def _question(text: str) -> str:
    if not text.strip():
        raise UserError("the question is empty")
    return text
