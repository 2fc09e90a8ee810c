"""The app: the screen in front, the data that screens read, the actions that work everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.dom import DOMNode

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from tui.data.feed import REDRAW_SECONDS
from tui.data.notices import NotificationTracker
from tui.keymap import read_keymap, without_clashes
from tui.keys import bindings
from tui.room_app import RoomApp
from tui.screens.base import ControlScreen, changing_actions
from tui.screens.made import LOADED_FIRST, load_run_screen, load_screen, make_screen
from tui.style.themes import THEMES

if TYPE_CHECKING:
    from textual.command import Provider

    from nanochat.checkpoint.names import CheckpointName
    from nanochat.config.plan import Plan
    from remote.fleet.fleet import Fleet
    from remote.report.write import Written
    from remote.runs import Change, RunRow
    from tui.data.garbage import IdleCollector
    from tui.room import Room
    from tui.screens.chat.screen import ChatScreen

WIDGET_GROUPS = {
    "log": "LogView",
    "plots": "PlotGrid",
    "plot": "Plot",
    "gpus": "GpuGrid",
    "alerts": "Alerts",
    "table": "VirtualTable",
    "columns": "RunTable",
    "host_columns": "HostTable",
    "filter": "FilterField",
    "samples": "Samples",
    "welcome": "Choices",
    "transcript": "Transcript",
    "question": "QuestionField",
    "lines": "LinesView",
    "scores": "ScoreTable",
    "text": "TextField",
    "split": "SplitView",
}
"""The class of the widget that handles each key group; the other groups belong to the screen or the app."""

LOAD_AHEAD_SECONDS = 1.0
"""From the first frame until what the next screen needs is loaded in a thread."""

BASE_SCREENS = 2
"""Screens on the stack when none is open over a tab: Textual's own blank one and the tab."""


def _palette() -> type[Provider]:
    from tui.command_palette import Actions

    return Actions


