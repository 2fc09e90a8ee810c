"""Training batches of conversations: packed, as one stream, or one a row; resumable to the token.

A rendered conversation is one int32 array that holds a trained token as its id and any other as ~id
(−1 − id), so ids and mask travel together through buffers and checkpoints.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch

from nanochat.common.errors import UserError
from nanochat.data.dataloader import LoaderState, Position, RowLoader
from nanochat.data.packing import DocumentBuffer, Tokens

BUFFER_CONVERSATIONS = 100
_WHOLE = 1 << 40
"""More tokens than any conversation has: it is rendered whole, so that what is cut can be counted."""
STREAM_TOKENS = 2048
"""Tokens of a conversation that a stream takes, as classic nanochat rendered them."""


class Renderer(Protocol):
    """What the loaders need of a tokenizer."""

    @property
    def bos_id(self) -> int: ...

    def special_id(self, name: str) -> int: ...

    def render_conversation(
        self, messages: Sequence[Any], max_tokens: int = ...
    ) -> tuple[list[int], list[int]]: ...


class Conversations(Protocol):
    """A task or a mixture: a sequence of conversations."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class ConversationLoader(RowLoader):
    """An endless iterator of batches over `conversations`, in their order and so round again.

    Inputs and targets are (B, T); a target that is not trained is −1. `state.position.taken` counts the
    conversations read, over all epochs. A subclass fills the rows. Several processes interleave the
    batches of one (`RowLoader`). Raises `UserError` when there are no conversations.
    """

    def __init__(
        self,
        tokenizer: Renderer,
        conversations: Conversations,
        rows: int,
        context: int,
        *,
        device: torch.device | str = "cpu",
        state: LoaderState | None = None,
        interleave: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(device, state, interleave)
        self.tokenizer, self.conversations = tokenizer, conversations
        self.rows, self.capacity, self.size = rows, context + 1, len(conversations)
        self.cut = 0
        """Tokens that the last rendering cut away."""
        if not self.size:
            raise UserError("there are no conversations to train on", "choose tasks that have some")

    def progress(self, state: LoaderState) -> float:
        """The fraction of an epoch in rows at `state`; 1 or more once every conversation has been used."""
        return (state.position.taken - len(state.documents)) / self.size

    @property
    def epoch_ends(self) -> bool:
        """Whether the last conversation read was the last of its epoch."""
        taken = self.state.position.taken
        return taken > 0 and taken % self.size == 0

    def render(self, messages: Sequence[Any]) -> Tokens:
        """One conversation as signed ids, truncated to T+1 tokens; `cut` is then how many were lost."""
        ids, mask = self.tokenizer.render_conversation(messages, _WHOLE)
        self.cut = max(0, len(ids) - self.capacity)
        tokens = np.asarray(ids[: self.capacity], dtype=np.int32)
        mask = mask[: self.capacity]
        return np.where(np.asarray(mask, dtype=bool), tokens, ~tokens).astype(np.int32)

    def read(self) -> Tokens:
        """Reads the next conversation and advances the position."""
        taken = self.state.position.taken
        conversation = self.conversations[taken % self.size]
        position = Position(epoch=1 + taken // self.size, taken=taken + 1)
        tokens = self.render(conversation["messages"])
        self.state = replace(self.state, position=position, tokens_cut=self.state.tokens_cut + self.cut)
        return tokens


class PackedConversations(ConversationLoader):
    """Whole conversations packed by best fit, the rest of a row padded with bos that is not trained.

    A row takes the longest of 100 buffered conversations that fits, until none does. The next epoch begins
    when all of the last one is in rows, so that an epoch holds every conversation exactly once.
    """

    def __init__(self, *args: Any, buffer: int = BUFFER_CONVERSATIONS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer_size = buffer
        self._buffer = DocumentBuffer.of(self.state.documents)

    def next_rows(self) -> Tokens:
        rows = np.full((self.rows, self.capacity), ~self.tokenizer.bos_id, dtype=np.int32)
        used = sum(self._fill(row) for row in rows)
        state = self.state
        self.state = replace(
            state, documents=tuple(self._buffer.documents()), tokens_used=state.tokens_used + used
        )
        return rows

    def _fill(self, row: Tokens) -> int:
        filled = 0
        while filled < len(row):
            while len(self._buffer) < self.buffer_size and not (self.epoch_ends and len(self._buffer)):
                tokens = self.read()
                self._buffer.add(len(tokens), tokens)
            best = self._buffer.take_longest(len(row) - filled)
            if best is None:
                break
            row[filled : filled + len(best)] = best
            filled += len(best)
        return filled


class ConversationStream(ConversationLoader):
    """All conversations end to end, cut into rows wherever they end; every token is trained (classic).

    A batch takes B·T+1 tokens of the stream, the last of which is only a target, never an input.
    """

    def render(self, messages: Sequence[Any]) -> Tokens:
        ids, _ = self.tokenizer.render_conversation(messages, _WHOLE)
        self.cut = max(0, len(ids) - STREAM_TOKENS)
        return np.asarray(ids[:STREAM_TOKENS], dtype=np.int32)

    def next_rows(self) -> Tokens:
        context = self.capacity - 1
        needed = self.rows * context + 1
        parts = [tokens for _, tokens in self.state.documents]
        length = sum(map(len, parts))
        while length < needed:
            parts.append(self.read())
            length += len(parts[-1])
        flat = np.concatenate(parts)
        rest = flat[needed:]
        self.state = replace(
            self.state,
            documents=((len(rest), rest),) if len(rest) else (),
            tokens_used=self.state.tokens_used + needed,
        )
        starts = np.arange(self.rows)[:, None] * context
        rows: Tokens = flat[starts + np.arange(self.capacity)[None]]
        return rows

    def progress(self, state: LoaderState) -> float:
        return state.position.taken / self.size


class PaddedConversations(ConversationLoader):
    """One conversation a row, padded on the right with assistant_end that is not trained (classic).

    Rows are as long as the longest conversation of the batch.
    """

    def next_rows(self) -> Tokens:
        found = [self.read() for _ in range(self.rows)]
        width = max(2, max(map(len, found)))
        rows = np.full((self.rows, width), ~self.tokenizer.special_id("assistant_end"), dtype=np.int32)
        for row, tokens in zip(rows, found, strict=True):
            row[: len(tokens)] = tokens
        self.state = replace(self.state, tokens_used=self.state.tokens_used + sum(map(len, found)))
        return rows
