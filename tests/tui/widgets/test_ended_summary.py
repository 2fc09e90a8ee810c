"""What an ended run came to: how it ended and why, its best evaluation, mean speed and checkpoint."""

from dataclasses import replace

from nanochat.run.events import Event
from remote.run_summary import speed
from remote.runs import RunRow
from tests.tui.conftest import NOW, Bench, settle
from tui.screens.run import RunScreen
from tui.widgets.ended_summary import EndedSummary, Outcome, best_eval, summary_rows
from tui.widgets.machine_lines import NO_TELEMETRY


def event(kind: str, step: int | None, **data: object) -> Event:
    return Event(seq=0, t=NOW, kind=kind, step=step, data=data)


def test_the_best_is_the_lowest_loss_and_the_highest_score() -> None:
    outcome = Outcome()
    outcome.add([event("eval", step, **{"val/bpb": bpb}) for step, bpb in ((0, 3.0), (50, 1.2), (100, 1.4))])
    assert best_eval(outcome) == ("val/bpb", 50, 1.2)
    outcome.add([event("eval", step, **{"core/core": core}) for step, core in ((50, 0.1), (100, 0.2))])
    assert best_eval(outcome) == ("core/core", 100, 0.2)


def test_a_later_attempt_supersedes_evaluations_from_its_first_step_on() -> None:
    outcome = Outcome()
    outcome.add([event("eval", step, **{"val/bpb": bpb}) for step, bpb in ((0, 3.0), (50, 2.0), (100, 0.1))])
    outcome.add([event("stage_start", None, from_step=60), event("eval", 100, **{"val/bpb": 1.5})])
    assert best_eval(outcome) == ("val/bpb", 100, 1.5)


def test_the_mean_speed_is_that_of_the_header() -> None:
    run = RunRow("a/b", "a", "b", status="stopped", attempt=1, step=1000, results={"tok_per_sec": 2039.0})
    assert ("mean speed", "2.04k tok/s") in lines_of(run)
    assert speed(run).text == "2.04k"
    totals = {"train/total_tokens": 4_000_000, "train/total_time": 2000.0, "train/tok_per_sec": 1060.0}
    assert ("mean speed", "1.98k tok/s") in lines_of(replace(run, results={}, latest=totals))
    last = lines_of(replace(run, results={}, latest={"train/tok_per_sec": 1060.0}))
    assert ("last speed", "1.06k tok/s") in last and "mean speed" not in dict(last)


def lines_of(run: RunRow) -> list[tuple[str, str]]:
    return [(name, "".join(text for text, _ in values)) for name, values in summary_rows(run, Outcome())]


async def test_an_ended_run_shows_its_summary_and_says_when_its_gauges_are_from(bench: Bench) -> None:
    key = bench.run("demo", status="failed", state={"reason": "CUDA out of memory"})
    bench.training(key, steps=60)
    end = {"status": "failed", "results": {"tok_per_sec": 2039.0}}
    saved = {"path": "/base/base_checkpoints/d4/model_000050.pt", "bytes": 3e6}
    bench.events(key, [{"kind": "checkpoint", "step": 50, "data": saved}, {"kind": "stage_end", "data": end}])
    bench.events(key, [{"kind": "telemetry", "data": {"host/cpu": 100.0}}], file="telemetry.jsonl")
    async with bench.open() as (app, pilot):
        await app.action_go("run")
        await settle(pilot, lambda: isinstance(app.screen, RunScreen))
        summary = app.screen.query_one(EndedSummary)
        await settle(pilot, lambda: "model_000050.pt" in str(summary.render()))
        shown = str(summary.render())
        for words in (
            "✗ failed",
            "CUDA out of memory",
            "best eval",
            "val/bpb 2.6",
            "at step 50",
            "2.04k tok/s",
        ):
            assert words in shown
        drawn = summary.visual
        app.screen.tick()  # type: ignore[attr-defined]
        assert summary.visual is drawn  # nothing is laid out anew while nothing changes
        gauges = app.screen.query_one("#gpus")
        await settle(pilot, lambda: "when the run ended" in gauges.render_line(0).text)
        assert "cpu 100 %" in gauges.render_line(2).text
        await pilot.resize_terminal(80, 24)  # the panes are tabs
        for pane, shown_there in (("machine", True), ("samples", False), ("plots", False)):
            app.screen.action_pane(pane)  # type: ignore[attr-defined]
            await settle(pilot, lambda there=shown_there: bool(summary.region) == there)  # type: ignore[misc]


async def test_a_live_run_has_no_summary(bench: Bench) -> None:
    bench.training(bench.run("demo", status="running"), steps=30)
    async with bench.open() as (app, pilot):
        await settle(pilot, lambda: bool(app.screen.query(EndedSummary)))
        assert not app.screen.query_one(EndedSummary).region
        assert NO_TELEMETRY not in app.screen.query_one("#gpus").render_line(0).text
