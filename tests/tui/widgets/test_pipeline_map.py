"""The pipeline: whole words at every width, in a line below 150 columns, and what a click on it picks."""

import pytest
from rich.cells import cell_len

from tests.tui.conftest import Bench, settle
from tui.screens.runs import RunsScreen
from tui.widgets.pipeline_line import SHORT
from tui.widgets.pipeline_map import PIPELINE, PipelineMap


def pipeline(bench: Bench) -> None:
    bench.run("data", "data_build", age=900)
    bench.run("tok", "tok_train", age=800, state={})
    bench.training(bench.run("base", status="running", age=700), steps=260, total=400)
    bench.run("sft", "chat_sft", "failed", age=600)
    evaluated = bench.run("eval", "base_eval", age=500)
    bench.events(evaluated, [{"kind": "eval", "step": 1, "data": {"core/core": 0.2219}}])


def lines(app) -> list[str]:  # type: ignore[no-untyped-def]
    return str(app.screen.query_one(PipelineMap).render()).split("\n")


@pytest.mark.parametrize("width", [60, 80, 100, 120, 149])
async def test_below_150_columns_it_is_two_lines_of_whole_words(bench: Bench, width: int) -> None:
    pipeline(bench)
    async with bench.open((width, 40 if width > 80 else 24)) as (app, pilot):
        await app.action_go("runs")
        await settle(pilot)
        shown = lines(app)
        assert app.screen.query_one(PipelineMap).size.height == len(shown) == 2
        assert all(cell_len(line) <= width for line in shown)
        assert "…" not in "".join(shown)
        words = shown[0].replace("→", " ").split()
        for box in PIPELINE:
            assert box.title in words or SHORT.get(box.title) in words
        assert "●" in shown[0]
        assert "65%" in shown[0]
        assert "✗" in shown[0]
        assert "base_eval" in shown[1]


async def test_at_80_columns_a_live_stage_has_its_progress_and_figure(bench: Bench) -> None:
    pipeline(bench)
    async with bench.open((80, 24)) as (app, pilot):
        await app.action_go("runs")
        await settle(pilot)
        assert "✓ data → ✓ tok → ● base 65% bpb 2.022 → · mid → ✗ sft failed → · rl" in lines(app)[0]
        assert "✓ base_eval" in lines(app)[1]
        assert "0.2219" in lines(app)[1]


@pytest.mark.parametrize("size", [(150, 40), (200, 60)])
async def test_a_wide_screen_has_boxes_with_whole_words(bench: Bench, size: tuple[int, int]) -> None:
    pipeline(bench)
    chat = bench.run("chat", "chat_eval", age=400)
    bench.events(chat, [{"kind": "eval", "step": 1, "data": {"chat/ChatCORE": 0.1234}}])
    async with bench.open(size) as (app, pilot):
        await app.action_go("runs")
        await settle(pilot)
        shown = "\n".join(lines(app))
        assert "╭ base_train" in shown
        assert "✓ base_eval" in shown and "0.2219" in shown
        assert "✓ chat_eval" in shown and "0.1234" in shown
        assert "…" not in shown


async def test_a_click_on_a_stage_shows_its_runs(bench: Bench) -> None:
    pipeline(bench)
    async with bench.open((80, 24)) as (app, pilot):
        await app.action_go("runs")
        await settle(pilot)
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        at = lines(app)[0].index("base")
        await pilot.click(PipelineMap, offset=(at, 0))
        await settle(pilot, lambda: screen.search.value == "stage:base_train")
        at = lines(app)[1].index("base_eval")
        await pilot.click(PipelineMap, offset=(at, 1))
        await settle(pilot, lambda: screen.search.value == "stage:base_eval")
