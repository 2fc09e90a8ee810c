"""Every key has a stable id, does something, is explained, and can be remapped."""

from collections import Counter
from pathlib import Path

import pytest
from textual.binding import Binding

from nanochat.common.errors import UserError
from tests.tui.conftest import Bench, settle
from tui.app import ControlRoom
from tui.command_palette import Actions
from tui.keymap import read_keymap
from tui.keys import BY_ID, KEYS, bindings
from tui.screens.chat.diff import DiffScreen
from tui.screens.chat.prompt_table import PromptTable
from tui.screens.chat.screen import ChatScreen
from tui.screens.checkpoints.screen import CheckpointsScreen
from tui.screens.compare.screen import CompareScreen
from tui.screens.evals.curve import CurveScreen
from tui.screens.evals.difference import DifferenceScreen
from tui.screens.evals.item import ItemScreen
from tui.screens.evals.items import ItemsScreen
from tui.screens.evals.screen import EvalsScreen
from tui.screens.help import TITLES
from tui.screens.hosts import HostsScreen, HostTable
from tui.screens.launch import LaunchScreen
from tui.screens.panes import PaneScreen
from tui.screens.plan import PlanScreen
from tui.screens.report import ReportScreen
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen
from tui.screens.sample import SampleScreen
from tui.screens.tokenizer.compare import CompareVocabularies
from tui.screens.tokenizer.data_stats import DataStatsScreen
from tui.screens.tokenizer.heat import HeatScreen
from tui.screens.tokenizer.mask import MaskScreen
from tui.screens.tokenizer.replay import ReplayScreen
from tui.screens.tokenizer.screen import TokenizerScreen
from tui.screens.tokenizer.sweep import SweepScreen
from tui.screens.tokenizer.token import TokenScreen
from tui.screens.tokenizer.train import TrainScreen
from tui.screens.tokenizer.vocabulary import VocabularyScreen
from tui.screens.welcome import Choices
from tui.widgets.alerts import Alerts
from tui.widgets.chat.lines_view import LinesView
from tui.widgets.chat.question_field import QuestionField
from tui.widgets.chat.transcript import Transcript
from tui.widgets.evals.score_table import ScoreTable
from tui.widgets.filter_field import FilterField
from tui.widgets.gpu_grid import GpuGrid
from tui.widgets.log_view import LogView
from tui.widgets.plot import Plot
from tui.widgets.plot_grid import PlotGrid
from tui.widgets.run_table import RunTable
from tui.widgets.samples import Samples
from tui.widgets.table import VirtualTable
from tui.widgets.tokenizer.split_view import SplitView
from tui.widgets.tokenizer.text_field import TextField

OWNERS = {
    "app": ControlRoom,
    "runs": RunsScreen,
    "run": RunScreen,
    "compare": CompareScreen,
    "log": LogView,
    "hosts": HostsScreen,
    "launch": LaunchScreen,
    "plan": PlanScreen,
    "welcome": Choices,
    "panes": PaneScreen,
    "samples": Samples,
    "sample": SampleScreen,
    "report": ReportScreen,
    "table": VirtualTable,
    "columns": RunTable,
    "host_columns": HostTable,
    "filter": FilterField,
    "plot": Plot,
    "plots": PlotGrid,
    "gpus": GpuGrid,
    "alerts": Alerts,
    "chat": ChatScreen,
    "question": QuestionField,
    "transcript": Transcript,
    "lines": LinesView,
    "diff": DiffScreen,
    "prompts": PromptTable,
    "evals": EvalsScreen,
    "checkpoints": CheckpointsScreen,
    "scores": ScoreTable,
    "items": ItemsScreen,
    "item": ItemScreen,
    "paired": DifferenceScreen,
    "curve": CurveScreen,
    "mask": MaskScreen,
    "training": TrainScreen,
    "sweep": SweepScreen,
    "data_stats": DataStatsScreen,
    "tokenizer": TokenizerScreen,
    "vocabulary": VocabularyScreen,
    "token": TokenScreen,
    "heat": HeatScreen,
    "vocabularies": CompareVocabularies,
    "text": TextField,
    "split": SplitView,
    "replay": ReplayScreen,
}
IDS_OF_0_1_0 = {
    "app": "runs run hosts back help palette freeze theme launch plan quit",
    "runs": "open launch plan stop resume filter sort reverse pin copy shell",
    "run": "log stop resume smooth logy zoom filter copy previous next shell",
    "plot": "zoom_in zoom_out left right cursor_left cursor_right all full",
    "plots": "axis superseded next previous",
    "gpus": "heat",
    "log": "find filter next previous follow top bottom up down page_up page_down left right",
    "alerts": "go",
    "hosts": "connect add test remove commands launch shell",
    "launch": "start copy default next previous",
    "plan": "start copy",
    "welcome": "choose",
    "table": "up down page_up page_down first last",
}
"""What a keymap file of 0.1.0 may name, by group: later versions must still accept it."""
KEY_LIST = [key for group in KEYS.values() for key in group]


