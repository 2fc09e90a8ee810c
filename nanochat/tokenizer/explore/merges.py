"""Why a token is a token: the merges that make it from its bytes."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from nanochat.common.errors import UserError
from nanochat.tokenizer.explore.byte_level import RankSplitter
from nanochat.tokenizer.explore.splitter import Splitter

LONGEST = 4096
"""Bytes of a token whose merges are looked up: published vocabularies stay under 200."""


@dataclass(frozen=True)
class MergeTree:
    """A token and the two that were merged into it, down to single bytes, which have no parts.

    `merged` is False where merging the bytes ends with several `parts` and never reaches the token: it only
    ever stands for a whole piece of text. `rank` says when the two merge, the lower the earlier; None of a
    single byte. `token_id` is None for a byte that is no token of the vocabulary.
    """

    token_id: int | None
    token: bytes
    rank: int | None = None
    parts: "tuple[MergeTree, ...]" = ()
    merged: bool = True
    depth: int = 0
    """Merges from the deepest byte up to the token; 0 of a byte."""


@dataclass(frozen=True)
class Merge:
    """One merge inside a token: bytes `start:end` from there on are one, `cuts` the borders that vanish."""

    rank: int
    start: int
    end: int
    cuts: tuple[int, ...]


def merge_tree(splitter: Splitter, token_id: int) -> MergeTree:
    """How merging makes the token, an id of the vocabulary.

    Raises `UserError` where the tokenizer has no merges, or the token is not made by merging.
    """
    ranks = _ranks(splitter)
    token = splitter.token(token_id)
    if ranks.get(token) != token_id:
        raise UserError(f"{splitter.spelled(token_id)} is added as a whole: no merge makes it")
    nodes = {at: MergeTree(ranks.get(token[at : at + 1]), token[at : at + 1]) for at in range(len(token))}
    merges = merges_of(splitter, token)
    for merge in merges:
        joined = token[merge.start : merge.end]
        parts = tuple(nodes.pop(at) for at in (merge.start, *merge.cuts))
        merged = len(parts) == 2 and splitter.merge_rank(parts[0].token, parts[1].token) is not None
        depth = 1 + max(part.depth for part in parts)
        nodes[merge.start] = MergeTree(ranks.get(joined), joined, merge.rank, parts, merged, depth)
    return nodes[0]


def merges_of(splitter: Splitter, token: bytes) -> list[Merge]:
    """The merges that turn the bytes of `token` into it, in order: always the pair of the lowest rank, of
    equals the first. Where that stops short of the token, a last one joins the parts that are left.

    Raises `UserError` for a token that is longer than any real one.
    """
    if len(token) > LONGEST:
        raise UserError(f"a token of {len(token):,} bytes is too long to follow its merges")
    size = len(token)
    after = list(range(1, size + 1))  # of each part that begins at a place: where it ends
    before = list(range(-1, size - 1))  # where the part before it begins
    whole = [True] * size
    heap: list[tuple[int, int, int, int]] = []

    def offer(left: int) -> None:
        middle = after[left]
        if middle < size:
            end = after[middle]
            rank = splitter.merge_rank(token[left:middle], token[middle:end])
            if rank is not None:
                heapq.heappush(heap, (rank, left, middle, end))

    for place in range(size - 1):
        offer(place)
    found: list[Merge] = []
    while heap:
        rank, left, middle, end = heapq.heappop(heap)
        if not whole[left] or after[left] != middle or not whole[middle] or after[middle] != end:
            continue
        found.append(Merge(rank, left, end, (middle,)))
        after[left], whole[middle] = end, False
        if end < size:
            before[end] = left
            offer(left)
        if left:
            offer(before[left])
    if size > 1 and after[0] != size:
        cuts, place = [], after[0]
        while place < size:
            cuts.append(place)
            place = after[place]
        found.append(Merge(_ranks(splitter)[token], 0, size, tuple(cuts)))
    return found


def with_vocab(splitter: Splitter, size: int) -> Splitter:
    """The tokenizer that the first `size` ids alone make; 256 are bytes.

    Raises `UserError` where there are no merges, or the ids are not in the order of merging. Builds an
    encoder: for one text `Replay.of_size` is faster.
    """
    ranks = _ranks(splitter)
    if not isinstance(splitter, RankSplitter):
        raise UserError(f"{splitter.name}: its ids are not in the order of its merges")
    kept = {token: rank for token, rank in ranks.items() if rank < size}
    return RankSplitter(f"{splitter.name}, first {size:,}", kept, splitter.pattern)


def _ranks(splitter: Splitter) -> Mapping[bytes, int]:
    if splitter.ranks is None:
        raise UserError(f"{splitter.name} has no merges: {splitter.no_tree}")
    return splitter.ranks
