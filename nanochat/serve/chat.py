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
from typing import Any

from nanochat.common.errors import UserError
from nanochat.serve.answer import Answer
from nanochat.serve.answer_stream import Finish, Progress
from nanochat.serve.client import OWNER, ChatClient, ServedModel, StatusError
from nanochat.serve.conversation import FINISH_REASONS, AnswerSettings, Conversation, Part

SEEDS = 1 << 31
ALTERNATIVES = 5
"""Likeliest tokens that are asked for at each place of an answer, where its tokens are."""
REFUSALS = (400, 422, 501)
"""How a server says that it does not take a field: OpenAI's, FastAPI's, llama.cpp's."""
OVERFLOW = "context_length_exceeded"
"""OpenAI's code for a prompt and an answer that do not fit the model's context together."""
_COUNTING: dict[str, dict[str, Any]] = {
    OWNER: {"return_token_ids": True},
    "vllm": {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    "llamacpp": {"timings_per_token": True},
}
"""By the owner of a model the fields with which its server counts the tokens while they come."""
Prompt = list[dict[str, Any]] | str
"""Messages, or a text to continue."""


class Chat:
    """`given`: the names of the settings that the user chose. `with_tokens`: ask for the answers' tokens and
    their probabilities; a server that refuses is asked without, and not again (`refuses_tokens`).
    `continues`: the model is a base model, and the answer is what it writes after the question alone.

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
        *,
        with_tokens: bool = False,
        continues: bool = False,
    ) -> None:
        self.client = client
        self.use(model)
        self.settings = settings
        self.conversation = conversation
        self.given = given if given is not None else set()
        self.with_tokens, self.continues = with_tokens, continues
        self.refuses_tokens = False
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
        changed: Callable[[], None] = lambda: None,
    ) -> Answer:
        """The answer to `question`, each part shown as it comes; it becomes the conversation's next turn.
        `changed` is called whenever `latest` has grown.

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

        def take(event: Part | Progress) -> None:
            answer.take(event, time.perf_counter() - started)
            if isinstance(event, Part):
                show(event)
            changed()

        try:
            await self._receive(answer, history, take)
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
        self, answer: Answer, history: Conversation, show: Callable[[Part | Progress], None]
    ) -> None:
        prompt = answer.question if self.continues else self._messages(history, answer.question)
        try:
            await self._stream(answer, prompt, show)
        except StatusError as error:
            if error.code != OVERFLOW:
                raise
            room = await self._room(prompt)
            if not 0 < room < answer.settings.max_tokens:
                hint = "ask less, or begin a new conversation" if history.turns else "ask less"
                raise UserError(error.message, hint, error.exit_code) from None
            answer.room = room
            answer.settings = dataclasses.replace(answer.settings, max_tokens=room)
            await self._stream(answer, prompt, show)

    async def _stream(self, answer: Answer, prompt: Prompt, show: Callable[[Part | Progress], None]) -> None:
        """As `_stream_once`; a server that refuses to tell the tokens is asked again without."""
        asks = self._asks_for_tokens
        try:
            await self._stream_once(answer, prompt, show)
        except StatusError as error:
            is_refusal = error.status in REFUSALS and error.code != OVERFLOW
            if not asks or not is_refusal or self.model.owner == OWNER:
                raise
            self.refuses_tokens = True
            try:
                await self._stream_once(answer, prompt, show)
            except StatusError:
                self.refuses_tokens = False  # it was something else
                raise

    async def _stream_once(
        self, answer: Answer, prompt: Prompt, show: Callable[[Part | Progress], None]
    ) -> None:
        extra = self._extra(answer.settings)
        if isinstance(prompt, str):
            events = self.client.complete(self.model.id, prompt, answer.settings, **extra)
        else:
            events = self.client.stream(self.model.id, prompt, answer.settings, **extra)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finish):
                    answer.finish = event
                    answer.reason = event.reason if event.reason in FINISH_REASONS else "other"
                if not isinstance(event, Part) and self.model.owner == OWNER and event.fingerprint:
                    answer.model = self.exact_model = event.fingerprint
                if not isinstance(event, Finish):
                    show(event)

    @property
    def _asks_for_tokens(self) -> bool:
        return self.with_tokens and not self.refuses_tokens

    def _extra(self, settings: AnswerSettings) -> dict[str, Any]:
        """Fields of the request that OpenAI's interface lacks, or that are not always wanted."""
        owner = self.model.owner
        own = {"top_k": settings.top_k, "min_p": settings.min_p}
        extra: dict[str, Any] = {n: v for n, v in own.items() if owner == OWNER or n in self.given}
        if self._asks_for_tokens:
            if self.continues:
                extra["logprobs"] = ALTERNATIVES
            else:
                extra |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
            extra |= _COUNTING.get(owner, {})
        return extra

    def _messages(self, history: Conversation, question: str | None) -> list[dict[str, Any]]:
        """Tool calls are part of the history only where the server knows them."""
        messages = history.messages(question)
        if self.model.owner != OWNER:
            for message in messages:
                if not isinstance(message["content"], str):
                    texts = (part["text"] for part in message["content"] if part["type"] == "text")
                    message["content"] = "".join(texts)
        return messages

    async def _room(self, prompt: Prompt) -> int:
        """Tokens that the context has left for an answer; 0 when unknown."""
        counted = await self.client.count_tokens(self.model.id, prompt)
        return counted[1] - counted[0] if counted else 0

    async def count_tokens(self) -> tuple[int, int] | None:
        """Tokens of the conversation so far, ready for the next answer, and of the context."""
        messages = self._messages(self.conversation, None)
        if not messages or messages[-1]["role"] == "system":
            messages = self._messages(self.conversation, "")
        return await self.client.count_tokens(self.model.id, messages)
