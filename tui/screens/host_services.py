"""What is served on a host: pin a service so that it outlives the app, or end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content

from nanochat.common.text import duration
from tui.screens.base import Dialog
from tui.widgets.columns import Cell, Column
from tui.widgets.service_lines import LOOKS
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.fleet.services import ServiceState

COLUMNS = (
    Column("device", "device", 8),
    Column("status", "status", 10),
    Column("models", "models in memory", 16, grow=2),
    Column("kept", "kept by", 10, grow=1),
    Column("idle", "idle", 8, "right"),
)


class HostServices(Dialog[tuple[str, str] | None]):
    """Returns what to do, "pin", "unpin" or "end", and the service's id; None when it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,alt+escape", "dismiss(None)", "cancel", show=False),
        Binding("p", "pin", show=False),
        Binding("x", "end", show=False),
    ]

    def __init__(self, host: str, services: Sequence[ServiceState]) -> None:
        super().__init__()
        self._host = host
        self._services = list(services)
        self.table: VirtualTable[ServiceState] = VirtualTable(
            COLUMNS, _cells, lambda state: state.id, empty="nothing is served here: a chat starts it"
        )

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog overlay") as box:
            box.border_title = Content(f"served on {self._host}")
            box.border_subtitle = "p pin or unpin · x end · ↑ ↓ · esc"
            yield self.table

    def on_mount(self) -> None:
        self.table.show(self._services)
        self.table.focus()

    def action_pin(self) -> None:
        state = self.table.current
        if state is not None:
            self.dismiss(("unpin" if state.pinned else "pin", state.id))

    def action_end(self) -> None:
        state = self.table.current
        if state is not None:
            self.dismiss(("end", state.id))


def _cells(state: ServiceState) -> Mapping[str, Cell]:
    glyph, role = LOOKS[state.status]
    kept = [word for word, holds in (("pin", state.pinned), ("app", state.kept)) if holds]
    return {
        "device": (state.device, "strong"),
        "status": (f"{glyph} {state.status}", role),
        "models": (state.problem or ", ".join(state.models) or "none", "bad" if state.problem else ""),
        "kept": (", ".join(kept) or "nobody", ""),
        "idle": (duration(state.idle_seconds) if state.idle_seconds is not None else "", "muted"),
    }
