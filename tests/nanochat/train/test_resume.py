"""Resuming: what of a checkpoint is read exactly as it was left."""

from pathlib import Path

import pytest

from nanochat.checkpoint.files import Checkpoint
from nanochat.compute.ranks import Ranks
from nanochat.train.resume import resumes_exactly


def saved(ranks: int, **user_config: str) -> Checkpoint:
    return Checkpoint(Path("d2/step_1"), 1, {"ranks": ranks, "user_config": user_config})


@pytest.mark.parametrize("name", ["shard_by", "data_split"])
@pytest.mark.parametrize(
    ("before", "ranks", "shard_by", "world", "exact"),
    [
        ("batches", 2, "batches", 8, True),
        ("row-groups", 2, "row-groups", 2, True),
        ("row-groups", 2, "row-groups", 4, False),
        ("row-groups", 2, "batches", 2, False),
        ("row-groups", 1, "batches", 2, True),
        ("batches", 2, "row-groups", 1, True),
    ],
)
def test_reading_resumes_exactly_where_the_shards_allow_it(
    name: str, before: str, ranks: int, shard_by: str, world: int, exact: bool
) -> None:
    """`data_split` is the name that version 0.1.0 saved."""
    assert resumes_exactly(saved(ranks, **{name: before}), Ranks(0, world), shard_by) is exact


def test_a_checkpoint_that_does_not_say_was_read_by_batches() -> None:
    assert resumes_exactly(saved(3), Ranks(0, 2), "batches")
