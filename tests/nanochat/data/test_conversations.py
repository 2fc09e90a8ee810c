"""Batches of conversations: nothing lost, the mask kept, resumable to the token."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.data.conversations import (
    ConversationLoader,
    ConversationStream,
    PackedConversations,
    PaddedConversations,
)
from nanochat.data.dataloader import LoaderState

BOS, END = 100, 101
FORMS: list[type[ConversationLoader]] = [PackedConversations, ConversationStream, PaddedConversations]


class Numbers:
    """A tokenizer whose conversation is bos, then the message's numbers; even ones are trained."""

    bos_id = BOS

    def special_id(self, name: str) -> int:
        assert name == "assistant_end"
        return END

    def render_conversation(
        self, messages: Sequence[Any], max_tokens: int = 2048
    ) -> tuple[list[int], list[int]]:
        ids = [BOS, *messages]
        return ids[:max_tokens], [int(i != BOS and i % 2 == 0) for i in ids][:max_tokens]


def talk(lengths: Sequence[int]) -> list[dict[str, Any]]:
    """Conversations of these lengths (without bos), each of numbers of its own."""
    return [{"messages": [(7 * n + i) % 90 for i in range(length)]} for n, length in enumerate(lengths)]


def loader(form: type[ConversationLoader], lengths: Sequence[int], **given: Any) -> ConversationLoader:
    return form(Numbers(), talk(lengths), given.pop("rows", 2), given.pop("context", 15), **given)


lengths = st.lists(st.integers(1, 40), min_size=3, max_size=30)


@pytest.mark.parametrize("form", FORMS)
@given(lengths, st.integers(1, 12), st.integers(1, 3))
def test_the_batch_after_a_resume_is_the_one_that_would_have_come(
    form: type[ConversationLoader], sizes: list[int], cut: int, world: int
) -> None:
    interleave = (world - 1, world)
    whole = loader(form, sizes, interleave=interleave)
    for _ in range(cut):
        state = next(whole).state
    meta, tensors = state.to_meta(), state.to_tensors()
    resumed = loader(form, sizes, interleave=interleave, state=LoaderState.restore(meta, tensors))
    assert resumed.progress(state) == whole.progress(state)
    for _ in range(3):
        a, b = next(whole), next(resumed)
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)


@given(lengths, st.integers(2, 8))
def test_an_epoch_packs_every_conversation_just_once(sizes: list[int], buffer: int) -> None:
    packed = loader(PackedConversations, sizes, buffer=buffer)
    expected = [tuple(packed.render(item["messages"]).tolist()) for item in packed.conversations]  # type: ignore[attr-defined]
    seen: list[tuple[int, ...]] = []
    while packed.progress(packed.state) < 1:
        for row in packed.next_rows().tolist():
            # Every conversation begins with bos and holds no other; padding is bos alone.
            starts = [i for i, token in enumerate(row) if token == ~BOS] + [len(row)]
            pieces = [tuple(row[a:b]) for a, b in pairwise(starts)]
            seen += [piece for piece in pieces if len(piece) > 1]
    once = seen[: len(expected)]
    assert sorted(once) == sorted(expected)


def test_packing_takes_the_longest_that_fits_and_pads_the_rest() -> None:
    packed = loader(PackedConversations, [9, 3, 5, 20], rows=1, buffer=4)
    batch = next(packed)
    # 20 is cut to the row's 16; it goes first.
    assert batch.inputs[0, 0] == BOS
    assert batch.inputs.shape == batch.targets.shape == (1, 15)
    # 9 + bos leave 6 of the 16, which 5 + bos fill.
    row = packed.next_rows()[0]
    assert np.flatnonzero(row == ~BOS).tolist() == [0, 10]
    # 3 + bos are all that is left of the epoch; of the next, 9 + bos fit, and two of padding.
    row = packed.next_rows()[0]
    assert np.flatnonzero(row == ~BOS).tolist() == [0, 4, 14, 15]
    assert packed.progress(packed.state) == 5 / 4


def test_targets_are_ignored_where_the_mask_is_0() -> None:
    batch = next(loader(PackedConversations, [6], rows=1, context=9, buffer=1))
    numbers = [i % 90 for i in range(6)]
    assert batch.inputs[0, :7].tolist() == [BOS, *numbers]
    assert batch.targets[0, :6].tolist() == [n if n % 2 == 0 else -1 for n in numbers]
    assert batch.targets[0, 6:].tolist() == [-1] * 3
    assert batch.inputs[0, 7:].tolist() == [BOS] * 2


@given(lengths)
def test_the_stream_is_every_conversation_end_to_end_and_trains_all(sizes: list[int]) -> None:
    stream = loader(ConversationStream, sizes)
    whole = [BOS if i == 0 else n for item in talk(sizes) for i, n in enumerate([BOS, *item["messages"]])]
    rows = [stream.next_rows() for _ in range(4)]
    flat = np.concatenate([np.concatenate([row[:-1] for row in batch] + [batch[-1][-1:]]) for batch in rows])
    repeated = whole * (len(flat) // len(whole) + 1)
    assert flat.tolist() == repeated[: len(flat)]
    assert (next(stream).targets >= 0).all()


def test_padded_rows_are_one_conversation_each() -> None:
    batch = next(loader(PaddedConversations, [3, 6], context=100))
    assert batch.inputs.shape == (2, 6)
    assert batch.inputs[0].tolist() == [BOS, 0, 1, 2, END, END]
    assert batch.targets[0].tolist() == [0, -1, 2, -1, -1, -1]


@pytest.mark.parametrize("form", FORMS)
@given(lengths, st.integers(2, 4))
def test_processes_deal_the_batches_of_one(
    form: type[ConversationLoader], sizes: list[int], world: int
) -> None:
    alone = loader(form, sizes)
    loaders = [loader(form, sizes, interleave=(rank, world)) for rank in range(world)]
    for _ in range(3):
        for reader in loaders:
            expected, got = next(alone), next(reader)
            assert torch.equal(expected.inputs, got.inputs)
            assert torch.equal(expected.targets, got.targets)
        assert all(reader.progress(reader.state) == alone.progress(alone.state) for reader in loaders)


def test_no_conversations_is_one_line() -> None:
    with pytest.raises(UserError, match="no conversations to train on"):
        loader(PackedConversations, [])


@pytest.mark.parametrize("form", [PackedConversations, PaddedConversations])
def test_what_is_cut_of_conversations_is_counted(form: type[ConversationLoader]) -> None:
    """With bos 41 and 6 tokens, of which a row takes 16: 25 are cut of each long one."""
    reading = loader(form, [40, 5, 40, 5])
    while reading.state.position.taken < 40:
        next(reading)
    state = reading.state
    long = -(-state.position.taken // 2)
    assert state.tokens_cut == 25 * long
    assert LoaderState.restore(state.to_meta(), state.to_tensors()).tokens_cut == state.tokens_cut
    assert not loader(form, [5, 5]).state.tokens_cut
