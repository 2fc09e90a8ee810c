"""The first-use page: nothing has run here yet, so what would you like?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from nanochat.common.paths import base_dir
from tui.keys import bindings
from tui.screens.base import ControlScreen

if TYPE_CHECKING:
    from remote.runs import Change

CHOICES = (
    ("demo", "Run the demo", "a small language model on this machine, in about 5 minutes"),
    ("launch", "Launch one stage", "fill in a form, see the exact command, start it"),
    ("host", "Add a machine over SSH", "a GPU node to run stages on"),
    ("open", "Open an existing base directory", "runs, checkpoints and data made before"),
    ("runs", "Just look around", "the empty Runs screen"),
)


class Choices(OptionList):
    """The list of things to do first."""

    BINDINGS = bindings("welcome")

    def action_choose(self) -> None:
        self.action_select()


class Welcome(ControlScreen):
    """Offers the demo, adding a host and opening another base directory."""

    tab = "runs"
    groups = ("welcome",)
    about = "Nothing has run in this base directory yet. Choose with the arrow keys and enter."
    AUTO_FOCUS = "OptionList"

    def body(self) -> Iterable[Widget]:
        shown = (
            CHOICES if not self.room.readonly else [item for item in CHOICES if item[0] in ("open", "runs")]
        )
        with Vertical(id="welcome"):
            yield Static(
                Content.styled("Train your own language model, end to end, from here.", "bold"), id="hello"
            )
            yield Static(
                Content.assemble(("base directory  ", "$muted"), str(self.room.layout.base)), id="where"
            )
            yield Choices(
                *(
                    Option(Content.assemble((f"{title}\n", "bold"), (text, "$muted")), id=name)
                    for name, title, text in shown
                )
            )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        if event.option_id == "demo":
            self.room.do(self._demo())
        elif event.option_id == "launch":
            self.room.action_launch()
        elif event.option_id == "host":
            self.room.do(self._add_host())
        elif event.option_id == "open":
            self._open()
        else:
            self.room.do(self.room.action_go("runs"))

    def changed(self, changes: frozenset[Change]) -> None:
        """Leaves when runs are found on a host: the Runs screen below shows them."""
        if self.room.rows and self.is_current:
            self.app.call_later(self._leave)

    async def _leave(self) -> None:
        if self.is_current:
            await self.app.pop_screen()

    async def _demo(self) -> None:
        from nanochat.config.plan import load_plan
        from tui.actions.plan import start_plan

        await start_plan(self.room, load_plan("demo", self.room.layout), "local")

    async def _add_host(self) -> None:
        from tui.screens.add_host import AddHost

        await self.room.action_go("hosts")
        self.app.push_screen(AddHost())

    def _open(self) -> None:
        from tui.screens.ask import Ask

        def chosen(text: str | None) -> None:
            if text:
                path = base_dir(text)
                if path.is_dir():
                    self.app.exit(str(path))
                else:
                    self.room.say(f"no folder {path}", "error")

        self.app.push_screen(Ask("base directory to open", "~/.cache/nanochat"), chosen)
