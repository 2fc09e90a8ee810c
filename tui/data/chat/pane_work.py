"""What goes on in a pane: one task that connects and answers, and the state that it leaves behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from nanochat.common.errors import Exit, UserError, one_line
from nanochat.serve.chat import Chat
from nanochat.serve.client import CutError
from nanochat.serve.conversation import AnswerSettings
from tui.data.chat.connection import Connection, ServiceSource, connect
from tui.data.chat.pane_state import PaneState, PaneStateKind
from tui.data.chat.target import PaneTarget
from tui.data.chat.tree import TurnNode, TurnTree


class PaneWork:
    """The part of a pane that works: see `tui.data.chat.pane.Pane`."""

    def __init__(
        self,
        target: PaneTarget,
        settings: AnswerSettings,
        services: Callable[[], ServiceSource | None],
        changed: Callable[[Any], None],
    ) -> None:
        self.target = target
        self.system = ""
        """The system message, "" for none."""
        self.tree = TurnTree()
        self.state = PaneState("closed")
        self.state_since = time.monotonic()
        """When the state became of its kind (monotonic time, s): for "waiting 12 s"."""
        self.offers: Sequence[Any] = ()
        """`remote.fleet.services.DeviceOffer`s to choose from while the state is `choosing`."""
        self.device = ""
        """Where the checkpoint is served: "cpu", "cuda:0", "" while unknown and for endpoints."""
        self.chosen_device = ""
        """The device that the user chose; "" leaves it to the host."""
        self.answers_with = ""
        """What gave the last answer: the exact checkpoint (`sft/d20@650`) on our server, else the model."""
        self.news = ""
        """A line about the pane that is no failure, such as "now step 1,200"."""
        self.has_probabilities: bool | None = None
        """Whether the server tells token probabilities; None before the first answer."""
        self.given: set[str] = set()
        """Settings that the user chose: top_k and min_p go to other servers than ours only then."""
        self._settings = settings
        self._services, self._notify = services, changed
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted: tuple[TurnNode, bool] | None = None
        """The turn to answer next, and whether with a new seed."""
        self._refuses_tokens = False

    async def ready(self) -> Connection:
        """The connection, once there is one; opens the pane where that is needed. Raises `UserError`.

        A pane that failed connects anew: the server that it knew may be gone.
        """
        if self.state.kind == "failed":
            self._begin(again=True)
        while self._connection is None or self.state.kind == "opening":
            if self.state.kind in ("closed", "failed"):
                self._begin(again=True)
            task = self._task
            if task is None or self.state.kind == "choosing":
                raise UserError(f"{self.target}: choose a device first")
            await asyncio.wait([task])
            if self.state.kind == "failed":
                raise UserError(self.state.line)
        return self._connection

    def _begin(self, again: bool) -> None:
        """Starts the pane's work: connecting, anew if `again`, and the answer that is wanted."""
        before = self._task
        if before is not None:
            before.cancel()
        self._task = asyncio.create_task(self._work(before, again), name=f"chat pane {self.target}")
        self._task.add_done_callback(self._stopped)
        if again or self._connection is None:
            self._become("opening", "connecting")
        else:
            self._become("waiting")

    async def _work(self, before: asyncio.Task[None] | None, again: bool) -> None:
        try:
            if before is not None and not before.done():
                await asyncio.wait([before])
            if again:
                await self._disconnect()
            if self._connection is None:
                self._connection = await self._connect()
            while (wanted := self._wanted) is not None:
                try:
                    await self._answer(self._connection, *wanted)
                finally:
                    if self._wanted is wanted:
                        self._wanted = None
            self._settle("idle")
        except UserError as error:
            self._fail(self._explained(error))
        except Exception as error:
            # A fault of ours: the pane tells it, the others go on, and the loop's handler reports it.
            self._fail(UserError(f"the pane failed: {type(error).__name__}: {one_line(str(error))}"))
            handler = {"message": "a chat pane failed", "exception": error, "task": self._task}
            asyncio.get_running_loop().call_exception_handler(handler)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """After the task's end; a task that is cancelled at once never gets to say itself that it was."""
        if task is self._task and task.cancelled():
            self._give_up("stopped")
            self._become("idle" if self._connection is not None else "closed")

    async def _connect(self) -> Connection:
        found = await connect(
            self.target,
            self._services(),
            self.chosen_device or None,
            lambda line: self._settle("opening", one_line(line)),
        )
        self.device = found.device
        if found.is_base:
            self._say("a base model: it continues the text of each question by itself")
        return found

    async def _answer(self, connection: Connection, node: TurnNode, new_seed: bool) -> None:
        chat = Chat(
            connection.client,
            connection.model,
            self._settings,
            self.tree.conversation(self.system, before=node),
            self.given,
            with_tokens=True,
            continues=connection.is_base,
        )
        chat.refuses_tokens = self._refuses_tokens
        node.failure = ""
        tree = self.tree
        tree.coming = node
        self._become("waiting")

        def grown() -> None:
            answer = node.answer = chat.latest
            if answer is not None:
                self._answers_as(answer.model, connection)
            if self.state.kind == "waiting" and answer is not None and answer.first_seconds is not None:
                self._become("streaming")
            self._changed()

        try:
            await chat.ask(node.question, new_seed=new_seed, changed=grown)
        except UserError as error:
            node.failure = str(error)
            raise
        except asyncio.CancelledError:
            node.failure = "stopped"
            raise
        finally:
            tree.coming = None
            self._refuses_tokens = chat.refuses_tokens
            self._ended(node, chat, connection)

    def _ended(self, node: TurnNode, chat: Chat, connection: Connection) -> None:
        answer = chat.latest
        if answer is None or not (answer.parts or answer.finish):
            node.answer = None
            return
        node.answer = answer
        self._answers_as(answer.model, connection)
        if answer.parts:
            told = any(token.logprob is not None for token in answer.tokens)
            if not told and self.has_probabilities is None:
                self._say("this server tells no probabilities of tokens")
            self.has_probabilities = told
        if answer.room is not None and answer.reason == "length":
            self._say(f"the context had room for {answer.room:,} tokens only")

    def _answers_as(self, model: str, connection: Connection) -> None:
        """Notes what answers; says so when it is another step than before."""
        _, at, step = model.rpartition("@")
        if model == self.answers_with or (connection.is_ours and not at):
            return  # our server tells the step, and has not yet
        before, self.answers_with = self.answers_with, model
        if before and at and step.isdecimal():
            self._say(f"now step {int(step):,}")

    def _fail(self, error: UserError) -> None:
        if offers := getattr(error, "offers", None):
            self.offers = offers
            self._settle("choosing", error.message)  # a question waits for the choice
        elif self._is_current:
            self._give_up(str(error))
            self._become("failed", str(error))

    def _explained(self, error: UserError) -> UserError:
        """The error, or why the service is gone that it comes from."""
        is_gone = isinstance(error, CutError) or error.exit_code == Exit.UNREACHABLE
        why = self._connection.why_ended() if is_gone and self._connection is not None else ""
        if not why:
            return error
        return UserError(why, "try again: it is started anew", error.exit_code)

    def _give_up(self, line: str) -> None:
        """Notes at the question that waits why it gets no answer."""
        if self._wanted is not None:
            self._wanted[0].failure = line
            self._wanted = None

    @property
    def _is_current(self) -> bool:
        """Whether the task that runs is the pane's, and not one that another has replaced."""
        return asyncio.current_task() is self._task

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.client.aclose()

    def _settle(self, kind: PaneStateKind, line: str = "") -> None:
        if self._is_current:
            self._become(kind, line)

    def _become(self, kind: PaneStateKind, line: str = "") -> None:
        if kind != self.state.kind:
            self.state_since = time.monotonic()
        self.state = PaneState(kind, line)
        self._changed()

    def _say(self, line: str) -> None:
        self.news = line
        self._changed()

    def _changed(self) -> None:
        self._notify(self)
