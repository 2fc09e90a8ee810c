"""A command's options as a form in a dialog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from nanochat.config.options import Options, Value, option_fields
from tui.screens.base import Dialog
from tui.widgets.form import OptionForm, describe


def kept_values(options: type[Options], kept: object) -> dict[str, Value]:
    """What `kept`, from a file, tells of these options; what is not of an option's type is left out."""
    known = kept if isinstance(kept, Mapping) else {}
    found: dict[str, Value] = {}
    for field in option_fields(options):
        value = known.get(field.name)
        if field.type is tuple and isinstance(value, list | tuple):
            found[field.name] = tuple(map(str, value))
        elif isinstance(value, str | int | float) and type(value) is field.type:
            found[field.name] = value
    return found


class FormDialog(Dialog[Options | None]):
    """Returns the options; None when it is cancelled. `values` are filled in."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,alt+escape", "dismiss(None)", "cancel", show=False),
        Binding("ctrl+s", "start", "start", show=False),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, options: type[Options], values: Mapping[str, Value]) -> None:
        super().__init__()
        self._title = title
        self.form = OptionForm(options, values)
        self._about = Static(classes="about")
        self._problem = Static(id="problem", markup=False)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog form-dialog") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "ctrl+s starts it · ↑ ↓ fields · esc"
            yield self.form
            yield self._about
            yield self._problem

    def on_option_form_changed(self) -> None:
        self._problem.update("")

    def on_option_form_focused(self, event: OptionForm.Focused) -> None:
        self._about.update(describe(event.row.field))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.focus_next()

    def action_start(self) -> None:
        errors = self.form.errors()
        if errors:
            self._problem.update(f"✗ {errors[0]}")
            return
        self.dismiss(self.form.instance())
