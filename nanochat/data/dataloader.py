"""Packed training batches from parquet shards, resumable to the token.

The state that comes with each batch holds the position in the shards and every buffered document, so the
first batch after a resume is the one that would have come next.
"""

import itertools
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nanochat.common.errors import UserError
from nanochat.data.packing import (
    BUFFER_DOCUMENTS,
    IGNORE_INDEX,
    DocumentBuffer,
    LongDocuments,
    Tokens,
    continue_row,
    pack_row,
)
from nanochat.data.shards import iter_row_groups

TOKENIZE_DOCUMENTS = 128
BUFFER_TOKENS = 1 << 26
"""Buffered tokens (256 MiB) beyond which a loader that keeps documents whole reads no more of them."""


class Encoder(Protocol):
    """What the loader needs of a tokenizer."""

    def encode_batch_to_numpy(
        self, texts: Sequence[str], *, bos: bool = False, num_threads: int = 0
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]: ...


def encode_documents(tokenizer: Encoder, texts: Sequence[str]) -> list[Tokens]:
    """The ids of each text after bos, int32: views of one array, so keep a copy of what is kept long."""
    ids, offsets = tokenizer.encode_batch_to_numpy(texts, bos=True)
    signed = ids.astype(np.int32)
    return [signed[start:end] for start, end in itertools.pairwise(offsets.tolist())]


@dataclass(frozen=True)
class Position:
    """The position in the shards: `taken` documents of row group `rg_idx` of shard `pq_idx` are read."""

    pq_idx: int = 0
    rg_idx: int = 0
    epoch: int = 1
    taken: int = 0


