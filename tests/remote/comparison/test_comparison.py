"""Runs of a real store side by side: what they were asked, and their figures at equal places."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from comparison_runs import BATCH, FLOPS, Runs, bpb, start, step

from nanochat.common.errors import UserError
from nanochat.common.smoothing import decay
from remote.comparison.comparison import Comparison, gap_lines, notes
from remote.comparison.names import distinct_names


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "store.sqlite")


def values(
    comparison: Comparison, metric: str, axis: str = "step", at: float | None = None
) -> list[float | None]:
    columns = comparison.columns(axis)
    block = columns.common_block([metric]) if at is None else columns.block([metric], at)
    return [None if cell is None else cell.value for row in block.rows for cell in row.cells]


# ---- figures ---------------------------------------------------------------------------------------------


def test_at_the_last_common_point_every_run_is_told_at_the_same_step(runs: Runs) -> None:
    a = runs.add(events=[start(), *(step(at, 4 - 0.1 * at) for at in range(10))])
    b = runs.add(events=[start(), *(step(at, 5 - 0.1 * at) for at in range(21))])
    comparison = runs.compare(a, b)
    row = comparison.columns("step").common_block(["train/loss"]).rows[0]
    assert row.at == 9
    assert [cell.value for cell in row.cells if cell] == pytest.approx([3.1, 4.1])
    assert row.differences == (None, pytest.approx(1.0))
    assert values(comparison, "train/loss", at=15) == [None, pytest.approx(3.5)]


def test_equal_tokens_are_not_equal_steps_where_batches_differ(runs: Runs) -> None:
    a = runs.add(events=[start(), *(step(at, 4 - 0.1 * at) for at in range(20))])
    b = runs.add(events=[start(), *(step(at, 5 - 0.1 * at, batch=2 * BATCH) for at in range(20))])
    comparison = runs.compare(a, b)
    columns = comparison.columns("tokens")
    assert columns.last_common("train/loss") == 2000
    assert values(comparison, "train/loss", "tokens") == pytest.approx([2.1, 4.1])
    assert values(comparison, "train/loss", "FLOPs", 1000 * FLOPS) == pytest.approx([3.1, 4.6])
    assert values(comparison, "train/loss", "active time", 7.0) == pytest.approx([3.65, 4.65])


def test_an_evaluation_counts_the_tokens_trained_before_it(runs: Runs) -> None:
    """A step's totals count the step itself; what is evaluated at step 10 has seen ten batches."""
    a = runs.add(events=[start(), *(e for at in range(11) for e in (bpb(at, 3 - at / 10), step(at, 1)))])
    b = runs.add(events=[start(), *(e for at in range(11) for e in (bpb(at, 2 - at / 10), step(at, 1)))])
    comparison = runs.compare(a, b)
    assert comparison.curves[0].line("val/bpb", "tokens").x[10] == pytest.approx(10 * BATCH)
    row = comparison.columns("tokens").block(["val/bpb"], 450.0).rows[0]
    assert [cell.value for cell in row.cells if cell] == pytest.approx([2.55, 1.55])
    assert all(cell.interpolated for cell in row.cells if cell)


def test_what_a_later_attempt_redid_is_left_out_and_said(runs: Runs) -> None:
    first = [step(at, 4.0) for at in range(10)]
    again = [start(2, 5), *(step(at, 3.0) for at in range(5, 8))]
    a = runs.add(events=[start(), *first, *again])
    b = runs.add(events=[start(), *(step(at, 2.0) for at in range(12))])
    comparison = runs.compare(a, b)
    assert values(comparison, "train/loss") == [3.0, 2.0]
    assert list(comparison.curves[0].tracks["train/loss"].raw.y) == [4.0] * 5 + [3.0] * 3
    assert "A: resumed, 5 points of an earlier attempt left out" in notes(comparison, "step")


def test_nan_is_left_out_and_said(runs: Runs) -> None:
    a = runs.add(events=[start(), step(0, 4.0), step(1, "NaN"), step(2, 2.0), step(3, "Infinity")])
    b = runs.add(events=[start(), *(step(at, 1.0) for at in range(4))])
    comparison = runs.compare(a, b)
    assert values(comparison, "train/loss") == [2.0, 1.0]
    assert "A: NaN or infinite 2 of train/loss, left out" in notes(comparison, "step")


