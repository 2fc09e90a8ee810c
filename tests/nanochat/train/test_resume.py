"""Resuming: what of a checkpoint is read exactly as it was left."""

from pathlib import Path

import pytest
from training_data import TINY, events_of, of_kind

from nanochat.checkpoint.files import Checkpoint
from nanochat.compute.ranks import Ranks
from nanochat.run.stage_run import main
from nanochat.train.continuity import batch_of, steps_of
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "what", "named"),
    [
        ("--total-batch-size=1024", "other_batch", ("512 tokens", "1,024 tokens")),
        ("--num-iterations=8", "other_horizon", ("6 steps", "8 steps")),
        ("--num-iterations=6", "", ()),
    ],
)
def test_another_batch_or_horizon_is_an_alert_that_names_both(
    base: Path, changed: str, what: str, named: tuple[str, ...]
) -> None:
    options = [f"--base-dir={base}", *TINY, "--num-iterations=6", "--sample-every=-1", "--eval-every=-1"]
    assert main("base_train", [*options, "--save-every=3"]) == 0
    assert main("base_train", [*options, changed, "--resume-from-step=3", "--overwrite"]) == 0
    alerts = [e.data for e in of_kind(events_of(base), "alert") if str(e.data["what"]).startswith("other_")]
    assert [alert["what"] for alert in alerts] == ([what] if what else [])
    assert all(name in str(alerts[0]["message"]) for name in named)


def test_a_checkpoint_of_version_0_1_0_tells_its_batch() -> None:
    assert batch_of({"total_batch_size": 524_288}) == "524,288 tokens"
    assert batch_of({"total_batch_size": 524_288, "rows": "padded"}) == ""
    assert batch_of({}) == ""
    assert steps_of({"user_config": {"num_iterations": 7}}) == 7
    assert steps_of({"user_config": {"num_iterations": -1}}) is None
