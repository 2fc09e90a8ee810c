"""No error ends the app: whatever raises, one line says so, and every key works on."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.css.query import NoMatches
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from remote.report.write import Written
from remote.runs import Change
from remote.transport.base import UnknownHostKey
from tests.tui.conftest import Bench, settle
from tests.tui.screens.evals_bench import choice_item, evaluation, install, write_items
from tests.tui.screens.vocabulary_bench import chosen
from tests.tui.test_keys import OWNERS
from tui.app import ControlRoom
from tui.data.chat.prompt_set import Prompt
from tui.data.error_report import keep_traceback
from tui.data.feed import Feed
from tui.data.tokenizer.characters import Glyphs
from tui.data.tokenizer.chosen import Chosen
from tui.data.tokenizer.splitting import Work
from tui.keys import KEYS, Key
from tui.screens.ask import Ask
from tui.screens.chat.diff import DiffScreen, Side
from tui.screens.chat.prompt_table import PromptTable
from tui.screens.evals.curve import CurveScreen
from tui.screens.evals.difference import DifferenceScreen
from tui.screens.evals.item import ItemScreen
from tui.screens.evals.items import ItemsScreen
from tui.screens.help import Help
from tui.screens.host_key import HostKey
from tui.screens.hosts import HostsScreen
from tui.screens.launch import LaunchScreen
from tui.screens.messages import MessageList
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen
from tui.screens.sample import SampleScreen
from tui.screens.tokenizer.compare import CompareVocabularies
from tui.screens.tokenizer.heat import HeatScreen
from tui.screens.tokenizer.parts import PARTS, load_part
from tui.screens.tokenizer.replay import ReplayScreen
from tui.screens.tokenizer.token import TokenScreen
from tui.screens.tokenizer.vocabulary import VocabularyScreen
from tui.screens.welcome import Welcome
from tui.widgets.chat.transcript import Transcript
from tui.widgets.evals.item_table import ItemTable
from tui.widgets.log_view import LogView
from tui.widgets.message_line import MessageLine
from tui.widgets.run_table import RunTable
from tui.widgets.samples import Samples
from tui.widgets.table import VirtualTable

ERRORS = [UserError("no such thing", "try another"), RuntimeError("never expected")]
WHERE = {
    "app": ("runs", ""),
    "runs": ("runs", ""),
    "run": ("run", ""),
    "plot": ("run", "Plot"),
    "plots": ("run", "Plot"),
    "gpus": ("run", "GpuGrid"),
    "log": ("run", "LogView"),
    "alerts": ("run", "Alerts"),
    "hosts": ("hosts", ""),
    "launch": ("launch", ""),
    "plan": ("plan", ""),
    "welcome": ("welcome", "Choices"),
    "panes": ("run", ""),
    "samples": ("run", "Samples"),
    "sample": ("run", "Samples"),
    "report": ("report", "LinesView"),
    "filter": ("runs", "FilterField"),
    "table": ("runs", ""),
    "columns": ("runs", ""),
    "host_columns": ("hosts", ""),
    "chat": ("chat", "Transcript"),
    "question": ("chat", "QuestionField"),
    "transcript": ("chat", "Transcript"),
    "lines": ("diff", "LinesView"),
    "compare": ("compare", "Plot"),
    "diff": ("diff", "LinesView"),
    "prompts": ("prompts", "VirtualTable"),
    "evals": ("evals", ""),
    "checkpoints": ("checkpoints", ""),
    "scores": ("evals", ""),
    "items": ("items", "ItemTable"),
    "item": ("item", "LinesView"),
    "paired": ("paired", "DifferenceTable"),
    "curve": ("curve", "Plot"),
    "mask": ("mask", ""),
    "training": ("train", ""),
    "sweep": ("sweep", "Plot"),
    "data_stats": ("data", ""),
    "tokenizer": ("tokenizer", "SplitView"),
    "text": ("tokenizer", "TextField"),
    "split": ("tokenizer", "SplitView"),
    "replay": ("replay", ""),
    "vocabulary": ("vocabulary", "VocabularyTable"),
    "token": ("token", ""),
    "heat": ("heat", "HeatTable"),
    "vocabularies": ("vocabularies", "DifferingTable"),
}
"""The screen, and the widget to focus there, on which the keys of a group work."""


async def open_for(group: str, bench: Bench, app: ControlRoom, pilot: Pilot[str]) -> None:
    """Goes to where the keys of a group work."""
    screen, focused = WHERE[group]
    if screen == "launch":
        app.action_launch()
    elif screen == "plan":
        app.action_plan()
    elif screen == "report":
        app.show_report(Written(bench.layout.base / "report", "# A report\n\n## Summary\n"))
    elif screen == "compare":
        await app.open_comparison([run.key for run in app.rows if run.stage == "base_train"][:2])
    elif screen in ("chat", "diff", "prompts"):
        await open_chat(screen, app, pilot)
    elif screen in ("evals", "items", "item", "paired", "curve"):
        await open_evals(screen, bench, app, pilot)
    elif screen in ("vocabulary", "token", "heat", "vocabularies", "replay"):
        await open_vocabulary(screen, bench, app, pilot)
    elif screen in PARTS:
        await app.action_go("tokenizer")
        await app.push_screen(load_part(screen)(Chosen()))
    elif screen != "welcome":
        await app.action_go(screen)
    await settle(pilot)
    if group == "table":
        app.screen.query(VirtualTable).first().action_wide()  # two of its keys are for the wide mode
    if group == "filter":
        await pilot.press("slash")
    if focused:
        await settle(pilot, lambda: bool(app.screen.query(focused)))
        widget = app.screen.query(focused).first()
        await settle(pilot, lambda: widget.display)
        widget.focus()
        await settle(pilot, lambda: app.focused is widget)
    if group == "transcript":
        app.screen.query(Transcript).first().find("x")  # two of its keys are for a search
    if group == "sample":
        await settle(pilot, lambda: bool(app.screen.query_one(Samples).samples))
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, SampleScreen))


async def open_chat(screen: str, app: ControlRoom, pilot: Pilot[str]) -> None:
    """The Chat screen with two panes on a port where nothing listens, or a screen that it opens."""
    targets = ["http://127.0.0.1:9 a", "http://127.0.0.1:9 b"]
    app.settings.set("chat", {"panes": {"panes": [{"target": target} for target in targets]}})
    await app.action_go("chat")
    await settle(pilot, lambda: len(app.screen.query(Transcript)) == len(targets))
    await settle(pilot)
    if screen == "diff":
        await app.push_screen(DiffScreen([Side("A", "a", "one two"), Side("B", "b", "one three")], 0))
    elif screen == "prompts":
        panes = app.screen.panes.panes  # type: ignore[attr-defined]
        await app.push_screen(PromptTable(panes, [Prompt("Where?", ())], "prompts.txt"))


async def open_evals(screen: str, bench: Bench, app: ControlRoom, pilot: Pilot[str]) -> None:
    """The Evals screen with two evaluations, or a screen that it opens."""
    at = write_items(bench, "items.jsonl", [choice_item("copa", at, at % 2 == 0) for at in range(4)])
    one, other = (evaluation(step, "base/d12", step, items=at) for step in (1, 2))
    install(bench, [one, other])
    await app.action_go("evals")
    await settle(pilot)
    if screen == "paired":
        await app.push_screen(DifferenceScreen(one, other, [other]))
    elif screen == "curve":
        await app.push_screen(CurveScreen(one, [one, other]))
    elif screen != "evals":
        await app.push_screen(ItemsScreen(one, "copa", "", [other]))
        table = app.screen.query_one(ItemTable)
        await settle(pilot, lambda: bool(table.items))
        if screen == "item":
            await pilot.press("enter")
            await settle(pilot, lambda: isinstance(app.screen, ItemScreen))


async def open_vocabulary(screen: str, bench: Bench, app: ControlRoom, pilot: Pilot[str]) -> None:
    """The screens about a vocabulary, with two small tokenizers."""
    made = chosen(bench.layout, ("news", 300), ("code", 300))
    splitter = made.panes[0].splitter
    screens = {
        "vocabulary": lambda: VocabularyScreen(made),
        "token": lambda: TokenScreen(splitter, 260, None, 0),
        "heat": lambda: HeatScreen(made),
        "replay": lambda: ReplayScreen(made, Work(Glyphs())),
        "vocabularies": lambda: CompareVocabularies(made),
    }
    await app.push_screen(screens[screen]())


def make_raise(patch: pytest.MonkeyPatch, key: Key, error: Exception) -> None:
    """The action of a key raises, whoever defines it."""

    def raises(*_: Any) -> None:
        raise error

    name = key.action.partition("(")[0]
    owner = ControlRoom if name.startswith("app.") else OWNERS[key.id.partition(".")[0]]
    patch.setattr(owner, f"action_{name.removeprefix('app.')}", raises)


async def said(app: ControlRoom, pilot: Pilot[str], error: Exception) -> None:
    """The app says the error on the screen in front, and forgets it for the next one."""
    await settle(pilot, lambda: any(str(error) in message.text for message in app.messages))
    assert app.is_running and app.screen.is_running and app._exception is None
    line = str(app.screen.query_one(MessageLine).render())
    assert line.strip().startswith("✗")
    if isinstance(error, UserError):
        assert str(error) in line and not app.unexpected
    else:
        kept = next(iter((app.base / "errors").iterdir()))
        assert str(kept) in app.messages.current().text  # type: ignore[union-attr]
        assert "never expected" in kept.read_text() and "Traceback" in kept.read_text()
    app.messages._said.clear()
    app.unexpected.clear()


async def works(app: ControlRoom, pilot: Pilot[str]) -> None:
    """The app takes keys and moves between screens."""
    await app.action_go("hosts")
    await settle(pilot)
    await pilot.press("f1")
    await settle(pilot, lambda: isinstance(app.screen, RunsScreen))


@pytest.mark.slow
@pytest.mark.parametrize("group", list(KEYS))
async def test_any_action_may_raise(bench: Bench, monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    if group != "welcome":
        key = bench.run("one", status="failed")
        bench.training(key, steps=30)
        bench.events(key, [{"kind": "sample", "step": 2, "data": {"prompt": "A", "text": "A b"}}])
        bench.events(key, [{"kind": "alert", "step": 3, "data": {"level": "warn", "message": "spike"}}])
        if group == "compare":
            bench.run("another", status="failed")
    async with bench.open() as (app, pilot):
        await open_for(group, bench, app, pilot)
        first, *others = KEYS[group]
        for entry, error in [
            *((first, error) for error in ERRORS),
            *((entry, ERRORS[-1]) for entry in others),
        ]:
            with monkeypatch.context() as patch:
                make_raise(patch, entry, error)
                await pilot.press(entry.keys.partition(",")[0])
                await said(app, pilot, error)
        await works(app, pilot)


async def test_any_work_in_the_background_may_raise(bench: Bench) -> None:
    bench.run("one")

    async def work(error: Exception) -> None:
        await asyncio.sleep(0)
        raise error

    async with bench.open() as (app, pilot):
        table = app.screen.query_one("#runs")
        starts: list[Callable[[Any], object]] = [app.do, app.screen.run_worker, table.run_worker]
        for begin, error in itertools.product(starts, ERRORS):
            begin(work(error))
            await said(app, pilot, error)
        await works(app, pilot)


async def test_every_screens_tick_may_raise(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run("one")

    def raising(error: Exception) -> Callable[[Any], None]:
        def tick(self: Any) -> None:
            raise error

        return tick

    async with bench.open() as (app, pilot):
        for screen, error in zip((RunsScreen, RunScreen, HostsScreen), [*ERRORS, ERRORS[0]], strict=True):
            await app.action_go(screen.tab)
            await settle(pilot)
            with monkeypatch.context() as patch:
                patch.setattr(screen, "tick", raising(error))
                await said(app, pilot, error)
        await works(app, pilot)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_reading_the_runs_may_raise_and_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bench.run("one")

    async def rows(self: Feed) -> None:
        raise error

    async with bench.open() as (app, pilot):
        with monkeypatch.context() as patch:
            patch.setattr(Feed, "rows", rows)
            app.feed._note(Change("state", "local", "x"))
            await said(app, pilot, error)
        bench.run("another")
        app.feed._note(Change("state", "local", "y"))
        await settle(pilot, lambda: len(app.rows) == 2)


async def raise_in_handler(
    app: ControlRoom, pilot: Pilot[str], patch: pytest.MonkeyPatch, raises: Any
) -> None:
    patch.setattr(RunsScreen, "on_input_changed", raises)
    await pilot.press("slash", "x")


async def raise_in_watcher(
    app: ControlRoom, pilot: Pilot[str], patch: pytest.MonkeyPatch, raises: Any
) -> None:
    await app.action_go("run")
    await settle(pilot)
    view = app.screen.query_one(LogView)
    await settle(pilot, lambda: view.max_scroll_y > 0)
    patch.setattr(LogView, "watch_scroll_y", raises)
    view.focus()
    await pilot.press("up")


async def raise_in_mount(app: ControlRoom, pilot: Pilot[str], patch: pytest.MonkeyPatch, raises: Any) -> None:
    patch.setattr(Help, "on_mount", raises, raising=False)
    await pilot.press("question_mark")


async def raise_in_compose(
    app: ControlRoom, pilot: Pilot[str], patch: pytest.MonkeyPatch, raises: Any
) -> None:
    patch.setattr(Help, "compose", raises)
    await pilot.press("question_mark")


async def raise_in_constructor(
    app: ControlRoom, pilot: Pilot[str], patch: pytest.MonkeyPatch, raises: Any
) -> None:
    patch.setattr(Help, "__init__", raises)
    await pilot.press("question_mark")


async def raise_in_timer(app: ControlRoom, pilot: Pilot[str], patch: pytest.MonkeyPatch, raises: Any) -> None:
    app.screen.set_timer(0.01, lambda: raises())


async def raise_in_later_call(
    app: ControlRoom, pilot: Pilot[str], patch: pytest.MonkeyPatch, raises: Any
) -> None:
    app.screen.call_after_refresh(raises)
    app.screen.refresh()


async def raise_in_result(
    app: ControlRoom, pilot: Pilot[str], patch: pytest.MonkeyPatch, raises: Any
) -> None:
    app.push_screen(Ask("what?"), raises)
    await settle(pilot)
    await pilot.press("x", "enter")


async def raise_in_palette(
    app: ControlRoom, pilot: Pilot[str], patch: pytest.MonkeyPatch, raises: Any
) -> None:
    patch.setattr(ControlRoom, "action_next_theme", raises)
    await pilot.press("ctrl+p")
    await settle(pilot)
    await pilot.press(*"next theme")
    await settle(pilot, lambda: bool(app.screen.query("CommandList")))
    await pilot.pause(0.4)
    await pilot.press("enter")


RAISED_IN = [
    raise_in_handler,
    raise_in_watcher,
    raise_in_mount,
    raise_in_compose,
    raise_in_constructor,
    raise_in_timer,
    raise_in_later_call,
    raise_in_result,
    raise_in_palette,
]


@pytest.mark.slow
@pytest.mark.parametrize("place", RAISED_IN, ids=lambda place: place.__name__)
async def test_a_handler_a_watcher_and_whatever_else_textual_calls_may_raise(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    bench.fleet.text[bench.run("one")] = b"a line\n" * 500
    async with bench.open() as (app, pilot):
        for error in ERRORS:

            def raises(*_: Any, error: Exception = error, **__: Any) -> None:
                raise error

            with monkeypatch.context() as patch:
                await place(app, pilot, patch, raises)
                await said(app, pilot, error)
            await pilot.press("escape", "escape")
            await settle(pilot)
            app.unexpected.clear()
            await works(app, pilot)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_a_widget_that_cannot_be_drawn_does_not_end_the_app(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bench.run("one")

    def render_line(self: RunTable, y: int) -> Strip:
        raise error

    async with bench.open() as (app, pilot):
        with monkeypatch.context() as patch:
            patch.setattr(RunTable, "render_line", render_line)
            app.screen.query_one(RunTable).refresh()
            while not len(app.messages):  # the pilot would draw, and so raise, in the test itself
                await asyncio.sleep(0.05)
        await said(app, pilot, error)
        await works(app, pilot)


async def test_an_error_before_the_first_screen_is_one_line_at_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def rows(self: Feed) -> None:
        raise UserError("no store", "make one", 1)

    monkeypatch.setattr(Feed, "first_rows", rows)
    app = bench.app()
    await app.run_async(headless=True)
    assert app.return_code == 1
    assert capsys.readouterr().err.strip() == "nanochat: no store (make one)"


def test_a_traceback_is_kept_without_values_and_elsewhere_when_the_base_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(password: str) -> None:
        raise ValueError("by design")

    with pytest.raises(ValueError, match="by design") as caught:
        fails("secret words")
    kept = keep_traceback(caught.value, tmp_path, "screen Runs")
    again = keep_traceback(caught.value, tmp_path, "screen Runs")
    assert kept is not None and again is not None and kept != again
    text = kept.read_text()
    assert kept.parent == tmp_path / "errors"
    assert "by design" in text and "screen Runs" in text and 'fails("secret' in text
    assert "password=" not in text
    (tmp_path / "file").touch()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    elsewhere = keep_traceback(caught.value, tmp_path / "file", "")
    assert elsewhere is not None and elsewhere.parent == temporary
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    assert keep_traceback(caught.value, tmp_path / "file", "") is None


def test_only_so_many_tracebacks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.data.error_report.KEPT", 3)
    kept = [keep_traceback(ValueError(str(number)), tmp_path, "") for number in range(5)]
    assert sorted((tmp_path / "errors").iterdir()) == sorted(path for path in kept[2:] if path)


async def test_an_error_that_comes_again_is_kept_once(bench: Bench) -> None:
    bench.run("one")

    def fails() -> None:
        raise RuntimeError("again and again")

    async with bench.open() as (app, pilot):
        for _ in range(5):
            app.screen.call_later(fails)
        await settle(pilot, lambda: len(app.unexpected) == 5)
        assert len(list((app.base / "errors").iterdir())) == 1
        app.unexpected.clear()


# ---- work that comes back to a screen -----------------------------------------------------------------


async def test_work_ends_with_its_screen(bench: Bench) -> None:
    """Also while the screen's own widgets are being removed, one after the other."""
    bench.run("one")
    ended: list[str] = []

    async with bench.open() as (app, pilot):
        screen = Welcome()

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("cancelled with its widgets" if screen.query("OptionList") else "too late")

        await app.push_screen(screen)
        screen.run_worker(work())
        await settle(pilot)
        await app.pop_screen()
        assert ended == ["cancelled with its widgets"]


