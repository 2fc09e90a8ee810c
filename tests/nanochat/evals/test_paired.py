"""Paired comparison: which items are paired, and figures equal to scipy's and to a plain script's."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.config.known_tasks import CORE_TASKS, TASK_MEANS, baseline, category
from nanochat.evals.bundle import read_bundle
from nanochat.evals.item_record import item_key
from nanochat.evals.items import Items, read_items
from nanochat.evals.paired import bootstrap, compare, interval, mcnemar

Record = dict[str, Any]


@pytest.fixture(scope="module")
def stats() -> Any:
    """scipy's, imported where it is used: it takes a second, which each worker would spend on collecting."""
    import scipy.stats

    return scipy.stats


def record(task: str, index: int, correct: bool, **more: Any) -> Record:
    text = more.pop("prompt", f"{task} {index}")
    key = item_key([text], [], "gold")
    return {
        "v": 2, "task": task, "subject": "", "index": index, "key": key, "correct": correct, "losses": [],
        "prediction": "x", "gold": "gold", "choices": [], "prompt": text, "samples": [], **more,
    }  # fmt: skip


def old(of: Record) -> Record:
    """The record as version 1 has it."""
    kept = ("task", "index", "correct", "prediction", "gold", "losses", "prompt")
    return {name: of[name] for name in kept}


def items_of(path: Path, records: list[Record]) -> Items:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return read_items(path)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Any]:
    def make(a: list[Record], b: list[Record]) -> tuple[Items, Items]:
        return items_of(tmp_path / "a.jsonl", a), items_of(tmp_path / "b.jsonl", b)

    yield make


def core_records(seed: int, share: float, *, items: int = 40) -> list[Record]:
    rng = np.random.default_rng(seed)
    return [record(task, i, bool(rng.random() < share)) for task in CORE_TASKS for i in range(items)]


def test_the_figures_are_those_of_a_plain_script_and_of_scipy(both: Any, stats: Any) -> None:
    a_records, b_records = core_records(1, 0.4), core_records(2, 0.55)
    found = compare(*both(a_records, b_records))
    assert [task.task for task in found.tasks] == list(CORE_TASKS)
    of_b = {(r["task"], r["index"]): r["correct"] for r in b_records}
    p_values = {}
    for task in found.tasks:
        pairs = [(r["correct"], of_b[r["task"], r["index"]]) for r in a_records if r["task"] == task.task]
        wins, losses = pairs.count((False, True)), pairs.count((True, False))
        assert (task.paired, task.wins, task.losses) == (40, wins, losses)
        assert (task.both_right, task.both_wrong) == (pairs.count((True, True)), pairs.count((False, False)))
        differences = np.array([b - a for a, b in pairs], dtype=float)
        assert task.difference == pytest.approx(differences.mean())
        assert task.accuracy_b - task.accuracy_a == pytest.approx(task.difference)
        p_values[task.task] = stats.binomtest(wins, wins + losses).pvalue
        assert task.p == pytest.approx(p_values[task.task], rel=1e-9)
        drawn = stats.bootstrap(
            (differences,), np.mean, n_resamples=10_000, method="percentile", rng=3, batch=1_000
        )
        # A step of the mean is 1/40; quantiles of 10,000 draws are off by less than one.
        assert task.low == pytest.approx(drawn.confidence_interval.low, abs=0.026)
        assert task.high == pytest.approx(drawn.confidence_interval.high, abs=0.026)
    ordered = sorted(p_values, key=p_values.__getitem__)
    least = 0.0
    for place, name in enumerate(ordered):
        least = max(least, min(1.0, (22 - place) * p_values[name]))
        task = found.task(name)
        assert task is not None and task.p_holm == pytest.approx(least)
    assert set(found.differing()) == {
        (row, row) for row, r in enumerate(a_records) if r["correct"] != b_records[row]["correct"]
    }
    assert found.notes == ()
    assert found.by_index == 0


