"""What each layer of a model would have said at a place of an answer (the logit lens)."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.common.errors import UserError
from nanochat.serve.answer_tokens import Guess
from tui.data.chat.connection import Connection
from tui.data.chat.tree import TurnNode

__all__ = ["Guess", "LensReading", "read_lens"]


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


async def read_lens(connection: Connection, node: TurnNode, token: int) -> LensReading:
    """Asks the checkpoint that gave the answer what each of its layers would have said at the place of
    `node.answer.tokens[token]`. Raises `UserError` where that cannot be told."""
    if not connection.is_ours:
        raise UserError(
            f"{connection.client.name} has no lens", "only nanochat's own server shows its layers"
        )
    answer = node.answer
    if answer is None or not 0 <= token < len(answer.tokens):
        raise UserError("there is no token at that place")
    said = answer.tokens[token]
    at = token if said.index is None else said.index
    if not answer.prompt_ids or at >= len(answer.ids):
        raise UserError("the tokens of this answer are not known", "ask again, and look at the new answer")
    ids = [*answer.prompt_ids, *answer.ids[:at]]
    found = await connection.client.lens(connection.model.id, ids)
    if found.model != answer.model:
        # Saved over since: the step that answered is asked by its name.
        found = await connection.client.lens(answer.model, ids)
    before = answer.tokens[token - 1].text if token else ""
    return LensReading(found.model, before, said.text, found.layers)
