"""Where to write a file: its name, its kind, and a second key before another file is replaced."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from nanochat.common.new_file import check_new, free_name
from nanochat.common.paths import expanded
from tui.screens.base import Dialog


class Target(NamedTuple):
    """The file to write, its kind (`svg`), and whether one that is there may be replaced."""

    path: Path
    kind: str
    replace: bool


class SaveAs(Dialog[Target | None]):
    """Asks for the file; `kinds` are the suffixes it can have, the first of them offered with `path`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,alt+escape", "dismiss(None)", "cancel", show=False),
        Binding("tab", "kind(1)", "next kind", show=False, priority=True),
        Binding("shift+tab", "kind(-1)", "kind before", show=False, priority=True),
    ]

    def __init__(self, title: str, path: Path, kinds: Sequence[str], about: str = "") -> None:
        super().__init__()
        self._title = title
        self._kinds = tuple(kinds)
        self._about = about
        self._replace: Path | None = None
        self._looking = False
        self._field = Input(str(path), placeholder="name of the file", select_on_focus=False)
        self._choice = Static(id="kinds")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog save-as") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "⏎ write · tab another kind · esc"
            yield self._field
            yield self._choice
            if self._about:
                yield Static(Content(self._about), classes="about")

    def on_mount(self) -> None:
        self._field.cursor_blink = False
        self._field.focus()
        self._show_kinds()

    @property
    def kind(self) -> str:
        """The kind that the name ends in; "" for none of them."""
        suffix = Path(self._field.value.strip()).suffix.removeprefix(".").lower()
        return suffix if suffix in self._kinds else ""

    def _show_kinds(self) -> None:
        parts: list[tuple[str, str]] = []
        for kind in self._kinds:
            chosen = kind == self.kind
            parts += [(" ● " if chosen else " ○ ", "$accent" if chosen else "$muted")]
            parts += [(kind.upper() if len(kind) < 5 else kind, "bold" if chosen else "$muted"), ("  ", "")]
        self._choice.update(Content.assemble(*parts))

    def action_kind(self, by: int) -> None:
        """Another kind: the suffix of the name changes with it."""
        kinds = self._kinds
        to = kinds[(kinds.index(self.kind) + by) % len(kinds)] if self.kind else kinds[0]
        value = self._field.value.strip()
        stem = value[: -len(self.kind) - 1] if self.kind else value.rstrip(".")
        self._field.value = f"{stem}.{to}"
        self._field.cursor_position = len(self._field.value)

    def on_input_changed(self) -> None:
        self._replace = None
        self._field.border_subtitle = ""
        self._show_kinds()

    def on_input_submitted(self) -> None:
        if not self._looking:  # a folder on a slow disk may take its time to answer
            self._looking = True
            self.run_worker(self._take(), group="look")

    async def _take(self) -> None:
        try:
            target = await self._looked()
        except UserError as error:
            self._field.border_subtitle = Content(str(error))
        else:
            if target is not None:
                self.dismiss(target)
        finally:
            self._looking = False

    async def _looked(self) -> Target | None:
        """The file as given, once it can be written; None where replacing it is to be asked for first."""
        text = self._field.value.strip()
        if not text:
            raise UserError("give the name of a file")
        path = expanded(text).absolute()
        if not self.kind:
            names = ", ".join(f".{kind}" for kind in self._kinds)
            raise UserError(f"end the name in {names}")
        replace = self._replace == path
        if not replace and await asyncio.to_thread(path.is_file):
            self._replace = path
            self._field.border_subtitle = "there already: enter again replaces it"
            return None
        await asyncio.to_thread(check_new, path, replace)
        return Target(path, self.kind, replace)


def offered(folder: object, stem: str, kind: str, otherwise: Path) -> Path:
    """A free name in `folder`, the one chosen last, else where the app was started, else `otherwise`."""
    for place in (folder if isinstance(folder, str) else "", os.curdir):
        where = Path(place).absolute() if place else None
        if where is not None and where.is_dir() and os.access(where, os.W_OK):
            return free_name(where / f"{stem}.{kind}")
    return free_name(otherwise / f"{stem}.{kind}")
