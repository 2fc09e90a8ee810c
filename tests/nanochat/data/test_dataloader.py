"""The loader: exact resume anywhere, ranks that share the text, errors in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from training_data import byte_tokenizer, documents, write_shards

from nanochat.common.errors import UserError
from nanochat.data.dataloader import LoaderState, PackedLoader, Prefetcher

TOKENIZER = byte_tokenizer()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    return write_shards(folder, [documents(150, 1), documents(90, 2)], row_group=40)


def loader(paths: list[Path], state: LoaderState | None = None, **options: int) -> PackedLoader:
    return PackedLoader(TOKENIZER, paths, 3, 48, state=state, buffer_documents=50, **options)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(before=st.integers(0, 60), rank=st.integers(0, 1), world=st.integers(1, 2))
def test_the_batch_after_a_resume_is_the_batch_that_would_have_come(
    shards: list[Path], before: int, rank: int, world: int
) -> None:
    """Anywhere, over the ends of row groups, shards and epochs, through the saved form."""
    rank %= world
    whole = loader(shards, rank=rank, world=world)
    for _ in range(before):
        whole.next_rows()
    state = whole.state
    resumed = loader(shards, LoaderState.restore(state.to_meta(), state.to_tensors()), rank=rank, world=world)
    for _ in range(12):
        assert np.array_equal(whole.next_rows(), resumed.next_rows())
    assert whole.state.to_meta() == resumed.state.to_meta()


def test_epochs_go_round_and_count_from_one(shards: list[Path]) -> None:
    reading = loader(shards)
    seen = []
    for _ in range(150):
        reading.next_rows()
        seen.append(reading.state.position.epoch)
    assert seen[0] == 1
    assert seen[-1] >= 3
    assert seen == sorted(seen)


def test_rows_start_with_bos_and_targets_are_inputs_moved_by_one(shards: list[Path]) -> None:
    batch = next(loader(shards))
    assert batch.inputs.shape == batch.targets.shape == (3, 48)
    assert (batch.inputs[:, 0] == TOKENIZER.bos_id).all()
    assert (batch.inputs[:, 1:] == batch.targets[:, :-1]).all()


def test_ranks_read_different_documents(shards: list[Path]) -> None:
    rows = [loader(shards, rank=rank, world=2).next_rows() for rank in (0, 1)]
    assert not np.array_equal(*rows)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(before=st.integers(0, 5), worlds=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_batches_interleaved_over_any_number_of_ranks_are_those_of_one(
    shards: list[Path], before: int, worlds: list[int]
) -> None:
    """Also when the number of ranks changes at a resume, and past the end of an epoch."""
    alone, state = loader(shards), LoaderState()
    for world in worlds:
        ranks = [
            PackedLoader(TOKENIZER, shards, 3, 48, state=state, buffer_documents=50, interleave=(rank, world))
            for rank in range(world)
        ]
        for _ in range(before + 1):
            batches = [next(rank) for rank in ranks]
            assert all((batch.inputs == next(alone).inputs).all() for batch in batches)
            assert all(batch.state.to_meta() == alone.state.to_meta() for batch in batches)
        last = batches[-1].state
        state = LoaderState.restore(last.to_meta(), last.to_tensors())


def test_a_prefetched_batch_carries_its_own_state(shards: list[Path]) -> None:
    plain, ahead = loader(shards), Prefetcher(loader(shards), depth=3)
    for _ in range(20):
        ours, theirs = next(plain), next(ahead)
        assert (ours.inputs == theirs.inputs).all()
        assert ours.state.to_meta() == theirs.state.to_meta()
    ahead.close()


def test_an_error_in_the_thread_reaches_the_consumer(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [documents(90, 1), documents(90, 1)], row_group=40)
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    ahead = Prefetcher(loader(paths))
    with pytest.raises(UserError, match=r"shard_00001\.parquet is not a complete parquet file"):
        for _ in range(200):
            next(ahead)
    ahead.close()


def test_text_shorter_than_one_row_is_refused(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [["a few words"]])
    with pytest.raises(UserError, match=r"tokens of text are less than one row of 49.*--max-seq-len"):
        loader(paths).next_rows()


def test_a_rank_without_documents_is_refused(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [documents(1, 1)], row_group=64)
    with pytest.raises(UserError, match="no documents for rank 1 of 2"):
        next(PackedLoader(byte_tokenizer(), paths, 2, 32, rank=1, world=2))


def test_with_fewer_row_groups_than_ranks_the_documents_are_split(tmp_path: Path) -> None:
    texts = documents(30, 1)
    paths = write_shards(tmp_path, [texts], row_group=64)
    asked: list[list[str]] = [[], []]
    for rank in range(2):
        tokenizer = byte_tokenizer()

        class Watched:
            def encode_batch_to_numpy(self, batch: Sequence[str], **given: Any) -> Any:
                asked[rank].extend(batch)  # noqa: B023 - read within the round
                return tokenizer.encode_batch_to_numpy(batch, **given)  # noqa: B023

        next(PackedLoader(Watched(), paths, 1, 32, rank=rank, world=2, buffer_documents=10))
    assert asked == [texts[0::2], texts[1::2]]


def test_a_damaged_state_is_refused() -> None:
    state = LoaderState()
    with pytest.raises(UserError, match="loader's state is damaged"):
        LoaderState.restore({"pq_idx": 0}, state.to_tensors())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(before=st.integers(0, 60), rank=st.integers(0, 1))
def test_long_documents_continue_over_rows_batches_and_a_resume(
    shards: list[Path], before: int, rank: int
) -> None:
    def reading(state: LoaderState | None = None, interleave: tuple[int, int] = (0, 1)) -> PackedLoader:
        return PackedLoader(
            TOKENIZER, shards, 3, 48, state=state, buffer_documents=50, interleave=interleave,
            long_documents="continue",
        )  # fmt: skip

    whole = reading()
    for _ in range(before):
        whole.next_rows()
    state = LoaderState.restore(whole.state.to_meta(), whole.state.to_tensors())
    resumed, half = reading(state), reading(state, (rank, 2))
    for _ in range(6):
        two = [whole.next_rows() for _ in range(2)]
        assert all(np.array_equal(rows, resumed.next_rows()) for rows in two)
        assert np.array_equal(next(half).inputs.numpy(), two[rank][:, :-1])
    assert whole.state.tokens_cut == 0
    assert whole.state.to_meta() == resumed.state.to_meta() == half.state.to_meta()


def test_what_another_rule_left_at_a_resume_is_counted_as_cut(shards: list[Path]) -> None:
    cropping = loader(shards)
    cropping.next_rows()
    missing = sum(length - len(tokens) for length, tokens in cropping.state.documents)
    cut = cropping.state.tokens_cut
    going_on = PackedLoader(
        TOKENIZER, shards, 3, 48, state=cropping.state, buffer_documents=50, long_documents="continue"
    )
    while going_on.state.tokens_used < 40_000:
        going_on.next_rows()
    assert 0 < going_on.state.tokens_cut - cut <= missing
    state = going_on.state
    back = loader(shards, state)
    back.next_rows()
    assert back.state.tokens_cut >= state.tokens_cut + len(state.rest)


@pytest.mark.parametrize("world", [1, 2, 5])
def test_only_the_footers_that_are_needed_are_read(
    shards: list[Path], monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    """Also where no shard has a row group for each rank."""
    opened: list[Path] = []
    real = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path, **how: opened.append(path) or real(path, **how))
    PackedLoader(TOKENIZER, shards, 3, 48, world=world, buffer_documents=5).next_rows()
    assert opened == shards[:1]
