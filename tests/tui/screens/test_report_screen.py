"""`W` writes the report of a run's plan and opens it; a plan that was started here ends with its own."""

import asyncio
from pathlib import Path

import pytest

from nanochat.config.plan import Plan, parse_plan
from tests.tui.conftest import Bench, settle
from tui.actions import report as actions
from tui.actions.plan import start_plan
from tui.screens.report import ReportScreen
from tui.screens.run import RunScreen

PLACE = {"id": "20261130-080000-ab12", "name": "two", "index": 0, "needs": []}


@pytest.fixture
def planned(bench: Bench) -> Bench:
    """A plan of a training and what was to follow it."""
    key = bench.run("base_train", plan=PLACE, options={"depth": 4})
    bench.training(key, steps=60)
    bench.events(
        key, [{"kind": "sample", "step": 59, "data": {"prompt": "The sky", "text": "# no chapter\n" * 3}}]
    )
    bench.run(
        "sft", "chat_sft", "failed", plan={**PLACE, "index": 1}, state={"reason": "[b]out[/b] of memory"}
    )
    return bench


def painted(screen: ReportScreen) -> str:
    """All that the report's view holds, as lines."""
    lines = [line for section in screen.view.sections for line in section.lines]
    return "\n".join("".join(text for text, _ in line) for line in lines)


@pytest.mark.slow
async def test_w_writes_the_plans_report_and_reads_as_the_file_does(
    planned: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []

    def copy(text: str, *_: object) -> str:
        copied.append(text)
        return "the clipboard"

    monkeypatch.setattr("tui.actions.clipboard.copy", copy)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    folder = planned.layout.base / "report" / str(PLACE["id"])
    async with planned.open() as (app, pilot):
        await pilot.press("1", "W")
        await settle(pilot, lambda: isinstance(app.screen, ReportScreen) and app.screen.view.is_laid_out)
        screen = app.screen
        assert isinstance(screen, ReportScreen)
        assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md"]
        text = painted(screen)
        for said in (
            "nanochat report: plan two",
            "sft failed: [b]out[/b] of memory",
            "no model",
            "val/bpb",
        ):
            assert said in text, said
        assert "<svg" in (folder / "report.html").read_text(encoding="utf-8")
        await pilot.press("y")
        await settle(pilot, lambda: bool(copied))
        assert copied == [str(folder / "report.html")]
        assert screen.view.scroll_offset.y == 0
        starts = screen.view.chapters
        titles = ["".join(text for text, _ in screen.view.sections[0].lines[at]) for at in starts]
        assert titles[:3] == ["## Summary", "## Scores", "## Time and cost"]
        await pilot.press("n", "n", "n", "N")
        await settle(pilot, lambda: screen.view.scroll_offset.y == starts[1])
        await pilot.press("b")
        await settle(pilot, lambda: app.message is not None and "no display here" in app.message.text)
        await pilot.press("escape", "2")
        await settle(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("W")
        await settle(pilot, lambda: isinstance(app.screen, ReportScreen))
    assert len(list(folder.iterdir())) == 2


@pytest.mark.slow
async def test_a_plan_that_was_started_here_ends_with_its_report(
    planned: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "LOOK", 0.02)
    keys = [run.key for run in planned.store.runs()]

    async def launch(*_: object) -> list[str]:
        return keys

    monkeypatch.setattr(planned.fleet, "launch", launch)
    folder = planned.layout.base / "report"
    async with planned.open() as (app, pilot):
        await start_plan(app, plan("report = false"), "local")
        await asyncio.sleep(0.2)
        assert not folder.exists()
        await start_plan(app, plan(), "local")
        await settle(pilot, lambda: app.message is not None and "sft failed · report: " in app.message.text)
    assert (folder / str(PLACE["id"]) / "report.md").is_file()


@pytest.mark.slow
async def test_nothing_is_written_under_readonly_and_a_folder_that_cannot_be_is_one_line(
    planned: Bench,
) -> None:
    (planned.layout.base / "report").write_text("mine", encoding="utf-8")
    async with planned.open(readonly=True) as (_, pilot):
        await pilot.press("1", "W")
        await settle(pilot)
    async with planned.open() as (app, pilot):
        await pilot.press("1", "W")
        await settle(
            pilot, lambda: app.message is not None and "cannot create the folder" in app.message.text
        )
        assert not isinstance(app.screen, ReportScreen)
    assert (planned.layout.base / "report").read_text(encoding="utf-8") == "mine"


def plan(more: str = "") -> Plan:
    """A plan of two stages."""
    return parse_plan(f'{more}\n[[stage]]\nstage = "base_train"\n[[stage]]\nstage = "chat_sft"\n', "two.toml")


def test_a_browser_is_for_a_display_in_front_of_the_user(tmp_path: Path) -> None:
    assert actions.has_display({"DISPLAY": ":0"}) and actions.has_display({"WAYLAND_DISPLAY": "w"})
    assert not actions.has_display({"DISPLAY": ":0", "SSH_CONNECTION": "1"})
    assert not actions.has_display({})
