"""Curves: which evaluations are points of one line, and what ties it to tokens and FLOPs."""

import pytest

from remote.store.evaluations import TaskFigure
from tests.tui.conftest import NOW, Bench
from tests.tui.screens.evals_bench import core_tasks, evaluation, published
from tui.data.evals.curves import curve_of, curves, training_of, with_axes


def test_a_curve_has_the_steps_of_one_checkpoint_folder_with_the_same_settings() -> None:
    known = [
        evaluation(1, "base/d12", 200, skill=0.1),
        evaluation(2, "base/d12", 100, skill=0.05),
        evaluation(3, "base/d12", 200, skill=0.2, t=NOW),
        evaluation(4, "base/d12", 200, settings={"max_per_task": -1}),
        evaluation(5, "base/d20", 200),
        published(6, "gpt2", 0.2),
    ]
    found = curves(known)
    assert [(one.label, one.kind, one.steps) for one in found] == [
        ("base/d12 · 500 a task", "core", 2),
        ("base/d12 · all items", "core", 1),
        ("base/d20 · 500 a task", "core", 1),
    ]
    curve = curve_of(known[0], found)
    assert curve is not None and curve.steps == 2
    points = curve.points["core/core"]
    assert [(seq, step) for seq, step, _, _, _ in points] == [(0, 100), (1, 200)]
    assert points[1][3] == known[2].mean, "the newer one of a step counts"
    assert curve.points["core/copa"][0][3] == known[1].tasks["copa"].accuracy


@pytest.mark.parametrize("status", ["ended", "running", "partial"])
def test_one_that_is_not_complete_takes_no_points_away(status: str) -> None:
    whole = evaluation(1, "base/d12", 200)
    half = evaluation(2, "base/d12", 200, tasks={"copa": TaskFigure(0.9, 0.8)}, mean=None, status=status)
    (curve,) = curves([whole, half])
    assert len(curve.points) == 23 and curve.points["core/copa"][0][3] == whole.tasks["copa"].accuracy


def test_one_that_runs_counts_before_one_that_ended_early() -> None:
    ended = evaluation(2, "base/d12", 200, tasks={"copa": TaskFigure(0.9, 0.8)}, mean=None, status="ended")
    running = evaluation(
        1, "base/d12", 200, tasks={"copa": TaskFigure(0.7, 0.6)}, mean=None, status="running"
    )
    (curve,) = curves([running, ended])
    assert [value for *_, value, _ in curve.points["core/copa"]] == [0.7]


def test_bits_per_byte_of_other_texts_and_cores_of_other_bundles_are_other_curves() -> None:
    bits = {"kind": "bpb", "tasks": {"val": TaskFigure(1.5)}}
    known = [
        evaluation(1, "base/d12", 200, settings={}, **bits),
        evaluation(2, "base/d12", 200, settings={"tokens": 640, "rows": "packed"}, **bits),
        evaluation(
            3, "base/d12", 200, settings={"tokens": 640, "rows": "packed", "dtype": "float32"}, **bits
        ),
        evaluation(4, "base/d12", 200, settings={"max_per_task": 20, "bundle": "46b57fa056d9"}),
        evaluation(5, "base/d12", 200, settings={"max_per_task": 20, "bundle": "0a1b2c3d4e5f"}),
    ]
    found = curves(known)
    assert len(found) == 4 and curve_of(known[1], found) is curve_of(known[2], found)


def test_a_curve_knows_the_training_that_made_its_checkpoints(bench: Bench) -> None:
    key = bench.run("train", "base_train", options={"model_tag": "d12"})
    other = bench.run("other one", "base_train", options={"depth": 20}, age=500)
    events = [
        {"kind": "metric", "step": step, "data": {"train/loss": 3.0, "train/total_flops": step * 1e15}}
        for step in range(0, 300, 100)
    ]
    bench.events(key, events)
    rows = bench.store.runs()
    named, by_depth, in_training = (
        curves([one])[0]
        for one in (
            evaluation(1, "base/d12", 200),
            evaluation(2, "base/d20", 200),
            evaluation(3, "base/odd", 200, while_training=True, run="local/some"),
        )
    )
    assert [training_of(one, rows) for one in (named, by_depth, in_training)] == [key, other, "local/some"]
    points = with_axes(named, bench.store, key)
    assert list(points["train/total_flops"].value) == [0.0, 1e17, 2e17]  # type: ignore[union-attr]
    assert "train/loss" not in points


def test_a_training_that_saves_to_another_folder_is_not_the_curves(bench: Bench) -> None:
    own = bench.run("own", "base_train", options={"depth": 12}, age=900)
    bench.run("of that depth", "base_train", options={"depth": 12, "model_tag": "d12-long"}, age=100)
    from_it = bench.run("from it", "chat_sft", options={"model_tag": "d12"}, age=800)
    renamed = bench.run("renamed", "chat_sft", options={"model_tag": "d12", "out_tag": "tried"}, age=100)
    bench.run("untold", "chat_sft", age=50)
    rows = bench.store.runs()
    found = [
        training_of(curves([evaluation(1, checkpoint, 200)])[0], rows)
        for checkpoint in ("base/d12", "sft/d12", "sft/tried")
    ]
    assert found == [own, from_it, renamed]


def test_scores_that_are_missing_are_no_points() -> None:
    running = evaluation(1, "base/d12", 100, tasks=core_tasks(0.1, first=2), mean=None, status="running")
    assert set(curves([running])[0].points) == {"core/hellaswag_zeroshot", "core/jeopardy"}