@pytest.mark.slow
async def test_leaving_launch_while_the_host_is_probed_does_no_harm(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run("one")
    answer = asyncio.Event()
    probe = type(bench.fleet).probe

    async def slow_probe(self: Any, name: str) -> Any:
        await answer.wait()
        return await probe(self, name)

    monkeypatch.setattr(type(bench.fleet), "probe", slow_probe)
    async with bench.open() as (app, pilot):
        await pilot.press("n")
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen))
        await pilot.pause(0.3)  # the estimate waits for typing to pause
        await pilot.press("escape", "escape")
        await settle(pilot, lambda: isinstance(app.screen, RunsScreen))
        answer.set()
        await settle(pilot)
        assert not app.unexpected


@pytest.mark.slow
async def test_the_form_is_still_filled_in_after_a_look_at_another_screen(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        await pilot.press("n")
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen))
        app.screen.query_one("#name", Input).value = "my run"
        await pilot.press("f1")
        await settle(pilot, lambda: isinstance(app.screen, RunsScreen))
        await pilot.press("n")
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen))
        assert app.screen.query_one("#name", Input).value == "my run"
        assert app.focused is app.screen.query_one("#stage")


async def test_keys_in_the_first_moments_do_no_harm(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run("one")

    async def never(self: Feed, *_: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(Feed, "start", never)
    app = ControlRoom(bench.layout)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("7")
        await settle(pilot, lambda: isinstance(app.screen, HostsScreen))
        await pilot.press("c")
        await settle(pilot)
        assert "still starting" in str(app.screen.query_one("#detail").render())
        await pilot.press("t")
        await settle(pilot)
        assert not app.unexpected


async def test_a_theme_that_cannot_be_remembered_is_shown_and_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run("one")

    def full(*_: Any, **__: Any) -> None:
        raise UserError("cannot write control-room.json: No space left on device", "nothing was changed")

    monkeypatch.setattr("tui.data.settings.atomic_write", full)
    async with bench.open() as (app, pilot):
        await pilot.press("T")
        await settle(pilot, lambda: app.message is not None)
        assert app.theme == "light"
        assert "No space left" in app.message.text  # type: ignore[union-attr]


# ---- host keys ----------------------------------------------------------------------------------------


async def test_the_question_for_a_host_key_goes_away_with_who_asked(bench: Bench) -> None:
    bench.run("one")
    unknown = UnknownHostKey("box", "box:22", "ssh-ed25519", "SHA256:x", bench.layout.known_hosts, "line")
    async with bench.open() as (app, pilot):
        asking = asyncio.create_task(app._ask_host_key(unknown))
        await settle(pilot, lambda: isinstance(app.screen, HostKey))
        asking.cancel()
        await settle(pilot, lambda: isinstance(app.screen, RunsScreen))
        asking = asyncio.create_task(app._ask_host_key(unknown))
        await settle(pilot, lambda: isinstance(app.screen, HostKey))
        app.push_screen(Ask("something over it"))
        await settle(pilot)
        asking.cancel()
        await settle(pilot)
        assert isinstance(app.screen, Ask)
        await pilot.press("escape")
        await settle(pilot, lambda: isinstance(app.screen, RunsScreen))
        asking = asyncio.create_task(app._ask_host_key(unknown))
        await settle(pilot, lambda: isinstance(app.screen, HostKey))
        await pilot.press("y")
        assert await asking


# ---- messages -----------------------------------------------------------------------------------------


async def test_a_message_is_one_line_above_the_keys_of_whatever_is_in_front(bench: Bench) -> None:
    bench.run("one")
    async with bench.open(size=(80, 24)) as (app, pilot):
        for show in (lambda: None, app.action_launch, app.action_help, app.action_command_palette):
            show()
            await settle(pilot)
            app.say("two\nlines of [b]text[/b]", "warning")
            await settle(pilot)
            line = app.screen.query_one(MessageLine)
            assert line.region.y == 22 and line.region.height == 1
            assert str(line.render()).strip() == "! two lines of [b]text[/b]"


async def test_an_error_stays_longer_and_comes_back_after_what_is_said_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run("one")
    now = [1000.0]
    monkeypatch.setattr("tui.data.messages.monotonic", lambda: now[0])
    monkeypatch.setattr("tui.room.monotonic", lambda: now[0])
    async with bench.open() as (app, _):
        app.say("it broke", "error")
        app.say("copied")
        assert app.message and app.message.text == "copied"
        now[0] += 5
        assert app.message and app.message.text == "it broke"
        now[0] += 60
        assert app.message is None
        assert str(app.screen.query_one(MessageLine).render()) == ""


async def test_a_long_message_is_cut_and_read_whole_in_the_list(bench: Bench) -> None:
    bench.run("one")
    text = "a very long line " * 20 + "and its end"
    async with bench.open(size=(80, 24)) as (app, pilot):
        app.say(text, "error")
        await settle(pilot)
        shown = app.screen.query_one(MessageLine).render()
        assert shown.cell_length == 80 and str(shown).endswith("… F8 shows all ")  # type: ignore[union-attr]
        await pilot.press("f8")
        await settle(pilot, lambda: isinstance(app.screen, MessageList))
        assert text in str(app.screen.query("Static").first().render())


async def test_what_textual_has_to_say_comes_on_the_same_line(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        app.notify("[b]saved[/b]", title="Screenshot")
        await settle(pilot, lambda: app.message is not None)
        assert app.message and app.message.text == "Screenshot: saved"
        assert not app._notifications


@pytest.mark.parametrize(("error", "kept"), [(NoMatches, 0), (RuntimeError, 1)])
async def test_a_widget_missed_while_the_app_closes_is_no_error(
    bench: Bench, error: type[Exception], kept: int
) -> None:
    class Late(Static):
        def on_unmount(self) -> None:
            raise error("its neighbours are gone")

    bench.run("one")
    async with bench.open() as (app, _pilot):
        await app.screen.mount(Late())
        await app._shutdown()
        assert len(app.unexpected) == kept
        app.unexpected.clear()
