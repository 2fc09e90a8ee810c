"""The screens that the Tokenizer screen opens to train, to look at a mask, a sweep and the data."""

import json
import sys
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from nanochat.tokenizer.sweep_figures import Point, Sweep
from tests.tui.conftest import Bench, settle
from tests.tui.screens.vocabulary_bench import chosen, write_shards
from tui.app import ControlRoom
from tui.data.tokenizer.chosen import Chosen
from tui.screens.launch import LaunchScreen
from tui.screens.tokenizer.data_stats import DataStatsScreen
from tui.screens.tokenizer.form_dialog import FormDialog
from tui.screens.tokenizer.mask import MaskScreen
from tui.screens.tokenizer.open_talks import OpenTalks
from tui.screens.tokenizer.sweep import SweepScreen
from tui.screens.tokenizer.train import TrainScreen
from tui.widgets.plot import Plot


def said(app: ControlRoom) -> str:
    return "" if app.message is None else app.message.text


def shown(screen: MaskScreen) -> str:
    return "".join(piece.text for line in screen.view.lines for piece in line.pieces)


async def opened(app: ControlRoom, pilot: Pilot[str], made: Chosen) -> MaskScreen:
    screen = MaskScreen(made)
    await app.push_screen(screen)
    await settle(pilot, lambda: bool(screen.view.lines) or "✗" in screen.view.empty)
    return screen


async def test_conversations_are_gone_through_pasted_and_cut(bench: Bench) -> None:
    made = chosen(bench.layout, ("code", 400))
    async with bench.open(size=(80, 24)) as (app, pilot):
        screen = await opened(app, pilot, made)
        found = screen.found
        assert found is not None and screen.tokenizer is not None and screen.tokenizer.vocab_size == 400
        assert "1 of 3 conversations" in str(screen.view.border_title)
        await pilot.press("n")
        await settle(pilot, lambda: "2 of 3" in str(screen.view.border_title))
        await pilot.press("tab", "right")
        assert screen.found is not None
        cursor = screen.view.cursor
        assert screen.found.tokens[cursor - 1].trained and not screen.found.tokens[cursor - 2].trained
        await pilot.press("shift+tab")
        assert screen.view.cursor == cursor - 1  # where the mask changes
        for _ in range(3):
            await pilot.press("down")
        assert screen.view.cursor > cursor
        await pilot.press("m")
        await settle(pilot, lambda: isinstance(app.focused, Input))
        await pilot.press("1", "2", "ctrl+k", *["backspace"] * 6, "1", "2", "enter")
        await settle(pilot, lambda: screen.limit == 12 and bool(screen.found and screen.found.limit == 12))
        assert "✂" in str(screen.head.render())
        talk = [{"role": "user", "content": "pasted"}, {"role": "assistant", "content": "[red]text"}]
        screen.post_message(events.Paste(json.dumps(talk)))
        await settle(pilot, lambda: "1 of 1 conversation" in str(screen.view.border_title))
        assert "[red]text" in shown(screen).replace("·", " ")
        screen.post_message(events.Paste("{"))
        await settle(pilot, lambda: "no valid JSON" in said(app))
        assert "[red]text" in shown(screen).replace("·", " ")  # what was open stays
        await pilot.resize_terminal(50, 24)
        await settle(pilot, lambda: screen.view.room < 50)


async def test_conversations_of_a_file_and_of_a_task_are_opened_by_what_is_typed(bench: Bench) -> None:
    made = chosen(bench.layout, ("code", 400))
    path = bench.layout.base / "talk.jsonl"
    path.write_text('[{"role": "user", "content": "one"}]\nnot json\n', encoding="utf-8")
    (bench.layout.base / "identity_conversations.jsonl").write_text(
        '[{"role": "user", "content": "who"}, {"role": "assistant", "content": "me"}]\n', encoding="utf-8"
    )
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, made)
        for typed, title in ((str(path), "talk.jsonl · 1 of 2"), ("customjson", "CustomJSON/train · 1 of 1")):
            await pilot.press("o")
            await settle(pilot, lambda: isinstance(app.screen, OpenTalks))
            dialog = app.screen
            assert isinstance(dialog, OpenTalks)
            await settle(pilot, lambda dialog=dialog: len(dialog.table.items) > 3)  # type: ignore[misc]
            dialog.search.value = typed
            await pilot.press("enter")
            await settle(pilot, lambda title=title: title in str(screen.view.border_title))  # type: ignore[misc]
            if typed == str(path):
                await pilot.press("n")
                await settle(pilot, lambda: "line 2" in screen.view.empty)
        screen.folder, screen.tokenizer = bench.layout.base / "nowhere", None
        screen._work()
        await settle(pilot, lambda: "nanochat tok_train" in screen.view.empty)