def test_core_is_the_mean_of_centered_differences_with_items_drawn_in_each_task(both: Any) -> None:
    a_records, b_records = core_records(1, 0.4, items=25), core_records(2, 0.55, items=25)
    found = compare(*both(a_records, b_records))
    [core] = found.means
    assert core.name == "CORE"

    def centered(records: list[Record]) -> float:
        values = []
        for task in CORE_TASKS:
            share = np.mean([r["correct"] for r in records if r["task"] == task])
            guess = baseline(task)
            assert guess is not None
            values.append((share - guess) / (1 - guess))
        return float(np.mean(values))

    assert core.a == pytest.approx(centered(a_records))
    assert core.difference == pytest.approx(centered(b_records) - centered(a_records))
    rng = np.random.default_rng(0)
    total = np.zeros(4_000)
    for task in CORE_TASKS:
        pairs = zip(a_records, b_records, strict=True)
        differences = np.array([float(b["correct"]) - a["correct"] for a, b in pairs if a["task"] == task])
        total += rng.choice(differences, (4_000, 25)).mean(1) / (1 - (baseline(task) or 0.0)) / 22
    assert (core.low, core.high) == pytest.approx(tuple(np.quantile(total, (0.025, 0.975))), abs=0.006)


@given(wins=st.integers(0, 60), losses=st.integers(0, 60))
def test_mcnemar_is_scipys_binomial_test(stats: Any, wins: int, losses: int) -> None:
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar(wins, losses) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("wins", "losses"), [(5_000, 5_211), (40_000, 41_000), (9_000, 2), (3_000, 0)])
def test_mcnemar_of_many_items(stats: Any, wins: int, losses: int) -> None:
    expected = stats.binomtest(wins, wins + losses).pvalue
    assert mcnemar(wins, losses) == pytest.approx(expected, rel=1e-7, abs=1e-300)


@pytest.mark.parametrize(("wins", "losses", "paired"), [(30, 20, 90), (0, 9, 50), (0, 0, 12), (7, 0, 7)])
def test_the_interval_is_that_of_items_drawn_with_replacement(wins: int, losses: int, paired: int) -> None:
    differences = np.repeat([1.0, -1.0, 0.0], [wins, losses, paired - wins - losses])
    drawn = np.random.default_rng(0).choice(differences, (20_000, paired)).mean(1)
    found = bootstrap(wins, losses, paired, 20_000, (1,))
    assert interval(found) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=1.01 / paired)
    assert found.mean() == pytest.approx(drawn.mean(), abs=0.01)
    assert found.std() == pytest.approx(drawn.std(), abs=0.01)


def test_the_same_items_give_the_same_figures_whatever_else_is_compared(both: Any) -> None:
    a, b = core_records(1, 0.4), core_records(2, 0.5)
    first, second = compare(*both(a, b)), compare(*both(a, b))
    assert first == second
    some = [r for r in a if r["task"] == "copa"]
    alone = compare(*both(some, b)).task("copa")
    whole = first.task("copa")
    assert alone is not None and whole is not None
    assert (alone.low, alone.high, alone.p) == (whole.low, whole.high, whole.p)
    assert compare(*both(a, b), seed=9).tasks != first.tasks


# -- which items are paired ------------------------------------------------------------------------


def test_items_are_paired_by_key_wherever_they_stand(both: Any) -> None:
    """Of another cut the same items have other indices, and items of one index other prompts."""
    a = [record("copa", i, True) for i in range(4)]
    b = [record("copa", 3 - i, False, prompt=f"copa {i}") for i in range(1, 4)]
    b.append(record("copa", 3, True, prompt="another"))
    found = compare(*both(a, b))
    assert found.pairs == ((1, 0), (2, 1), (3, 2))
    copa = found.task("copa")
    assert copa is not None
    assert (copa.paired, copa.only_a, copa.only_b, copa.losses) == (3, 1, 1, 3)
    assert found.notes == ("3 items are the same in both and compared; 1 of A and 1 of B are not",)


