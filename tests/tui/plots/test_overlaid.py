"""Several runs in one plot: named, on an axis they have, smoothed before they are shrunk; gaps and bands."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from nanochat.common.smoothing import decay, ema
from remote.comparison.groups import Group
from tests.tui.plots.test_plotting import colours, draw
from tui.plots.derived import Derivation
from tui.plots.draw import arrange
from tui.plots.frame import PlotSpec, View
from tui.plots.marks import shortened
from tui.plots.raster import submit
from tui.plots.run_metrics import RunMetrics

EACH = tuple(Group(str(at), (at,)) for at in range(3))


def run(label: str, loss: Callable[[int], float], steps: range, batch: int = 0) -> RunMetrics:
    made = RunMetrics(label)
    rows = {"train/loss": [(step, step, 1.0 * step, loss(step), 1) for step in steps]}
    if batch:
        rows["train/total_tokens"] = [(step, step, 1.0 * step, (step + 1) * batch, 1) for step in steps]
    made.ingest(rows)
    return made


def spec(*runs: RunMetrics, axis: str = "step", smoothing: float = 0.0, **more: object) -> PlotSpec:
    view = View(axis=axis, smoothing=smoothing)
    return PlotSpec("train/loss", runs, view, 120, 30, colours(), **more)  # type: ignore[arg-type]


def text(made: PlotSpec) -> str:
    return "\n".join(strip.text for strip in draw(made).strips)


def test_a_run_without_a_place_on_the_axis_is_named_and_not_drawn() -> None:
    with_tokens = run("one", lambda step: 1.0, range(50), batch=100)
    without = run("two", lambda step: 9.0, range(50))
    frame = draw(spec(with_tokens, without, axis="tokens"))
    assert frame.notes == ["two has no tokens"]
    assert [legend.points for legend in frame.legends] == [50, 0]
    assert frame.y[1] < 9
    assert [legend.points for legend in draw(spec(with_tokens, without)).legends] == [50, 50]


def test_names_that_would_be_cut_alike_keep_their_ends() -> None:
    assert shortened(["demo", "a long name"], 12) == ["demo", "a long name"]
    assert shortened(["base_train d4", "sft"], 8) == ["base_tr…", "sft"]
    assert shortened(["base_train seed=1", "base_train seed=2"], 8) == ["… seed=1", "… seed=2"]
    one, two = run("base_train seed=1", math.cos, range(9)), run("base_train seed=2", math.sin, range(9))
    shown = text(spec(one, two))
    assert "…rain seed=1" in shown and "…rain seed=2" in shown


def test_overlays_are_smoothed_whole_before_they_are_shrunk() -> None:
    """A spike of one step moves the average by its share; shrunk first, it would not be told from others."""
    noisy = [5 + math.sin(step * 2.1) + (40 if step == 1500 else 0) for step in range(3000)]
    runs = [run(name, noisy.__getitem__, range(3000)) for name in ("one", "two")]
    made = submit(arrange, spec(*runs, smoothing=0.02)).result()
    average, _, _ = ema(noisy, decay(3000))
    for trace in made.traces:
        assert trace.smooth is not None
        assert max(trace.smooth.high) == pytest.approx(max(average))
        assert min(trace.smooth.low) == pytest.approx(min(average))
        assert max(trace.raw.high) == max(noisy)


def test_a_gap_is_drawn_over_what_both_have() -> None:
    base, other = run("A", lambda step: 3.0, range(10, 60)), run("B", lambda step: 3 - step / 100, range(40))
    derive = Derivation(EACH[:2], ("A", "B-A"), gap=True, caption="gap to A")
    frame = draw(spec(base, other, derive=derive))
    (legend,) = frame.legends
    readings = [reading for reading in legend.readings if reading is not None]
    assert {reading.step for reading in readings} == set(map(float, range(10, 40)))
    assert all(reading.value == pytest.approx(-reading.step / 100) for reading in readings)
    assert frame.y[0] <= -0.39 and frame.y[1] >= 0, "0 is in sight"
    assert "B-A" in text(spec(base, other, derive=derive))
    assert frame.extent == (0, 59), "the plots of a grid align"


def test_a_gap_over_tokens_is_of_both_interpolated() -> None:
    base = run("A", lambda step: 5 - step / 10, range(20), batch=100)
    other = run("B", lambda step: 6 - step / 10, range(20), batch=200)
    derive = Derivation(EACH[:2], ("A", "B-A"), gap=True)
    frame = draw(spec(base, other, axis="tokens", derive=derive))
    for reading in frame.legends[0].readings:
        if reading is not None:
            tokens = reading.step
            assert 200 <= tokens <= 2000
            wanted = (6 - (tokens / 200 - 1) / 10) - (5 - (tokens / 100 - 1) / 10)
            assert reading.value == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["range", "stderr"])
def test_a_group_is_its_mean_over_its_band(kind: str) -> None:
    shifts = (0.0, 1.0, 5.0)
    runs = [
        run(f"s{at}", lambda step, shift=shift: 10 - step / 50 + shift, range(100))
        for at, shift in enumerate(shifts)
    ]  # type: ignore[misc]
    derive = Derivation((Group("all", (0, 1, 2)),), ("ABC",), band=kind, caption="mean")  # type: ignore[arg-type]
    made = submit(arrange, spec(*runs, derive=derive)).result()
    (trace,) = made.traces
    half = np.std(shifts, ddof=1) / math.sqrt(3)
    low, high = (0.0, 5.0) if kind == "range" else (2 - half, 2 + half)
    assert trace.smooth is not None
    assert trace.smooth.first[0] == pytest.approx(12)
    assert trace.raw.low[0] == pytest.approx(10 - 0 / 50 + low, abs=0.03)
    assert trace.raw.high[0] == pytest.approx(10 + high)
    assert made.frame.caption == "mean"


def test_on_a_log_axis_what_is_not_positive_is_left_out_and_counted() -> None:
    base, other = run("A", lambda step: 1.0, range(20)), run("B", lambda step: step / 10, range(20))
    made = spec(base, other, derive=Derivation(EACH[:2], ("A", "B-A"), gap=True))
    frame = draw(
        PlotSpec(**{name: getattr(made, name) for name in made.__slots__} | {"view": View(log=True)})
    )
    assert frame.notes == ["11 ≤ 0 left out"]