def test_noisy_metrics_are_smoothed_as_plots_do_and_the_measured_value_is_kept(runs: Runs) -> None:
    losses = [3 + math.sin(at * 2.3) for at in range(400)]
    a = runs.add(events=[start(), *(step(at, loss) for at, loss in enumerate(losses))])
    b = runs.add(events=[start(), *(step(at, 1.0) for at in range(400))])
    beta = decay(400)
    mean = weight = 0.0
    for loss in losses:
        mean, weight = beta * mean + (1 - beta) * loss, beta * weight + (1 - beta)
    cell = runs.compare(a, b).columns("step").common_block(["train/loss"]).rows[0].cells[0]
    assert cell is not None and cell.value == pytest.approx(mean / weight)
    assert cell.raw == pytest.approx(losses[-1])
    assert values(runs.compare(a, b, share=0.0), "train/loss")[0] == pytest.approx(losses[-1])


def test_the_gap_is_over_what_both_reach(runs: Runs) -> None:
    a = runs.add(events=[start(), *(step(at, 4.0) for at in range(5, 15))])
    b = runs.add(events=[start(), *(step(at, 5.0 - at / 10) for at in range(12))])
    (line,) = gap_lines(runs.compare(a, b).columns("step"), "train/loss")
    assert (line.first, line.last) == (5, 11)
    assert line.y[0] == pytest.approx(0.5) and line.y[-1] == pytest.approx(-0.1)


# ---- groups ----------------------------------------------------------------------------------------------


def test_runs_that_differ_only_in_seed_and_name_are_one_column(runs: Runs) -> None:
    options: list[dict[str, Any]] = [
        {"seed": seed, "depth": 4, "model_tag": f"s{seed}"} for seed in (1, 2, 3)
    ]
    options.append({"seed": 1, "depth": 6})
    ids = [
        runs.add(events=[start(**one), *(step(at, at + float(one["seed"])) for at in range(5))], **one)
        for one in options
    ]
    columns = runs.compare(*ids).columns("step", "seed")
    assert [group.members for group in columns.groups] == [(0, 1, 2), (3,)]
    assert columns.groups[0].name == "depth=4 ×3 (seeds 1,2,3)"
    cell = columns.common_block(["train/loss"]).rows[0].cells[0]
    assert cell is not None and (cell.value, cell.low, cell.high, cell.count) == (6.0, 5.0, 7.0, 3)
    error = runs.compare(*ids).columns("step", "seed", "stderr").common_block(["train/loss"]).rows[0].cells[0]
    assert error is not None and error.high - error.value == pytest.approx(1 / math.sqrt(3))


def test_another_commit_is_no_seed(runs: Runs) -> None:
    a = runs.add(events=[start(seed=1)], seed=1)
    b = runs.add(events=[start(seed=2)], seed=2, sha="c" * 40)
    assert [group.members for group in runs.compare(a, b).columns("step", "seed").groups] == [(0,), (1,)]


def test_runs_of_a_tag_are_one_column(runs: Runs) -> None:
    ids = [runs.add(events=[start(depth=at), step(0, 1.0)], depth=at) for at in range(3)]
    for run_id in ids[:2]:
        runs.store.tag(f"box/{run_id}", "new")
    columns = runs.compare(*ids).columns("step", "tag")
    assert [(group.name, group.members) for group in columns.groups] == [
        ("#new ×2", (0, 1)),
        ("run depth=2", (2,)),
    ]


# ---- settings --------------------------------------------------------------------------------------------


def test_settings_that_differ_come_first_with_code_and_data(runs: Runs) -> None:
    a = runs.add(events=[start(depth=4, seed=1)], sha="a" * 40)
    b = runs.add(events=[start(depth=6, seed=1)], sha="a" * 40 + "-dirty")
    found = runs.compare(a, b).settings
    differing = [(one.section, one.name, one.values) for one in found if one.differs]
    assert differing == [("code", "files changed", (False, True)), ("option", "depth", (4, 6))]
    assert found[: len(differing)] == [one for one in found if one.differs]
    told = {one.name: one.shown() for one in found}
    assert told["commit"] == ("a" * 12, "a" * 12)
    assert told["data sha256"] == ("b" * 12, "b" * 12)
    assert "checkpoint_dir" not in told


