"""A whole sample in pieces: what the model says, what it hands to the calculator, what that answers."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from nanochat.infer.scheduler import FinishReason, NewToken
from nanochat.infer.text_stream import TextStream
from nanochat.infer.token_table import TokenTable

PieceType = Literal["text", "python", "python_output"]


class Piece(NamedTuple):
    """A stretch of one kind. `type` as in the parts of a conversation's messages."""

    type: PieceType
    text: str


def transcript(table: TokenTable, tokens: Sequence[int], finish: FinishReason) -> list[Piece]:
    """The pieces of a sample's tokens, the one that ended it included. Other special tokens are left out."""
    stream = TextStream(table)
    for place, token in enumerate(tokens, 1):
        last = finish if place == len(tokens) else None
        stream.add(NewToken(0, 0, token, forced=False, finish_reason=last))
    delta = stream.take()
    pieces, at = [], 0
    for call in delta.calls:
        pieces += [Piece("text", delta.text[at : call.offset]), Piece("python", call.expression)]
        pieces += [Piece("python_output", call.output)] if call.output is not None else []
        at = call.offset
    pieces.append(Piece("text", delta.text[at:]))
    return [piece for piece in pieces if piece.text or piece.type != "text"]