@dataclass(frozen=True, eq=False)
class LoaderState:
    """All a loader needs to resume: position, buffered documents, and counts since the start."""

    position: Position = Position()
    documents: tuple[tuple[int, Tokens], ...] = ()
    tokens_used: int = 0
    tokens_cut: int = 0
    epoch_tokens: int = 0
    """Tokens read in the epoch so far."""
    rest: Tokens = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    """What the last row left of its last document, where long documents continue in the next row."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LoaderState):
            return NotImplemented
        ours, theirs = self.to_tensors(), other.to_tensors()
        return (
            self.to_meta() == other.to_meta()
            and ours.keys() == theirs.keys()
            and all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
        )

    @property
    def tokens_taken(self) -> int:
        """Tokens that left the buffer, into rows or cut."""
        return self.tokens_used + self.tokens_cut

    def to_meta(self) -> dict[str, Any]:
        """The part that is JSON; the position under upstream nanochat's names."""
        counts = {
            "tokens_used": self.tokens_used,
            "tokens_cut": self.tokens_cut,
            "epoch_tokens": self.epoch_tokens,
        }
        return asdict(self.position) | counts

    def to_tensors(self) -> dict[str, Tensor]:
        """The buffered documents: their full lengths, how many tokens of each are kept, and those tokens.

        And `rest`, where there is one.
        """
        lengths = [length for length, _ in self.documents]
        kept = [len(tokens) for _, tokens in self.documents]
        flat = np.concatenate([tokens for _, tokens in self.documents]) if self.documents else np.empty(0)
        tensors = {
            "lengths": torch.tensor(lengths, dtype=torch.int64),
            "kept": torch.tensor(kept, dtype=torch.int64),
            "tokens": torch.from_numpy(flat.astype(np.int32)),
        }
        return tensors | ({"rest": torch.from_numpy(self.rest.copy())} if len(self.rest) else {})

    @classmethod
    def restore(cls, meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The state that `to_meta` and `to_tensors` saved. Raises `UserError` when they are damaged."""
        try:
            kept = tensors["kept"].tolist()
            pieces = np.split(tensors["tokens"].numpy(), np.cumsum(kept)[:-1]) if kept else []
            documents = tuple(zip(tensors["lengths"].tolist(), pieces, strict=True))
            names = ("pq_idx", "rg_idx", "epoch", "taken")
            counts = {name: int(meta[name]) for name in ("tokens_used", "tokens_cut", "epoch_tokens")}
            rest = tensors["rest"].numpy() if "rest" in tensors else np.empty(0, dtype=np.int32)
            position = Position(**{name: int(meta[name]) for name in names})
            return cls(position, documents, **counts, rest=rest)
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(f"the data loader's state is damaged: {error}") from error


@dataclass(frozen=True)
class Batch:
    """inputs and targets (B, T) int64 on the device, and the state to resume after this batch."""

    inputs: Tensor
    targets: Tensor
    state: LoaderState = field(repr=False)
    weights: Tensor | None = None
    """(B, T) float32: what each target's loss is multiplied by."""


def as_batch(rows: Tensor, device: torch.device, state: LoaderState) -> Batch:
    """Rows (B, T+1) int32 on the host as a batch: one copy to the device.

    A token that must not be trained is stored as ~id (−1 − id): it is an input, but ignored as a target.
    """
    if device.type == "cuda":
        rows = rows.pin_memory()
    tokens = rows.to(device, non_blocking=True).long()
    inputs = tokens[:, :-1]
    return Batch(torch.where(inputs < 0, ~inputs, inputs), tokens[:, 1:].clamp(min=IGNORE_INDEX), state)


class RowLoader(ABC):
    """An endless iterator of batches of rows that a subclass fills.

    With `interleave` (rank, world) it yields every world-th batch, from number `rank` on: the loaders of all
    ranks together yield the batches of a single one. Their states are all equal, so that any number of
    processes can resume from one.
    """

    def __init__(
        self, device: torch.device | str, state: LoaderState | None, interleave: tuple[int, int] = (0, 1)
    ) -> None:
        self.device = torch.device(device)
        self.state = state or LoaderState()
        self.interleave = interleave

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        rank, world = self.interleave
        rows = [self.next_rows() for _ in range(world)][rank]
        return as_batch(torch.from_numpy(rows), self.device, self.state)

    @abstractmethod
    def next_rows(self) -> Tokens:
        """The next (B, T+1) tokens; `self.state` is then the state after them."""


class PackedLoader(RowLoader):
    """An endless iterator of batches over `paths`; the epoch counts from 1.

    Each row holds T+1 tokens and starts with bos; inputs are its first T, targets its last T. Rank r of w
    reads row groups r, r+w, … of every shard; where no shard has as many row groups as there are ranks, it
    reads documents r, r+w, … of every row group. Raises `UserError` from `next` when a shard is damaged, when
    this rank has no documents, or when an epoch has fewer tokens than one row.

    A document that fits no row is cropped, upstream nanochat's rule, or with `long_documents` "continue" goes
    on in the next row, which then does not start with bos (see `packing`).

    Processes share the text in one of two ways: `rank` and `world` split the reading, `interleave` the
    batches of one reading order.
    """

    def __init__(
        self,
        tokenizer: Encoder,
        paths: Sequence[Path],
        rows: int,
        context: int,
        *,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        state: LoaderState | None = None,
        buffer_documents: int = BUFFER_DOCUMENTS,
        interleave: tuple[int, int] = (0, 1),
        long_documents: LongDocuments = "crop",
    ) -> None:
        super().__init__(device, state, interleave)
        self.tokenizer, self.paths = tokenizer, paths
        self.continues = long_documents == "continue"
        self.rows, self.capacity = rows, context + 1
        self.rank, self.world = rank, world
        self.buffer_documents = buffer_documents
        self.epoch_size = 0
        """Tokens of this rank in a full epoch; 0 until one has been read."""
        self._buffer = DocumentBuffer.of(self.state.documents)
        self._texts = self._read(self.state.position)

    def next_rows(self) -> Tokens:
        rows = np.empty((self.rows, self.capacity), dtype=np.int32)
        rest, cut = self.state.rest, 0
        if self.continues:
            for row in rows:
                rest, lost = continue_row(self._buffer, row, rest, self._refill)
                cut += lost
        else:  # a rest is there only where the rule has changed at a resume
            cut = len(rest) + sum(pack_row(self._buffer, row, self._refill) for row in rows)
            rest = rest[:0]
        self.state = replace(
            self.state,
            rest=rest,
            documents=tuple(self._buffer.documents()),
            tokens_used=self.state.tokens_used + rows.size,
            tokens_cut=self.state.tokens_cut + cut,
        )
        return rows

    def _refill(self) -> None:
        while self._has_room():
            texts, position = next(self._texts)
            documents = encode_documents(self.tokenizer, texts)
            for ids in documents:
                # Cropped, only a row's worth of a longer document is ever used: keep that and its length.
                kept = ids if self.continues else ids[: self.capacity]
                self._buffer.add(len(ids), kept.copy())
            read = sum(map(len, documents))
            if position.epoch == self.state.position.epoch:
                read += self.state.epoch_tokens
            self.state = replace(self.state, position=position, epoch_tokens=read)

    def _has_room(self) -> bool:
        full = self.continues and len(self._buffer) > 0 and self._buffer.tokens >= BUFFER_TOKENS
        return len(self._buffer) < self.buffer_documents and not full

    def _read(self, position: Position) -> Iterator[tuple[list[str], Position]]:
        """Batches of texts from `position` on, without end, each with the position after it."""
        while True:
            start = (position.pq_idx, position.rg_idx)
            for shard, group, texts in iter_row_groups(self.paths, self.rank, self.world, start):
                resumed = (shard, group) == (position.pq_idx, position.rg_idx)
                for first in range(position.taken if resumed else 0, len(texts), TOKENIZE_DOCUMENTS):
                    last = min(first + TOKENIZE_DOCUMENTS, len(texts))
                    yield texts[first:last], Position(shard, group, position.epoch, last)
            self._check_epoch()
            position = Position(epoch=position.epoch + 1)

    def _check_epoch(self) -> None:
        """Raises `UserError` for data so short that a single row would repeat it."""
        tokens, folder = self.state.epoch_tokens, self.paths[0].parent
        if tokens == 0:
            raise UserError(
                f"{folder}: no documents for rank {self.rank} of {self.world}",
                "use fewer processes, or give more text",
            )
        if tokens < self.capacity:
            raise UserError(
                f"{folder}: {tokens:,} tokens of text are less than one row of {self.capacity:,}",
                "give more text or a smaller --max-seq-len",
            )
        self.epoch_size = tokens


class Prefetcher:
    """Runs a loader in a thread so that the next batches are ready in time.

    Each batch carries its own state, so prefetched batches that are never used are simply made again after a
    resume. An error of the loader is raised where its batch would have come.
    """

    def __init__(self, loader: RowLoader, depth: int = 2) -> None:
        self._loader = loader
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="data loader", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        item: Batch | BaseException
        while not self._closed.is_set():
            try:
                item = next(self._loader)
            except BaseException as error:  # handed to the consumer, who raises it
                item = error
            while not self._closed.is_set():
                try:
                    self._ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
