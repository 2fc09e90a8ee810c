"""How much text a token stands for, text by text and tokenizer by tokenizer: the figures of `tok_eval`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from nanochat.tokenizer.evaluation import Count, Size, Vocabulary, characters, partial_tokens, words

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.splitter import Splitter

_BATCH_CHARACTERS = 4 << 20
"""Text that is encoded in one call: between two of them the work can be cancelled."""
_BATCH_DOCUMENTS = 1_000


class Stopped(Exception):  # noqa: N818 - no fault
    """The work was cancelled."""


def vocabulary_of(splitter: Splitter) -> Vocabulary:
    """A tokenizer as `evaluation` counts it."""
    size = splitter.vocab_size
    if size is None:
        return characters() if splitter.kind == "characters" else words()

    def token(token_id: int) -> bytes:
        try:
            return splitter.token(token_id)
        except KeyError:
            return b""

    return Vocabulary(
        splitter.name,
        size,
        lambda text: splitter.split(text).ids,
        partial_tokens(token(token_id) for token_id in range(size)),
    )


def distinct(vocabularies: Sequence[Vocabulary]) -> list[Vocabulary]:
    """The same, with a number after a name that was there before."""
    taken: set[str] = set()
    found = []
    for vocabulary in vocabularies:
        name, number = vocabulary.name, 1
        while name in taken:
            number += 1
            name = f"{vocabulary.name} ({number})"
        taken.add(name)
        found.append(replace(vocabulary, name=name))
    return found


def count_documents(
    documents: Iterable[str],
    splitters: Sequence[Splitter],
    vocabularies: Sequence[Vocabulary],
    cancelled: Callable[[], bool] = lambda: False,
    counted: Callable[[int], object] = lambda size: None,
) -> list[Count]:
    """One text in each tokenizer, encoded on all cores; `vocabularies` are theirs, as `vocabulary_of` gives.

    `counted` hears of the bytes that are done. Raises `Stopped` once `cancelled()` says so.
    """
    import numpy as np

    size = Size()
    counts = [Count(vocabulary, size) for vocabulary in vocabularies]
    for batch in _batches(documents):
        for document in batch:
            size.add(document)
        for count, splitter in zip(counts, splitters, strict=True):
            if cancelled():
                raise Stopped
            if count.vocabulary.encode is None:
                for document in batch:
                    count.add(document)
                continue
            found = splitter.count_ids(batch)
            count.tokens += int(found.sum())
            count.used |= found > 0
            if count.vocabulary.partial is not None:
                count.partial += int(np.sum(found[count.vocabulary.partial]))
        counted(size.bytes)
    return counts


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Documents in order, as many as are encoded at a time; a long one alone."""
    left = iter(documents)
    while batch := list(islice(left, 1)):
        room = _BATCH_CHARACTERS - len(batch[0])
        while room > 0 and len(batch) < _BATCH_DOCUMENTS:
            document = next(left, None)
            if document is None:
                break
            batch.append(document)
            room -= len(document)
        yield batch
