"""An answer as it comes: its text, its tokens, and how fast they came."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from nanochat.serve.answer_parts import PartList
from nanochat.serve.answer_stream import Finish, Progress
from nanochat.serve.answer_tokens import TokenList
from nanochat.serve.conversation import AnswerSettings, Part, Turn, join_parts

AT_ONCE = 0.02
"""Seconds within which pieces came out of one buffer: how fast the model made them is not in that."""


@dataclass
class Answer:
    """An answer as it comes, and how it went."""

    question: str
    settings: AnswerSettings
    """With the seed that was used."""
    model: str
    """With the step of the checkpoint, where our own server said it."""
    parts: PartList = field(default_factory=PartList)
    reason: str = "cut"
    """See `FINISH_REASONS`."""
    finish: Finish | None = None
    first_seconds: float | None = None
    """From the question to the first part."""
    seconds: float = 0.0
    room: int | None = None
    """The tokens that the context had left, where those were fewer than `max_tokens`."""
    tokens: TokenList = field(default_factory=TokenList)
    """Those of the text, with their probabilities, where they were asked for and the server tells them."""
    ids: array[int] = field(default_factory=lambda: array("i"))
    """All tokens, tool calls included, where the server tells them; `prompt_ids` were read before."""
    prompt_ids: array[int] = field(default_factory=lambda: array("i"))
    is_thinking: bool = False
    """Whether the model thinks aloud just now."""
    counted: int | None = None
    """Tokens so far by what the server says of each: never by the pieces of text that they come in."""
    first_counted: int = 0
    """Those that came first, together."""
    latest_seconds: float = 0.0
    """From the question to the newest piece."""

    @property
    def turn(self) -> Turn:
        return Turn(self.question, join_parts(self.parts), self.reason, self.model, self.settings)

    @property
    def tokens_per_second(self) -> float | None:
        """Of the tokens after those that came first; None when the server does not count them (yet), and
        when they came all at once, which says nothing of how long they took to make."""
        tokens = self.token_count
        if self.first_seconds is None or tokens is None or tokens < 2:
            return None
        end = self.seconds if self.finish and self.seconds else self.latest_seconds
        spent = end - self.first_seconds
        made = tokens - max(1, self.first_counted)
        return made / spent if spent > AT_ONCE and made > 0 else None

    @property
    def token_count(self) -> int | None:
        """Tokens so far, tool calls included; None when the server does not count them (yet)."""
        told = self.finish.completion_tokens if self.finish else None
        return self.counted if told is None else told

    def take(self, event: Part | Progress, seconds: float) -> None:
        """Adds what came `seconds` after the question."""
        if isinstance(event, Part):
            self.parts.append(event)
            self.is_thinking = False
        else:
            self._count(event)
            self.tokens.extend(event.tokens)
            self.ids.extend(event.ids)
            self.prompt_ids.extend(event.prompt_ids)
            self.is_thinking = event.is_thinking
            if not (event.tokens or event.ids or event.total or event.is_thinking):
                return  # it tells who answers, and that is no token
        if self.first_seconds is None:
            self.first_seconds = seconds
            self.first_counted = self.counted or 0
        self.latest_seconds = seconds

    def _count(self, event: Progress) -> None:
        if event.total is not None:
            self.counted = event.total
        elif new := len(event.ids) or len(event.tokens):
            self.counted = (self.counted or 0) + new
