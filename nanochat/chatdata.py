"""Training batches of conversations: packed, as one stream, or one a row; resumable to the token.

A rendered conversation is one int32 array in which a token that is trained stands as its id and one that
is not as ~id (−1 − id), so ids and mask travel together through buffers and checkpoints.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, Self

import numpy as np
import torch

from nanochat.dataloader import Batch, LoaderState, Position
from nanochat.errors import UserError
from nanochat.loss import IGNORE
from nanochat.packing import DocumentBuffer, Tokens

BUFFER_CONVERSATIONS = 100


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


class ConversationLoader:
    """An endless iterator of batches over `conversations`; rank r of w takes r, r+w, … and so round again.

    Inputs and targets are (B, T); a target that is not trained is −1. `state.position.taken` counts the
    conversations this rank has read, over all epochs. A subclass says how rows are filled.
    Raises `UserError` when there are no conversations for this rank.
    """

    def __init__(
        self,
        tokenizer: Renderer,
        conversations: Conversations,
        rows: int,
        context: int,
        *,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        state: LoaderState | None = None,
    ) -> None:
        self.tokenizer, self.conversations = tokenizer, conversations
        self.rows, self.capacity = rows, context + 1
        self.rank, self.world, self.size = rank, world, len(conversations)
        self.device = torch.device(device)
        self.state = state or LoaderState()
        if self.size <= rank:
            raise UserError(
                f"{self.size} conversations are too few for {world} processes",
                "give more conversations or use fewer processes",
            )

    @property
    def consumed(self) -> int:
        """Conversations placed in rows so far, over all ranks as far as this one can tell."""
        return self.placed(self.state.position.taken - len(self.state.documents))

    def placed(self, taken: int) -> int:
        """Conversations over all ranks when this one has placed `taken`: whole epochs are exact."""
        epochs, rest = divmod(taken, self.own)
        return epochs * self.size + rest * self.world

    @property
    def progress(self) -> float:
        """The part of one epoch that is placed; 1 or more when each conversation was seen once."""
        return self.consumed / self.size

    @property
    def own(self) -> int:
        """Conversations of this rank."""
        return len(range(self.rank, self.size, self.world))

    @property
    def epoch_ends(self) -> bool:
        """Whether what was read so far is whole epochs."""
        taken = self.state.position.taken
        return taken > 0 and taken % self.own == 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        rows = self.next_rows()
        ids = np.where(rows < 0, ~rows, rows)
        targets = np.where(rows[:, 1:] < 0, IGNORE, rows[:, 1:])
        pair = torch.from_numpy(np.stack((ids[:, :-1], targets)))
        if self.device.type == "cuda":
            pair = pair.pin_memory()
        inputs, labels = pair.to(self.device, non_blocking=True).long()
        return Batch(inputs, labels, self.state)

    def next_rows(self) -> Tokens:
        """The next (B, T+1) tokens, untrained ones as ~id; `self.state` is then the state after them."""
        raise NotImplementedError

    def render(self, messages: Sequence[Any]) -> Tokens:
        """One conversation as signed ids, cut to T+1 tokens."""
        ids, mask = self.tokenizer.render_conversation(messages, self.capacity)
        tokens = np.asarray(ids, dtype=np.int32)
        return np.where(np.asarray(mask, dtype=bool), tokens, ~tokens).astype(np.int32)

    def read(self) -> Tokens:
        """The next conversation of this rank; the position moves on."""
        taken = self.state.position.taken
        conversation = self.conversations[self.rank + self.world * (taken % self.own)]
        position = Position(epoch=1 + taken // self.own, taken=taken + 1)
        self.state = replace(self.state, position=position)
        return self.render(conversation["messages"])


class PackedConversations(ConversationLoader):
    """Whole conversations packed by best fit, the rest of a row padded with bos that is not trained.

    A row takes the longest of 100 buffered conversations that fits, until none does. The next epoch begins
    when all of the last one is placed, so that an epoch holds every conversation just once.
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

    A batch takes B·T+1 tokens of the stream, the last of which is a target only and not used again.
    """

    def render(self, messages: Sequence[Any]) -> Tokens:
        return np.asarray(self.tokenizer.render_conversation(messages)[0], dtype=np.int32)

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

    @property
    def consumed(self) -> int:
        return self.placed(self.state.position.taken)


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


def validation_batches(
    make: Callable[[], ConversationLoader], steps: int, check_stop: Callable[[], None] = lambda: None
) -> Iterator[Batch]:
    """The first `steps` batches of a fresh loader, so that every evaluation sees the same ones."""
    loader = make()
    for _ in range(steps):
        check_stop()
        yield next(loader)
