"""A conversation: the questions, the answers in their parts, and what each answer was sampled with.

Values that never change: a command such as /retry makes a new conversation of the old one, which stays as it
was until the new answer is there.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Literal

PartKind = Literal["text", "python", "python_output"]
"""What the assistant says, an expression it hands to the calculator, and the calculator's result."""
PART_KINDS: tuple[PartKind, ...] = ("text", "python", "python_output")

FINISH_REASONS = ("stop", "length", "stopped", "cut", "other")
"""Why an answer ended: the model ended it, it reached `max_tokens` or the context, the user stopped it, the
connection broke, or the server gave a reason of its own."""


@dataclass(frozen=True)
class Part:
    """A piece of an answer."""

    kind: PartKind
    text: str


@dataclass(frozen=True)
class AnswerSettings:
    """What an answer is sampled with. `seed` None: a new one for each answer."""

    temperature: float = 0.6
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    max_tokens: int = 256
    seed: int | None = None


@dataclass(frozen=True)
class Turn:
    """A question and its answer. `settings.seed` is the one that was used; `model` "" where unknown."""

    question: str
    answer: tuple[Part, ...]
    finish_reason: str = "stop"
    model: str = ""
    settings: AnswerSettings = field(default_factory=AnswerSettings)

    @property
    def answer_text(self) -> str:
        """What the assistant said, without its tool calls."""
        return "".join(part.text for part in self.answer if part.kind == "text")


@dataclass(frozen=True)
class Conversation:
    """`started` is local time in whole seconds; `system` "" is no system message."""

    started: datetime
    system: str = ""
    turns: tuple[Turn, ...] = ()

    @classmethod
    def new(cls, system: str = "") -> "Conversation":
        """An empty conversation that starts now."""
        return cls(datetime.now().replace(microsecond=0), system)

    def with_turn(self, turn: Turn) -> "Conversation":
        return dataclasses.replace(self, turns=(*self.turns, turn))

    def without_last(self) -> "Conversation":
        """All but the last turn; the same when there is none."""
        return dataclasses.replace(self, turns=self.turns[:-1])

    def with_system(self, system: str) -> "Conversation":
        return dataclasses.replace(self, system=system)

    def messages(self, question: str | None = None) -> list[dict[str, Any]]:
        """The messages so far, and `question` as the last one.

        An answer without tool calls is a text, any other a list of `{"type": kind, "text": …}`, as in
        training data.
        """
        found: list[dict[str, Any]] = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            found.append({"role": "user", "content": turn.question})
            has_tools = any(part.kind != "text" for part in turn.answer)
            parts = [{"type": part.kind, "text": part.text} for part in turn.answer]
            found.append({"role": "assistant", "content": parts if has_tools else turn.answer_text})
        if question is not None:
            found.append({"role": "user", "content": question})
        return found


def join_parts(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts with the pieces of each text put together; two expressions in a row stay two calls."""
    joined: list[Part] = []
    for kind, pieces in groupby(parts, key=lambda part: part.kind):
        if kind != "text":
            joined += pieces
        elif text := "".join(piece.text for piece in pieces):
            joined.append(Part("text", text))
    return tuple(joined)