def test_an_item_that_a_task_has_twice_is_paired_twice(both: Any) -> None:
    a = [record("copa", i, i < 2, prompt="same") for i in range(3)]
    b = [record("copa", i, i < 1, prompt="same") for i in (1, 0)]
    assert compare(*both(a, b)).pairs == ((0, 1), (1, 0))


def test_without_keys_items_are_paired_by_index_when_the_prompts_are_equal(both: Any) -> None:
    new = [record("copa", i, True) for i in range(4)]
    quoted = record("copa", 9, True, prompt='a "quoted", "one"\n}')
    other = [
        old(new[0]),
        old({**new[1], "correct": False}),
        old(record("copa", 2, True, prompt="another")),
        old({**new[3], "gold": "other"}),
        {"task": "copa", "index": 7, "correct": True, "gold": "gold"},
        old(quoted),
    ]
    news = [*new, quoted]
    for a, b, last in ((news, other, (4, 5)), (other, news, (5, 4)), (list(map(old, news)), other, (4, 5))):
        found = compare(*both(a, b))
        assert found.pairs == ((0, 0), (1, 1), last)
        assert found.notes[-1] == "3 items are paired by index and prompt: their records are of version 1"
    two_without = [{"task": "copa", "index": 7, "correct": True, "gold": "gold"}]
    assert compare(*both(two_without, two_without)).pairs == ()


def test_another_bundles_items_are_said_and_nothing_is_compared(both: Any) -> None:
    a = [record("copa", i, True) for i in range(3)]
    b = [record("copa", i, True, prompt=f"other {i}") for i in range(3)]
    found = compare(*both(a, b))
    assert found.notes == ("no item is the same in both: another bundle, other examples, or other tasks",)
    [copa] = found.tasks
    assert (copa.paired, copa.only_a, copa.only_b) == (0, 3, 3)
    assert all(map(math.isnan, (copa.difference, copa.low, copa.high, copa.p, copa.p_holm, copa.accuracy_a)))
    assert found.means == ()


def test_bad_lines_of_either_are_noted(both: Any, tmp_path: Path) -> None:
    a, b = both([record("copa", 0, True)], [record("copa", 0, False)])
    with b.path.open("ab") as file:
        file.write(b'bad\n{"v": 2')
    found = compare(a, read_items(b.path))
    assert len(found.pairs) == 1
    assert [note[:22] for note in found.notes] == ["B: 1 line is no record", "B: the last line is in"]


def test_mmlu_is_compared_by_subject_and_chat_core_by_its_tasks(both: Any) -> None:
    tasks = TASK_MEANS["ChatCORE"]
    a = [record(task, i, i % 2 == 0) for task in tasks for i in range(8)]
    b = [record(task, i, i % 4 != 1) for task in tasks for i in range(8)]
    for number, one in enumerate((*a, *b)):
        if one["task"] == "MMLU":
            one["subject"] = ("anatomy", "virology")[number % 8 // 4]
    found = compare(*both(a, b))
    assert [(s.task, s.paired) for s in found.subjects] == [("MMLU/anatomy", 4), ("MMLU/virology", 4)]
    assert [mean.name for mean in found.means] == ["ChatCORE", "ChatCORE_cat"]
    mean = found.means[0]
    assert mean.a == pytest.approx((3 * (0.5 - 0.25) / 0.75 + 2 * 0.5) / 5)
    assert mean.difference == pytest.approx((3 * 0.25 / 0.75 + 2 * 0.25) / 5)
    assert mean.low <= mean.difference <= mean.high


def test_the_known_tasks_are_those_of_the_published_bundle(shared_data: Path) -> None:
    tasks = read_bundle(shared_data / "eval_bundle")
    assert [task.label for task in tasks] == list(CORE_TASKS)
    assert {task.label: task.baseline for task in tasks} == pytest.approx(
        {name: baseline(name) for name in CORE_TASKS}
    )
    table = (shared_data / "eval_bundle/eval_meta_data.csv").read_text(encoding="utf-8")
    for name in CORE_TASKS:
        assert f"{name},{category(name)}," in table
