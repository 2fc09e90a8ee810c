"""A chat: a conversation, the model it is held with, and how its answers are sampled.

Knows no terminal. What came of an answer is kept however it ended; an answer that is asked for again replaces
the old one only once something of it is there.
"""

import asyncio
import dataclasses
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from nanochat.common.errors import UserError
from nanochat.serve.answer_stream import Finish
from nanochat.serve.client import OWNER, ChatClient, ServedModel, StatusError
from nanochat.serve.conversation import FINISH_REASONS, AnswerSettings, Conversation, Part, Turn, join_parts

SEEDS = 1 << 31
OVERFLOW = "context_length_exceeded"
"""OpenAI's code for a prompt and an answer that do not fit the model's context together."""


@dataclass
class Answer:
    """An answer as it comes, and how it went."""

    question: str
    settings: AnswerSettings
    """With the seed that was used."""
    model: str
    """With the step of the checkpoint, where our own server said it."""
    parts: list[Part] = field(default_factory=list)
    reason: str = "cut"
    """See `FINISH_REASONS`."""
    finish: Finish | None = None
    first_seconds: float | None = None
    """From the question to the first part."""
    seconds: float = 0.0
    room: int | None = None
    """The tokens that the context had left, where those were fewer than `max_tokens`."""

    @property
    def turn(self) -> Turn:
        return Turn(self.question, join_parts(self.parts), self.reason, self.model, self.settings)

    @property
    def tokens_per_second(self) -> float | None:
        """Of the tokens after the first; None when the server did not count them."""
        tokens = self.finish.completion_tokens if self.finish else None
        if self.first_seconds is None or tokens is None or tokens < 2:
            return None
        spent = self.seconds - self.first_seconds
        return (tokens - 1) / spent if spent > 0 else None


class Chat:
    """`given`: the names of the settings that the user chose.

    Fields of ours that OpenAI's interface lacks (top_k, min_p) are sent to other servers only where the user
    chose them: some refuse what they do not know.
    """

    def __init__(
        self,
        client: ChatClient,
        model: ServedModel,
        settings: AnswerSettings,
        conversation: Conversation,
        given: set[str] | None = None,
    ) -> None:
        self.client = client
        self.use(model)
        self.settings = settings
        self.conversation = conversation
        self.given = given if given is not None else set()
        self._unanswered: tuple[str, Conversation] | None = None
        """The last question and what it was asked after, where nothing came of it."""
        self.latest: Answer | None = None
        """The answer asked for last, also while it comes."""

    def change(self, **settings: float | int | None) -> None:
        """Sets some of the settings."""
        self.settings = dataclasses.replace(self.settings, **settings)  # type: ignore[arg-type]
        self.given |= settings.keys()

    def use(self, model: ServedModel) -> None:
        """Asks `model` from now on."""
        self.model = model
        self.exact_model = model.id
        """With the step of the checkpoint, once it has answered."""

    def last_question(self) -> str:
        """The question that /retry and /edit are about. Raises `UserError` when there is none."""
        if self._unanswered is not None:
            return self._unanswered[0]
        if not self.conversation.turns:
            raise UserError("nothing has been asked yet")
        return self.conversation.turns[-1].question

    def before_last(self) -> Conversation:
        """The conversation before `last_question`."""
        if self._unanswered is not None:
            return self._unanswered[1]
        return self.conversation.without_last()

    def start(self, conversation: Conversation) -> None:
        """Goes on with another conversation."""
        self.conversation = conversation
        self._unanswered = None

    async def ask(
        self,
        question: str,
        show: Callable[[Part], None] = lambda part: None,
        *,
        again: bool = False,
        new_seed: bool = False,
    ) -> Answer:
        """The answer to `question`, each part shown as it comes; it becomes the conversation's next turn.

        `again`: in place of the last question and its answer. `new_seed`: not with the fixed seed, which
        would give the same answer again. Cancelling ends the answer, on the server too, and keeps what
        came. Raises `UserError`.
        """
        history = self.before_last() if again else self.conversation
        seed = self.settings.seed
        if seed is None or new_seed:
            seed = random.SystemRandom().randrange(SEEDS)
        answer = Answer(question, dataclasses.replace(self.settings, seed=seed), self.model.id)
        self.latest = answer
        started = time.perf_counter()
        try:
            await self._receive(answer, history, started, show)
        except BaseException as error:
            is_stopped = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
            answer.reason = "stopped" if is_stopped else "cut"
            raise
        finally:
            answer.seconds = time.perf_counter() - started
            if answer.parts or answer.finish is not None:
                self.conversation = history.with_turn(answer.turn)
                self._unanswered = None
            else:
                self._unanswered = question, history
        return answer

    async def _receive(
        self, answer: Answer, history: Conversation, started: float, show: Callable[[Part], None]
    ) -> None:
        messages = self._messages(history, answer.question)
        try:
            await self._stream(answer, messages, started, show)
        except StatusError as error:
            if error.code != OVERFLOW:
                raise
            room = await self._room(messages)
            if not 0 < room < answer.settings.max_tokens:
                hint = "ask less, or begin a new conversation" if history.turns else "ask less"
                raise UserError(error.message, hint, error.exit_code) from None
            answer.room = room
            answer.settings = dataclasses.replace(answer.settings, max_tokens=room)
            await self._stream(answer, messages, started, show)

    async def _stream(
        self, answer: Answer, messages: list[dict[str, Any]], started: float, show: Callable[[Part], None]
    ) -> None:
        events = self.client.stream(self.model.id, messages, answer.settings, **self._extra(answer.settings))
        async with aclosing(events):
            async for event in events:
                if answer.first_seconds is None:
                    answer.first_seconds = time.perf_counter() - started
                if isinstance(event, Part):
                    answer.parts.append(event)
                    show(event)
                else:
                    answer.finish = event
                    if self.model.owner == OWNER and event.fingerprint:
                        answer.model = self.exact_model = event.fingerprint
                    answer.reason = event.reason if event.reason in FINISH_REASONS else "other"

    def _extra(self, settings: AnswerSettings) -> dict[str, Any]:
        own = {"top_k": settings.top_k, "min_p": settings.min_p}
        if self.model.owner == OWNER:
            return own
        return {name: value for name, value in own.items() if name in self.given}

    def _messages(self, history: Conversation, question: str | None) -> list[dict[str, Any]]:
        """Tool calls are part of the history only where the server knows them."""
        messages = history.messages(question)
        if self.model.owner != OWNER:
            for message in messages:
                if not isinstance(message["content"], str):
                    texts = (part["text"] for part in message["content"] if part["type"] == "text")
                    message["content"] = "".join(texts)
        return messages

    async def _room(self, messages: list[dict[str, Any]]) -> int:
        """Tokens that the context has left for an answer; 0 when unknown."""
        counted = await self.client.count_tokens(self.model.id, messages)
        return counted[1] - counted[0] if counted else 0

    async def count_tokens(self) -> tuple[int, int] | None:
        """Tokens of the conversation so far, ready for the next answer, and of the context."""
        messages = self._messages(self.conversation, None)
        if not messages or messages[-1]["role"] == "system":
            messages = self._messages(self.conversation, "")
        return await self.client.count_tokens(self.model.id, messages)