def test_ids_are_unique_and_begin_with_their_group() -> None:
    assert not [name for name, count in Counter(key.id for key in KEY_LIST).items() if count > 1]
    assert all(key.id.partition(".")[0] == group for group, keys in KEYS.items() for key in keys)


@pytest.mark.parametrize("key", KEY_LIST, ids=lambda key: key.id)
def test_every_action_exists_where_its_keys_are_bound(key) -> None:  # type: ignore[no-untyped-def]
    group = key.id.partition(".")[0]
    name = key.action.partition("(")[0]
    owner = ControlRoom if name.startswith("app.") else OWNERS[group]
    assert hasattr(owner, "action_" + name.removeprefix("app."))


@pytest.mark.parametrize("group", list(KEYS))
def test_every_group_is_bound_by_its_owner_and_titled_in_help(group: str) -> None:
    ids = {binding.id for binding in OWNERS[group].BINDINGS if isinstance(binding, Binding)}
    assert ids >= {key.id for key in KEYS[group]}
    assert group in TITLES


@pytest.mark.parametrize("group", list(KEYS))
def test_within_a_group_no_key_means_two_things(group: str) -> None:
    keys = [key for binding in bindings(group) for key in binding.key.split(",")]  # type: ignore[union-attr]
    assert not [key for key, count in Counter(keys).items() if count > 1]


def test_a_keymap_file_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "keymap.toml"
    assert read_keymap(path) == {}
    path.write_text('"runs.stop" = "ctrl+x"\n')
    assert read_keymap(path) == {"runs.stop": "ctrl+x"}
    path.write_text('"runs.stpo" = "x"\n')
    with pytest.raises(UserError, match=r"did you mean 'runs\.stop'"):
        read_keymap(path)
    path.write_text('"runs.stop" = 3\n')
    with pytest.raises(UserError, match="needs keys as text"):
        read_keymap(path)
    path.write_text("no toml")
    with pytest.raises(UserError, match=r"keymap\.toml"):
        read_keymap(path)


def test_a_keymap_file_of_0_1_0_is_still_accepted(tmp_path: Path) -> None:
    ids = {f"{group}.{name}" for group, names in IDS_OF_0_1_0.items() for name in names.split()}
    path = tmp_path / "keymap.toml"
    path.write_text("".join(f'"{name}" = "f9"\n' for name in sorted(ids)))
    assert read_keymap(path).keys() == ids


async def test_a_remapped_key_works_and_help_shows_it(bench: Bench) -> None:
    bench.run("one")
    (bench.layout.base / "keymap.toml").write_text('"app.help" = "ctrl+g"\n"runs.filter" = "ctrl+f"\n')
    async with bench.open() as (app, pilot):
        await pilot.press("question_mark")
        assert type(app.screen).__name__ == "RunsScreen"
        await pilot.press("ctrl+g")
        await settle(pilot)
        assert type(app.screen).__name__ == "Help"
        shown = " ".join(str(widget.render()) for widget in app.screen.query("Static"))
        assert "ctrl+f" in shown
        assert BY_ID["runs.filter"].help in shown


async def test_a_broken_keymap_is_reported_and_the_app_works(bench: Bench) -> None:
    bench.run("one")
    (bench.layout.base / "keymap.toml").write_text('"nothing.there" = "x"\n')
    async with bench.open() as (app, pilot):
        assert any("nothing.there" in said.text for said in app.messages)
        await pilot.press("question_mark")
        await settle(pilot)
        assert type(app.screen).__name__ == "Help"


@pytest.mark.parametrize("tab", ["runs", "run", "tokenizer", "evals", "chat", "checkpoints", "hosts"])
async def test_every_action_of_the_palette_has_a_target(bench: Bench, tab: str) -> None:
    bench.run("one", status="running")
    async with bench.open() as (app, pilot):
        await app.action_go(tab)
        await settle(pilot)
        found = list(Actions(app.screen)._actions())
        assert len(found) > 12
        for _, _, key in found:
            action = key.action.partition("(")[0]
            node = app if action.startswith("app.") else app.action_target(key.id.partition(".")[0])
            assert hasattr(node, "action_" + action.removeprefix("app.")), key.id
