"""An unknown host key is shown and asked about; a changed one is never offered."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from tui.screens.base import Dialog

if TYPE_CHECKING:
    from remote.transport.base import UnknownHostKey


class HostKey(Dialog[bool]):
    """Returns True when the key is to be trusted from now on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "trust it", show=False),
        Binding("escape,alt+escape,n", "dismiss(False)", "do not connect", show=False),
    ]

    def __init__(self, unknown: UnknownHostKey) -> None:
        super().__init__()
        self._unknown = unknown
        self._withdrawn = False

    def withdraw(self) -> None:
        """Nobody waits for the answer any more: it goes away, or as soon as it is in front again."""
        self._withdrawn = True
        self.on_screen_resume()

    def on_screen_resume(self) -> None:
        if self._withdrawn and self.app.screen is self:
            self.dismiss(False)

    def compose(self) -> ComposeResult:
        key = self._unknown
        with Vertical(classes="dialog") as box:
            box.border_title = "unknown host key"
            yield Static(
                Content.styled(f"{key.host} ({key.where}) is not a known host.", "bold"), classes="question"
            )
            yield Static(Content.assemble(("its key  ", "$muted"), key.algorithm), classes="key")
            yield Static(Content.styled(key.fingerprint, "bold $accent"), classes="question")
            yield Static(
                "Compare it on the host itself:\nssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub\n"
                "If it differs, the connection may be intercepted: do not connect.",
                classes="detail",
                markup=False,
            )
            yield Static(
                Content.assemble(
                    (" y ", "bold $error"),
                    "trust it from now on    ",
                    (" esc ", "bold $accent"),
                    "do not connect",
                )
            )
