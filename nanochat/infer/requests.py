"""What is asked of a running batch, and what comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from nanochat.infer.logprobs import TokenLogprobs
from nanochat.infer.sampling import Sampling
from nanochat.tools.calculator import Calculator


class FinishReason(StrEnum):
    """Why a row ended: a token of its `stop`, its `max_tokens`, or the scheduler's `max_length`."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Request:
    """A prompt to continue, `samples` times.

    A sample ends with a token of `stop`, which is returned too, or after `max_tokens`, forced tokens
    included. With a `calculator`, the results of the model's calls are forced into the sample.
    With `logprobs` each token comes with its log-probability and the that many likeliest ones', with
    `prompt_logprobs` so does the prompt (see `Started`); then `max_tokens` may be 0.
    """

    prompt: Sequence[int]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 1
    stop: frozenset[int] = frozenset()
    calculator: Calculator | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None


class NewToken(NamedTuple):  # made in a third of a frozen dataclass's time, one a row and step
    """The next token of a sample of a request."""

    request: int
    sample: int
    token: int
    forced: bool
    """Written by a tool, not sampled: mask 0."""
    finish_reason: FinishReason | None = None
    """Set on the sample's last token."""
    logprobs: TokenLogprobs | None = None
    """What the model gave the token and its rivals, forced or not; where the request asked for it."""


@dataclass(frozen=True)
class Started:
    """A request whose prompt has been read. One with `max_tokens` 0 is finished: it has no tokens."""

    request: int
    cached_tokens: int
    """Leading tokens of the prompt that came from the prefix cache."""
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    """One a token of the prompt, None for the first; where the request asked for it."""
