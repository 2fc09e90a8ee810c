"""What each layer of a model would have said at a place of an answer (the logit lens)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guess:
    """A token that may come next, and its log-probability (natural log)."""

    text: str
    logprob: float


@dataclass(frozen=True)
class LensReading:
    """`layers[i]` holds the likeliest next tokens after layer i + 1, the likeliest first.

    `before` is the token that was read last, `said` the one that the model sampled.
    """

    model: str
    before: str
    said: str
    layers: tuple[tuple[Guess, ...], ...]

    def first_layer(self) -> int | None:
        """The first layer, from 1, from which on `said` is the likeliest through the last; None: never."""
        raise NotImplementedError