def test_what_an_option_came_to_is_told_beside_it(runs: Runs) -> None:
    ids = []
    for dtype in ("bfloat16", "float32"):
        begun = start(dtype="auto", vocab=7, seed=len(ids))
        begun["data"]["info"] |= {"dtype": dtype, "vocab": 7}
        ids.append(runs.add(events=[begun, step(0, 1.0)]))
    comparison = runs.compare(*ids)
    told = [(one.section, one.values) for one in comparison.settings if one.name in ("dtype", "vocab")]
    assert told == [
        ("machine", ("bfloat16", "float32")),
        ("option", ("auto", "auto")),
        ("option", (7, 7)),
    ]
    assert len(comparison.columns("step", "seed").groups) == 2, "another precision is no seed"


def test_options_that_one_stage_does_not_have_are_no_difference(runs: Runs) -> None:
    a = runs.add(events=[start(depth=4, seed=1)])
    b = runs.add(stage="chat_sft", events=[{**start(mixture=["x"], seed=2)}])
    comparison = runs.compare(a, b)
    assert [one.name for one in comparison.settings if one.differs] == ["stage", "seed"]
    assert any(line.startswith("stages differ (base_train, chat_sft)") for line in notes(comparison, "step"))


def test_an_option_that_an_older_version_does_not_know_differs_unless_it_is_at_its_default(
    runs: Runs,
) -> None:
    a = runs.add(events=[start(depth=4)])
    b = runs.add(events=[start(depth=4, max_seq_len=2048, grad_clip=1.0)])
    assert [one.name for one in runs.compare(a, b).settings if one.differs] == ["grad_clip"]


def test_a_run_that_has_not_started_has_its_stages_defaults(runs: Runs) -> None:
    a = runs.add(status="created", depth=6)
    b = runs.add(events=[start(depth=4)])
    comparison = runs.compare(a, b)
    told = {one.name: one.values[0] for one in comparison.settings if one.section == "option"}
    assert told["depth"] == 6 and told["max_seq_len"] == 2048
    lines = notes(comparison, "step")
    assert "A: not started, its options are as given" in lines
    assert "B: no metric yet" in lines


def test_runs_without_a_metric_in_common_say_so(runs: Runs) -> None:
    a = runs.add(events=[start(), step(0, 1.0), step(1, 1.0)])
    b = runs.add(events=[start(), {"kind": "metric", "step": 1, "data": {"rl/reward": 1.0}}])
    comparison = runs.compare(a, b)
    assert not comparison.columns("step").metrics()
    assert "no two of these runs have a metric in common on the axis step" in notes(comparison, "step")
    assert "B: no tokens, another axis shows it" in notes(comparison, "tokens")


@pytest.mark.parametrize("count", [1, 7])
def test_two_to_six_runs_are_compared(runs: Runs, count: int) -> None:
    with pytest.raises(UserError, match="two runs" if count < 2 else "at most 6"):
        runs.compare(*(runs.add(f"n{at}") for at in range(count)))


# ---- names -----------------------------------------------------------------------------------------------


def test_runs_of_one_name_are_told_apart_by_what_differs(runs: Runs) -> None:
    def named(*ids: str) -> list[str]:
        return distinct_names([runs.store.find(run_id) for run_id in ids], 1_790_000_100.0)

    seeds = [runs.add("base_train", seed=seed) for seed in (1, 2)]
    assert named(*seeds) == ["seed=1", "seed=2"]
    tagged = [runs.add("sweep", seed=seed, model_tag=f"t{seed}") for seed in (1, 2)]
    assert named(*tagged) == ["sweep t1", "sweep t2"]
    pairs = [runs.add("p", depth=depth, seed=seed) for depth in (1, 2) for seed in (1, 2)]
    assert named(*pairs) == ["p depth=1 seed=1", "p depth=1 seed=2", "p depth=2 seed=1", "p depth=2 seed=2"]
    same = [runs.add("same"), runs.add("same")]
    assert named(*same, seeds[0]) == [f"same {same[0]}", f"same {same[1]}", "base_train"]
