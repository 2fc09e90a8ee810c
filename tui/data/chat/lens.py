"""What each layer of a model would have said at a place of an answer (the logit lens)."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.serve.answer_tokens import Guess

__all__ = ["Guess", "LensReading"]


@dataclass(frozen=True)
class LensReading:
    """`layers[i]` holds the likeliest next tokens after layer i + 1, the likeliest first.

    `before` is the text's token that was read last, "" where the answer begins; `said` the one that the
    model sampled. `model` is the checkpoint with its step.
    """

    model: str
    before: str
    said: str
    layers: tuple[tuple[Guess, ...], ...]

    def first_layer(self) -> int | None:
        """The first layer, from 1, from which on `said` is the likeliest through the last; None: never."""
        first = None
        for number, guesses in enumerate(self.layers, 1):
            if not guesses or guesses[0].text != self.said:
                first = None
            elif first is None:
                first = number
        return first