async def test_a_training_is_watched_as_it_runs_and_another_one_started(bench: Bench) -> None:
    key = bench.run("mine", "tok_train", "running", options={"vocab_size": 1265, "data_dir": "{base}/x"})
    start = {"stage": "tok_train", "attempt": 1, "from_step": 0, "total_steps": 4000, "unit": "chars"}
    bench.events(key, [{"kind": "stage_start", "data": start}])
    async with bench.open(size=(80, 24)) as (app, pilot):
        screen = TrainScreen(Chosen())
        await app.push_screen(screen)
        await settle(pilot, lambda: len(screen.table.items) == 1)
        figures = {"tok/chars": 1000, "tok/bytes": 1100, "tok/documents": 7, "tok/mb_per_sec": 21.5}
        for data, wanted in (
            ({"progress": 0.2, **figures}, ("25%", "1.00k of about 4.00k characters", "7 documents")),
            ({"progress": 0.95, **figures, "tok/merges": 500}, ("50%", "500 of 1,000")),
        ):
            bench.events(key, [{"kind": "metric", "data": data}])
            await app.reread()
            await settle(pilot, lambda wanted=wanted: all(  # type: ignore[misc]
                one in str(screen.detail.render()) for one in wanted
            ))  # fmt: skip
        results = {"path": "/x/[tok]", "bytes_per_token": 3.25}
        end = {"status": "succeeded", "results": results}
        bench.events(
            key, [{"kind": "eval", "data": {"tok/bytes_per_token": 3.25}}, {"kind": "stage_end", "data": end}]
        )
        bench.run("mine", "tok_train", "succeeded", options={"vocab_size": 1265, "data_dir": "{base}/x"})
        await app.reread()
        await settle(pilot, lambda: "saved in /x/[tok]" in str(screen.detail.render()))
        assert "3.250 bytes a token" in str(screen.detail.render())
        await pilot.press("n")
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen))
        form = app.screen
        assert isinstance(form, LaunchScreen)
        await settle(pilot, lambda: form.form.is_attached and form.form.changes().get("vocab_size") == 1265)
        assert "--vocab-size=1265" in form.command() and "nanochat.stages.tok_train" in form.command()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the interpreter that runs a command of ours: prints what is in the file beside it."""
    path, printed = tmp_path / "python", tmp_path / "printed"
    progress = '{"doing": "merging", "share": 0.5, "done": 3, "total": 6}'
    path.write_text(
        f"#!/bin/sh\necho \"$@\" >{tmp_path}/words\necho '{progress}' >&2\n"
        f"while [ ! -e {printed} ]; do sleep 0.05; done\ncat {printed}\n"
    )
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    return printed


def sweep(*sizes: int) -> Sweep:
    return Sweep(tuple(Point(n, 9000, 90_000 // n + 1000, n, n, n, 9 * n, 100) for n in sizes), 4, 512, "own")


async def test_a_sweep_is_run_watched_kept_and_drawn(bench: Bench, command: Path) -> None:
    async with bench.open(size=(80, 24)) as (app, pilot):
        screen = SweepScreen(Chosen())
        await app.push_screen(screen)
        await settle(pilot, lambda: "no sweep yet" in str(screen.note.render()))
        with pytest.raises(UserError, match="no sweep"):
            screen.action_copy()
        await pilot.press("n")
        await settle(pilot, lambda: isinstance(app.screen, FormDialog))
        dialog = app.screen
        assert isinstance(dialog, FormDialog)
        rows = {row.field.name: row for row in dialog.form.rows()}
        rows["depth"].text = "none"
        await pilot.press("ctrl+s")
        assert app.screen is dialog
        assert "✗ --depth" in str(dialog.query_one("#problem", Static).render())
        rows["depth"].text, rows["vocab_sizes"].text = "4", "4096,8192"
        await pilot.press("ctrl+s")
        await settle(pilot, lambda: "merging · 50% · 3 of 6" in str(screen.line.render()))
        words = (command.parent / "words").read_text()
        assert f"-m nanochat tok_sweep --base-dir={bench.layout.base} --vocab-sizes=4096,8192" in words
        assert "--depth=4 --json --progress" in words
        await pilot.press("escape")  # it goes on when the screen is left, and is met again
        screen = SweepScreen(Chosen())
        await app.push_screen(screen)
        await settle(pilot, lambda: "merging" in str(screen.line.render()))
        await pilot.press("n")
        await settle(pilot, lambda: isinstance(app.screen, FormDialog))
        again = app.screen
        assert isinstance(again, FormDialog)
        assert again.form.changes() == {"vocab_sizes": ("4096", "8192"), "depth": 4}  # as it was left
        await pilot.press("ctrl+s")
        await settle(pilot, lambda: "one is running already" in said(app))
        command.write_text(sweep(4096, 8192).document(), encoding="utf-8")
        await settle(pilot, lambda: len(screen.table.items) == 2)
        assert len(list((bench.layout.base / "tok_sweeps").glob("*.json"))) == 1
        assert screen.table.items and "least compute with 8,192" in str(screen.note.render())
        await settle(pilot, lambda: any(plot.frame for plot in screen.query(Plot)))
        plot = screen.query(Plot).first()
        assert plot.metric == "bytes per token" and plot.view.axis_name == "ids"
        assert [label for _, label in plot.view.places] == ["4k", "8k"]
        (bench.layout.base / "other.json").write_text(sweep(512, 1024, 2048).document(), encoding="utf-8")
        await pilot.press("f")
        await settle(pilot, lambda: isinstance(app.focused, Input))
        app.screen.query_one(Input).value = str(bench.layout.base / "other.json")
        await pilot.press("enter")
        await settle(pilot, lambda: len(screen.table.items) == 3)
        await pilot.press("o")
        await settle(pilot, lambda: len(screen.plots.run_keys) == 2)
        await pilot.press("left_square_bracket")
        await settle(pilot, lambda: len(screen.table.items) == 2)


async def test_what_a_command_says_when_it_fails_is_told(bench: Bench, command: Path) -> None:
    python = command.parent / "python"
    python.write_text("#!/bin/sh\necho 'nanochat: error: no shards here (build some)' >&2\nexit 2\n")
    async with bench.open(size=(80, 24)) as (app, pilot):
        screen = DataStatsScreen(chosen(bench.layout, ("code", 400)))
        await app.push_screen(screen)
        await settle(pilot, lambda: "nothing was measured yet" in str(screen.text.render()))
        await pilot.press("n")
        await settle(pilot, lambda: isinstance(app.screen, FormDialog))
        await pilot.press("ctrl+s")
        await settle(pilot, lambda: "no shards here (build some)" in str(screen.line.render()))
        assert "no shards here" in said(app)
        text = "--tokenizer-dir=" + str(bench.layout.base / "code" / "tokenizer")
        assert screen.line.job is not None and text in screen.line.job.words
        assert not any(word.startswith("--data-dir") for word in screen.line.job.words)
        write_shards(bench.layout.base / "plan" / "data")  # a plan's data: the default folder has none
        for paths in ("", "/x/notes"):
            await pilot.press("n")
            await settle(pilot, lambda: isinstance(app.screen, FormDialog))
            assert isinstance(app.screen, FormDialog)
            rows = {row.field.name: row for row in app.screen.form.rows()}
            assert rows["data_dir"].text == str(bench.layout.base / "plan" / "data")
            rows["paths"].text = paths
            job = screen.line.job
            await pilot.press("ctrl+s")
            await settle(pilot, lambda job=job: screen.line.job not in (None, job))  # type: ignore[misc]
            assert screen.line.job is not None
            assert any(word.startswith("--data-dir") for word in screen.line.job.words) is not bool(paths)
            await settle(pilot, lambda: "no shards here" in str(screen.line.render()))
        (bench.layout.base / "data_stats").mkdir()
        (bench.layout.base / "data_stats" / "a.json").write_text("{}")
        await pilot.press("escape")
        await app.push_screen(again := DataStatsScreen(Chosen()))
        await settle(pilot, lambda: "a.json holds no numbers" in said(app))
        assert "nothing was measured yet" in str(again.text.render())