class ControlRoom(RoomApp):
    """The terminal app over one base directory.

    A fleet is made when none is given. `plan` is submitted to `host` at the start and its runs are shown one
    after the other. With `readonly` no action is offered that changes a host or a file. Without `unicode`
    plots and the machine panel are drawn in ASCII. The app's result is the base directory to open next, if
    the user chose another.
    """

    TITLE = "nanochat"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[Any]] = {_palette}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", show=False, system=True),
        *bindings("app"),
    ]

    def __init__(
        self,
        layout: Layout,
        fleet: Fleet | None = None,
        plan: Plan | None = None,
        host: str = "local",
        readonly: bool = False,
        theme: str = "",
        unicode: bool = True,
    ) -> None:
        super().__init__(layout, fleet)
        self.plan = plan
        self.plan_host = host
        self.readonly = readonly
        self.unicode = unicode
        self.partial = False
        self._followed = ""
        self.keymap: dict[str, str] = {}
        self.window_title = ""
        self.collector: IdleCollector | None = None
        self._tracker = NotificationTracker()
        self._screens: dict[str, ControlScreen] = {}
        for known in THEMES.values():
            self.register_theme(known)
        chosen = theme or str(self.settings.get("theme", "dark"))
        self.theme = chosen if chosen in THEMES else "dark"
        self.stylesheet.set_variables(self.get_css_variables())  # those of the theme chosen, before any CSS
        self._fresh_css: dict[str, str] | None = self.theme_variables

    def refresh_css(self, animate: bool = True) -> None:
        """Parses the styles again for another theme.

        Textual does it once at the start too, though they were parsed for this theme a moment before: that
        took a tenth of the time to the first frame.
        """
        fresh, self._fresh_css = self._fresh_css, None
        if fresh != self.get_css_variables():
            super().refresh_css(animate)

    # ---- what screens read ---------------------------------------------------------------------------

    @property
    def tabs(self) -> list[tuple[str, str, str]]:
        """Number, name and title of every screen in the top bar."""
        return [
            ("1", "runs", "Runs"),
            ("2", "run", "Run"),
            ("3", "tokenizer", "Tokenizer"),
            ("4", "evals", "Evals"),
            ("5", "chat", "Chat"),
            ("6", "checkpoints", "Checkpoints"),
            ("7", "hosts", "Hosts"),
        ]

    def action_target(self, group: str) -> DOMNode:
        """The screen or widget that runs the actions of a key group: the focused one, else the first."""
        if group == "app":
            return self
        kind = WIDGET_GROUPS.get(group)
        if kind is None:
            return self.screen
        near = self.focused.ancestors_with_self if self.focused else []
        return (
            next((node for node in near if kind in (cls.__name__ for cls in type(node).__mro__)), None)
            or self.screen.query(kind).first()
        )

    # ---- start and end -------------------------------------------------------------------------------

    async def on_load(self) -> None:
        self.rows, whole = await self.feed.first_rows()
        self.partial = not whole
        if whole:
            self._tracker.update(self.rows)
        await self.read_hosts()

    def on_mount(self) -> None:
        try:
            self.keymap, wrong = without_clashes(read_keymap(self.layout.base / "keymap.toml"))
            if wrong:
                more = f" ({len(wrong) - 1} more: nanochat doctor)" if len(wrong) > 1 else ""
                self.say(f"keymap.toml: {wrong[0]}{more}", "warning")
        except UserError as error:
            self.say(str(error), "error")
        self.set_keymap(self.keymap)
        for line in self.host_problems:
            self.say(line, "warning")
        live = self.live_run()
        self.run_key = live.key if live else ""
        self.push_screen(self._screen("run" if live else "runs"))
        if not self.rows and self.plan is None and not self.layout.has_runs():
            from tui.screens.welcome import Welcome

            self.push_screen(Welcome())
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self.do(self._start())

    async def _start(self) -> None:
        if self.partial:
            await self.reread()
        await self.feed.start(self._ask_host_key, lambda text: self.say(text, "warning"))
        self.set_interval(REDRAW_SECONDS, self.feed.flush)
        self.set_interval(1.0, self._tick)
        self.links = self.feed.links(self.hosts)
        await self.reread()
        if self.plan is not None:
            from tui.actions.plan import start_plan

            await start_plan(self, self.plan, self.plan_host)
        self.set_timer(LOAD_AHEAD_SECONDS, self._load_ahead)

    async def _load_ahead(self) -> None:
        await asyncio.to_thread(load_run_screen)

    async def on_unmount(self) -> None:
        await self.feed.close()

    # ---- data ----------------------------------------------------------------------------------------

    async def reread(self) -> None:
        """Reads every run again and updates the screen in front."""
        self._on_rows(await self.feed.rows(), frozenset())

    def _pace(self) -> float:
        """Seconds between two deliveries, as the screen in front wants them."""
        return self.screen.pace if self.screen_stack and isinstance(self.screen, ControlScreen) else 0.0

    def _on_rows(self, rows: list[RunRow], changes: frozenset[Change]) -> None:
        self.rows, self.partial = rows, False
        self.links = self.feed.links(self.hosts)
        self.run_key, self._followed = self.listed(self.run_key), self.listed(self._followed)
        for notice in self._tracker.update(rows):
            self.say(notice.text, notice.severity)
            self.bell()
        self._update_screens(changes)
        self._follow_plan()

    def _follow_plan(self) -> None:
        """When the run on screen ends, shows the next run of its plan as soon as that one is at work."""
        run = self.shown_run
        if run is None or getattr(self.screen, "tab", "") != "run":
            return
        if run.live:
            self._followed = run.key
        elif self._followed == run.key:
            from tui.actions.plan import next_to_show

            following = next_to_show(self.rows, run)
            if following:
                self.open_run(following)

    def _update_screens(self, changes: frozenset[Change]) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, ControlScreen) and (screen is self.screen or self.screen.is_modal):
                screen.changed(changes)
                screen.top_bar.update()
        self._show_title()

    def _tick(self) -> None:
        if self.collector is not None:
            self.collector.tick(self.last_input)
        self._show_trouble()
        if self.frozen or not self.screen_stack:  # the timer may fire after the screens are closed
            return
        self.links = self.feed.links(self.hosts)
        screen = self.screen
        if isinstance(screen, ControlScreen):
            screen.tick()

    def _show_trouble(self) -> None:
        """A store that cannot be written concerns every screen: what is shown may be behind."""
        for screen in self.screen_stack:
            if isinstance(screen, ControlScreen):
                screen.banner.show(self.trouble)

    def _show_title(self) -> None:
        from tui.data.window_title import title_sequence, window_title

        title = window_title(self.rows, self.run_key)
        if self._driver is not None and not self.is_headless and not self.lent and title != self.window_title:
            self._driver.write(title_sequence(title, first=not self.window_title))
            self.window_title = title

    # ---- from screen to screen ------------------------------------------------------------------------

    def open_run(self, key: str, follow: bool = False) -> None:
        """Shows one run. With `follow` the rest of its plan is shown even if it has ended already."""
        self.run_key = self.listed(key)
        self._followed = self.run_key if follow else ""
        self.do(self._go("run"))

    def chat_with(self, run: RunRow) -> None:
        """Goes to Chat, with a pane on the newest checkpoint of a run."""
        self.do(self._chat_with(run))

    async def _chat_with(self, run: RunRow) -> None:
        await self._go("chat")
        cast("ChatScreen", self._screen("chat")).chat_with(run)

    def chat_with_checkpoint(self, host: str, name: CheckpointName) -> None:
        """Goes to Chat, with a pane on a checkpoint of a host."""
        self.do(self._chat_with_checkpoint(host, name))

    async def _chat_with_checkpoint(self, host: str, name: CheckpointName) -> None:
        from tui.data.chat.target import CheckpointTarget

        await self._go("chat")
        cast("ChatScreen", self._screen("chat")).chat_with_checkpoint(CheckpointTarget(host, name))

    async def action_go(self, name: str) -> None:
        await self._go(name)

    async def _go(self, name: str) -> None:
        if name == "run" and not self.run_key:
            if not self.rows:
                self.say("there is no run to show yet", "warning")
                return
            self.run_key = (self.live_run() or self.rows[0]).key
        if name in LOADED_FIRST and name not in self._screens:
            await asyncio.to_thread(load_screen, name)
        target = self._screen(name)
        with self.batch_update():  # so that what lies between does not flash up
            while len(self.screen_stack) > BASE_SCREENS:
                await self.pop_screen()
        # Outside: a screen that goes idle within a batch is not painted when the batch ends.
        if self.screen is target:
            target.refresh()
            target.on_screen_resume()
        else:
            await self.switch_screen(target)

    def _screen(self, name: str) -> ControlScreen:
        """The screen called `name`, made when first shown and kept."""
        if name not in self._screens:
            screen = make_screen(name)
            self.install_screen(screen, name)
            self._screens[name] = screen
        return self._screens[name]

    async def action_back(self) -> None:
        screen = self.screen
        if isinstance(screen, ControlScreen) and (screen.leave_field() or screen.go_back()):
            return
        if len(self.screen_stack) > BASE_SCREENS:
            await self.pop_screen()
        elif screen is not self._screen("runs"):
            await self._go("runs")

    def action_help(self) -> None:
        from tui.screens.help import Help

        screen = self.screen
        if isinstance(screen, ControlScreen):
            self.push_screen(Help(screen.about, screen.groups, self.keymap))

    def action_jump(self) -> None:
        from tui.screens.jump import Jump, Place, places

        screen = self.screen

        def chosen(place: Place | None) -> None:
            if place is None:
                return
            if place.action:
                self.call_later(self.run_action, place.action, screen)
            else:
                screen.set_focus(place.widget)

        self.push_screen(Jump(places(screen)), chosen)

    async def action_freeze(self) -> None:
        self.feed.frozen = not self.feed.frozen
        if not self.frozen:
            await self.feed.flush()
        self._update_screens(frozenset())

    def action_next_theme(self) -> None:
        names = list(THEMES)
        self.theme = names[(names.index(self.theme) + 1) % len(names)]
        self.do(asyncio.to_thread(self.settings.set, "theme", self.theme))

    def action_launch(self, host: str = "") -> None:
        from tui.screens.launch import LaunchScreen

        # Kept like the tabs: its hundred widgets are mounted once, and what was typed is still there.
        screen = cast("LaunchScreen", self._screen("launch"))
        if screen not in self.screen_stack:
            screen.begin(host)
            self.push_screen(screen)

    def launch_with(self, host: str, stage: str, values: Mapping[str, Any]) -> None:
        """Opens the form that launches one stage, with these options filled in."""
        from tui.screens.launch import LaunchScreen

        screen = cast("LaunchScreen", self._screen("launch"))
        if screen not in self.screen_stack:
            screen.begin(host, stage, values)
            self.push_screen(screen)

    def show_report(self, written: Written) -> None:
        from tui.screens.report import ReportScreen

        self.push_screen(ReportScreen(written))

    def action_messages(self) -> None:
        from tui.screens.messages import MessageList

        self.push_screen(MessageList(list(self.messages)))

    def action_plan(self) -> None:
        from tui.screens.plan import PlanScreen

        self.push_screen(PlanScreen())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (self.readonly and action in changing_actions(()))


if TYPE_CHECKING:
    _: type[Room] = ControlRoom  # mypy checks that the app provides what screens and actions use
