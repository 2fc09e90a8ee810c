"""What tables tell of a noisy figure: the average that a plot of the whole run ends with."""

import json
import math
import random
import sqlite3
from pathlib import Path

import pytest

from nanochat.common.smoothing import RunningAverage, decay
from nanochat.train.step import WARMUP_STEPS
from remote.cli.printer import figures
from remote.key_metric import key_figure
from remote.run_summary import UNTIMED_STEPS, speed
from remote.runs import RunRow
from remote.store.store import Store
from tests.remote.store.test_store import KEY, feed, line

RNG = random.Random(4)
LOSSES = [3 + 4 * math.exp(-step / 150) + RNG.gauss(0, 0.2) for step in range(1_200)]


def averaged(values: list[float]) -> float:
    """Restated without any cleverness: every point, the debiased average of all."""
    beta, mean, weight = decay(len(values)), 0.0, 0.0
    for value in values:
        mean, weight = beta * mean + (1 - beta) * value, beta * weight + (1 - beta)
    return mean / weight


def log(values: list[float], first: int = 0, seq: int = 0, attempt: int = 1) -> bytes:
    """One attempt that logs a loss a step from step `first` on."""
    begun = line(seq, "stage_start", attempt=attempt, from_step=first, total_steps=2_000, unit="step")
    steps = [
        line(seq + 1 + index, step=first + index, **{"train/loss": value, "train/tok_per_sec": 100.0})
        for index, value in enumerate(values)
    ]
    return begun + b"".join(steps)


def row(store: Store) -> RunRow:
    found = store.run(KEY)
    assert found is not None
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store.sqlite")
    store.ingest_state("box", {"run_id": "r1", "name": "demo"}, {"run_id": "r1", "status": "running"})
    return store


@pytest.mark.parametrize("chunk", [700, 50_000])
def test_a_run_tells_the_average_that_its_plot_ends_with(store: Store, chunk: int) -> None:
    feed(store, log(LOSSES), chunk)
    assert row(store).smooth["train/loss"] == pytest.approx(averaged(LOSSES), rel=1e-9)
    assert str(key_figure(row(store))) == f"loss {averaged(LOSSES):.3f}"
    assert f"loss {averaged(LOSSES):.3f}" in figures(row(store))
    assert f"{LOSSES[-1]:.3f}" not in figures(row(store))


def test_a_short_run_tells_its_last_value(store: Store) -> None:
    feed(store, log(LOSSES[:150]))
    assert str(key_figure(row(store))) == f"loss {LOSSES[149]:.3f}"


def test_what_a_resume_redoes_counts_no_longer(store: Store) -> None:
    whole = log(LOSSES)
    again = log([9.0] * 20, first=400, seq=len(LOSSES) + 1, attempt=2)
    feed(store, whole + again)
    assert row(store).smooth["train/loss"] == pytest.approx(averaged(LOSSES[:400] + [9.0] * 20), rel=1e-9)
    more = b"".join(
        line(len(LOSSES) + 22 + index, step=420 + index, **{"train/loss": 2.0}) for index in range(30)
    )
    feed(store, whole + again + more)
    kept = LOSSES[:400] + [9.0] * 20 + [2.0] * 30
    assert row(store).smooth["train/loss"] == pytest.approx(averaged(kept), rel=1e-9)


def test_a_value_that_is_no_number_is_not_hidden_behind_an_average(store: Store) -> None:
    whole = log(LOSSES)
    broken = line(len(LOSSES) + 1, step=len(LOSSES), **{"train/loss": "NaN"})
    feed(store, whole + broken)
    assert str(key_figure(row(store))) == "loss NaN"


def test_a_store_of_an_older_version_begins_its_averages_with_the_whole_run(
    store: Store, tmp_path: Path
) -> None:
    whole = log(LOSSES)
    feed(store, whole)
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        (raw,) = db.execute("SELECT summary FROM runs").fetchone()
        older = {name: value for name, value in json.loads(raw).items() if name != "averages"}
        db.execute("UPDATE runs SET summary = ?", (json.dumps(older),))
    db.close()
    fresh = Store(tmp_path / "store.sqlite")
    assert row(fresh).smooth == {}
    feed(fresh, whole + line(len(LOSSES) + 1, step=len(LOSSES), **{"train/loss": 2.0}))
    assert row(fresh).smooth["train/loss"] == pytest.approx(averaged([*LOSSES, 2.0]), rel=1e-9)
    fresh.close()


@pytest.mark.parametrize(
    "held", [None, 3, {}, {"points": 1}, {"points": "x", "last": 1, "averages": {}}, [1]]
)
def test_what_is_no_average_is_none(held: object) -> None:
    assert RunningAverage.read(held) is None
    nan = {"points": 3, "last": math.nan, "averages": {}}
    assert RunningAverage.read(nan) is None


def test_an_ended_run_tells_its_mean_speed_and_a_live_one_how_fast_it_is() -> None:
    latest = {"train/tok_per_sec": 1_060.0, "train/total_tokens": 2_000_000.0, "train/total_time": 970.0}

    def run(status: str, **more: object) -> RunRow:
        return RunRow(KEY, "box", "r1", status=status, attempt=1, step=1_000, latest=latest, **more)  # type: ignore[arg-type]

    assert speed(run("running")).value == 1_060
    assert speed(run("running", smooth={"train/tok_per_sec": 2_010.0})).text == "2.01k"
    assert speed(run("succeeded", results={"tok_per_sec": 2_039.0})).text == "2.04k"
    assert speed(run("failed")).value == pytest.approx(2_000_000 * 0.99 / 970), "it has no results"
    assert "2.04k tok/s" in figures(run("succeeded", results={"tok_per_sec": 2_039.0}))
    assert UNTIMED_STEPS == WARMUP_STEPS
