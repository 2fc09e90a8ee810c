"""What a pane tells of itself: what it does, and the figures of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nanochat.serve.answer import Answer

PaneStateKind = Literal["closed", "opening", "choosing", "idle", "waiting", "streaming", "failed"]


@dataclass(frozen=True)
class PaneState:
    """What a pane does. `line` says for a person: what it waits for (opening), what went wrong (failed).

    closed: not connected yet. choosing: a training is at work on the host, and `Pane.offers` are to be chosen
    from with `open(device)`. waiting: asked, nothing has come. failed: `retry()` goes on.
    """

    kind: PaneStateKind
    line: str = ""

    @property
    def is_busy(self) -> bool:
        """Whether something is under way that `stop()` ends."""
        return self.kind in ("opening", "waiting", "streaming")


@dataclass(frozen=True)
class Figures:
    """Live figures of an answer; None where they are not known (yet).

    Tokens are counted by what the server says of each, never by the pieces of text they come in: a server
    that says nothing until the end has no speed until then.
    """

    tokens: int | None = None
    tokens_per_second: float | None = None
    """Of the tokens after those that came first."""
    first_token_seconds: float | None = None
    """From sending the question to the first piece of the answer."""
    prompt_tokens: int | None = None
    """Told at the end, by our own server at the beginning."""

    @classmethod
    def of(cls, answer: Answer | None) -> Figures:
        """Those of an answer, as they are now. Constant time."""
        if answer is None:
            return cls()
        finish = answer.finish
        return cls(
            answer.token_count,
            answer.tokens_per_second,
            answer.first_seconds,
            finish.prompt_tokens if finish else len(answer.prompt_ids) or None,
        )
