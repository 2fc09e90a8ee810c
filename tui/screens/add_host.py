"""Add a host: a small form, checked before anything is written."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from nanochat.config.pass_env import check_names, split_names
from tui.screens.base import Dialog

if TYPE_CHECKING:
    from remote.hosts.book import Host
    from tui.room import Room

FIELDS = (
    ("name", "name", "box", "the name of the host here"),
    ("target", "SSH target", "user@host:port", "as for ssh; a Host alias of ~/.ssh/config works too"),
    ("key", "private key", "~/.ssh/id_ed25519", "empty: the agent's and the default keys"),
    ("python", "Python", "~/venv/bin/python", "the interpreter stages run under; empty: python3"),
    ("base", "base directory", "~/.cache/nanochat", "where runs, data and checkpoints are stored there"),
    (
        "pass_env",
        "pass on",
        "WANDB_API_KEY, HF_TOKEN",
        "variables of your shell that its runs get; empty: none",
    ),
    ("price", "price per hour", "", "in dollars, for the cost of a run; empty: unknown"),
)


class AddHost(Dialog[str | None]):
    """Returns the name of the host that was added, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,alt+escape", "dismiss(None)", "cancel", show=False),
        Binding("ctrl+s", "add", "add", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "add a host"
            box.border_subtitle = "ctrl+s adds it · esc cancels"
            for name, title, placeholder, _ in FIELDS:
                with Horizontal(classes="field"):
                    yield Static(title, classes="label")
                    yield Input(placeholder=placeholder, compact=True, id=name)
            yield Static(id="hint")
            yield Static(id="problem")

    def on_descendant_focus(self) -> None:
        hints = {name: hint for name, _, _, hint in FIELDS}
        focused = self.focused.id if self.focused else None
        self.query_one("#hint", Static).update(Content.styled(hints.get(focused or "", ""), "$muted"))

    def on_input_submitted(self) -> None:
        if self.focused is self.query("Input").last():
            self.action_add()
        else:
            self.focus_next()

    def host(self) -> Host:
        """The host as filled in. Raises `UserError` for an invalid field."""
        from remote.hosts.book import Host, parse_ssh_target

        text = {name: self.query_one(f"#{name}", Input).value.strip() for name, *_ in FIELDS}
        user, address, port = parse_ssh_target(text["target"])
        host = Host(
            name=text["name"],
            kind="ssh",
            user=user,
            address=address,
            port=port,
            key=text["key"],
            python=text["python"],
        )
        if text["base"]:
            host = replace(host, base_dir=text["base"])
        host = replace(host, pass_env=check_names(split_names(text["pass_env"]), "pass on"))
        if text["price"]:
            try:
                host = replace(host, price_per_hour=float(text["price"]))
            except ValueError:
                raise UserError(
                    f"'{text['price']}' is not a price", "a number of dollars, such as 2.49"
                ) from None
        return host

    @work(exclusive=True)
    async def action_add(self) -> None:
        from remote.hosts.book import HostBook

        room = cast("Room", self.app)
        try:
            host = self.host()
            await asyncio.to_thread(HostBook(room.layout).add, host)
        except UserError as error:
            self.query_one("#problem", Static).update(Content.styled(f"✗ {error}", "$error"))
            return
        self.dismiss(host.name)
