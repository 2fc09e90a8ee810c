"""Byte-pair encoding by its definition: slow, and short enough to be seen to be right."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

Pair = tuple[int, int]


def learn(pieces: Iterable[str], vocab_size: int) -> list[Pair]:
    """The merges learned from `pieces`, counting every pair again each time.

    The most frequent pair is merged; among equals the one with the smaller (left id, right id).
    """
    words = [(list(piece.encode()), count) for piece, count in Counter(pieces).items()]
    merges: list[Pair] = []
    while 256 + len(merges) < vocab_size:
        counts: Counter[Pair] = Counter()
        for ids, count in words:
            for pair in pairwise(ids):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [(merge(ids, best, 256 + len(merges)), count) for ids, count in words]
        merges.append(best)
    return merges


def merge(ids: list[int], pair: Pair, token: int) -> list[int]:
    """`ids` with each `pair`, from the left, replaced by `token`."""
    merged: list[int] = []
    at = 0
    while at < len(ids):
        if tuple(ids[at : at + 2]) == pair:
            merged.append(token)
            at += 2
        else:
            merged.append(ids[at])
            at += 1
    return merged


def ranks(merges: Iterable[Pair]) -> list[tuple[bytes, int]]:
    """Bytes and id of every token."""
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return [(token, rank) for rank, token in enumerate(tokens)]


def encode(pieces: Iterable[str], merges: list[Pair]) -> list[int]:
    """The ids of a text cut into `pieces`: the merges applied one after the other, as learned."""
    all_ids: list[int] = []
    for piece in pieces:
        ids = list(piece.encode())
        for rank, pair in enumerate(merges):
            ids = merge(ids, pair, 256 + rank)
        all_ids += ids
    return all_ids
