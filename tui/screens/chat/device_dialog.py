"""Which device may serve a checkpoint, asked where a training is at work on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from nanochat.common.text import sanitize
from tui.screens.base import Dialog

if TYPE_CHECKING:
    from remote.fleet.services import DeviceOffer


class DeviceDialog(Dialog[str | None]):
    """Returns the device chosen; None leaves the pane without a server. The CPU is marked at first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,alt+escape", "dismiss(None)", "no server", show=False)
    ]

    def __init__(self, host: str, offers: Sequence[DeviceOffer]) -> None:
        super().__init__()
        self._host = host
        self._offers = list(offers)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(f"a training is at work on {sanitize(self._host, 40)}")
            box.border_subtitle = "⏎ serve there · ↑ ↓ · esc: no server"
            yield Static(
                "Which device may serve the model? A GPU with a training loses speed and memory.",
                classes="question",
            )
            yield OptionList(*(self._line(offer) for offer in self._offers))

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        free = [
            number for number, offer in enumerate(self._offers) if not offer.busy_run and not offer.busy_other
        ]
        options.highlighted = free[0] if free else 0
        options.focus()

    def _line(self, offer: DeviceOffer) -> Content:
        words = sanitize(offer.label, 70)
        if offer.busy_run:
            return Content.assemble(
                f"! {words}", (f"\n  in use by {sanitize(offer.busy_run, 60)}", "$warning")
            )
        if offer.busy_other:
            return Content.assemble(f"! {words}", ("\n  in use by somebody else", "$warning"))
        return Content(f"✓ {words}")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._offers[event.option_index].device)
