"""A form made from a stage's option dataclass: one line an option, checked as it is typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus
from textual.message import Message
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from nanochat.config.options import OptionField, Options, Value, option_fields, parse_value
from tui.widgets.choice import Choice

ON_OFF = ("false", "true")
AUTO = "auto"
"""How an option that the stage decides when it is unset is shown."""


def format_value(value: Value) -> str:
    """A value as it is typed into the form."""
    if value is None:
        return AUTO
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


class FieldRow(Horizontal):
    """One option: its name, its editor, and its error or default."""

    class Changed(Message):
        """The option has another value, or an error."""

    def __init__(self, field: OptionField, value: Value) -> None:
        super().__init__(classes="field")
        self.field = field
        self.value: Value = value
        self.error = ""
        self._initial = format_value(value)

    def compose(self) -> ComposeResult:
        yield Static(classes="label")
        if self.field.type is bool and self.field.default is None:
            yield Choice((AUTO, *ON_OFF), self._initial, shown=(AUTO, "off", "on"))
        elif self.field.type is bool:
            yield Choice(ON_OFF, self._initial, shown=("off", "on"))
        elif self.field.choices:
            yield Choice(self.field.choices, self._initial)
        else:
            yield Input(
                self._initial, compact=True, placeholder="empty" if self.field.default in ("", ()) else ""
            )
        yield Static(classes="note")

    def on_mount(self) -> None:
        self._draw()

    @property
    def text(self) -> str:
        """What the editor holds."""
        editor = self.query(Input).first() if self.query(Input) else self.query_one(Choice)
        return editor.value

    @text.setter
    def text(self, text: str) -> None:
        editor = self.query(Input).first() if self.query(Input) else self.query_one(Choice)
        editor.value = text

    def reset(self) -> None:
        """Puts the default back."""
        self.text = format_value(self.field.default)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._check()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._check()

    def _check(self) -> None:
        try:
            self.value, self.error = parse_value(self.field, self.text), ""
        except UserError as error:
            self.error = str(error).removeprefix(f"{self.field.flag}: ")
        self._draw()
        self.post_message(self.Changed())

    def _draw(self) -> None:
        changed = self.error or self.value != self.field.default
        mark = ("✗ ", "$error") if self.error else ("• ", "$accent") if changed else ("  ", "")
        name = Content.assemble(mark, (self.field.name.replace("_", " "), "bold" if changed else ""))
        self.query_one(".label", Static).update(name)
        default = format_value(self.field.default) or "empty"
        note = (self.error, "$error") if self.error else (f"default {default}" if changed else "", "$muted")
        self.query_one(".note", Static).update(Content.styled(*note))


class OptionForm(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The options of one stage in their groups."""

    class Changed(Message):
        """Some option has another value."""

    class Focused(Message):
        """Another option is being edited."""

        def __init__(self, row: FieldRow) -> None:
            super().__init__()
            self.row = row

    def __init__(
        self, options: type[Options], values: Mapping[str, Value] | None = None, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.options = options
        self._values = dict(values or {})
        self._rows = [
            FieldRow(field, self._values.get(field.name, field.default)) for field in option_fields(options)
        ]

    def compose(self) -> ComposeResult:
        groups: dict[str, list[FieldRow]] = {}
        for row in self._rows:
            groups.setdefault(row.field.group, []).append(row)
        for group, rows in groups.items():
            yield Static(Content.styled(group, "bold $primary"), classes="group")
            yield from rows

    def rows(self) -> Iterator[FieldRow]:
        """Every option's row in order."""
        yield from self._rows

    def errors(self) -> list[str]:
        """What is wrong now, one line each."""
        return [f"{row.field.flag}: {row.error}" for row in self._rows if row.error]

    def changes(self) -> dict[str, Value]:
        """The options that differ from their defaults; an option with an error keeps its last good value."""
        return {row.field.name: row.value for row in self._rows if row.value != row.field.default}

    def instance(self) -> Any:
        """The options as the stage's dataclass."""
        return self.options(**self.changes())

    def current(self) -> FieldRow | None:
        """The row that is being edited."""
        focused = self.screen.focused
        return (
            next((node for node in focused.ancestors if isinstance(node, FieldRow)), None)
            if focused
            else None
        )

    def on_field_row_changed(self, event: FieldRow.Changed) -> None:
        event.stop()
        self.post_message(self.Changed())

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        row = next((node for node in event.widget.ancestors if isinstance(node, FieldRow)), None)
        if row is not None:
            self.post_message(self.Focused(row))


def describe(field: OptionField) -> Content:
    """An option's flag, type, bounds, default and help."""
    kinds = {
        int: "whole number",
        float: "number",
        str: "text",
        bool: "on or off",
        tuple: "list, separated by commas",
    }
    bounds = []
    if field.at_least:
        bounds.append(f"from {field.at_least}")
    if field.maximum is not None:
        bounds.append(f"to {field.maximum:g}")
    facts = [kinds[field.type], *bounds, f"default {format_value(field.default) or 'empty'}"]
    return Content.assemble((field.flag, "bold $accent"), (f"  {' · '.join(facts)}\n", "$muted"), field.help)
