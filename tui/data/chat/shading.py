"""Tokens of an answer grouped into blocks that can be painted: whole characters, each token in one block.

A character whose bytes are several tokens (an emoji, 字) is one block of those tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from nanochat.common.text import clean_text
from nanochat.serve.answer_tokens import AnswerToken


@dataclass(frozen=True, slots=True)
class TokenBlock:
    """`text`: safe for a terminal, may hold line ends. Of the tokens `first` up to and without `end`."""

    text: str
    first: int
    end: int
    probability: float | None
    """Of its tokens together; None where the server did not say."""


class TokenBlocks:
    """Blocks as tokens come; `blocks` only grows. Bytes that wait for the rest of their character are not
    among them before that has come, or `end` was called."""

    def __init__(self) -> None:
        self.blocks: list[TokenBlock] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tokens: list[AnswerToken] = []
        self._text = ""
        self.seen = 0
        """Tokens that were given."""

    def add(self, tokens: Sequence[AnswerToken]) -> None:
        """Takes the next tokens."""
        for token in tokens:
            self.seen += 1
            self._tokens.append(token)
            self._text += self._decoder.decode(token.raw)
            if not self._decoder.getstate()[0]:
                self._close()

    def end(self) -> None:
        """No token follows."""
        self._text += self._decoder.decode(b"", final=True)
        self._close()

    def _close(self) -> None:
        if not self._tokens:
            return
        product: float | None = 1.0
        for token in self._tokens:
            probability = token.probability
            product = None if product is None or probability is None else product * probability
        first = self.seen - len(self._tokens)
        self.blocks.append(TokenBlock(clean_text(self._text), first, self.seen, product))
        self._tokens.clear()
        self._text = ""
