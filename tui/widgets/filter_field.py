"""The field that filters runs, with what can be written there in a line below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from nanochat.common.text import sanitize
from tui.keys import bindings

if TYPE_CHECKING:
    from remote.filter.completion import Completion
    from remote.filter.fields import Vocabulary
    from remote.runs import RunRow


class FilterField(Input):
    """An input whose term `tab` completes: the first option, then the next, round and round.

    `rows` gives the runs whose values are offered; `offers` shows them.
    """

    BINDINGS = bindings("filter")

    def __init__(self, rows: Callable[[], Sequence[RunRow]], offers: Offers, id: str | None = None) -> None:
        super().__init__(
            placeholder="words, stage:base, status:failed, loss<2, config.depth>12, a or b, not …", id=id
        )
        self.border_title = "filter"
        self._rows = rows
        self._named: tuple[Sequence[RunRow], Vocabulary] | None = None
        self._offers = offers
        self._completion: Completion | None = None
        self._at = -1
        self._written = ""

    def show_offers(self) -> None:
        """Offers what can stand where the cursor is, unless an option has just been put there."""
        if self._at >= 0 and self.value == self._written:
            return
        self._offers.show(self._complete().options, -1)

    def vocabulary(self) -> Vocabulary:
        """The names of metrics and options that the runs have; of ten thousand runs they are gathered once,
        not at every letter."""
        from remote.filter.fields import Vocabulary

        rows = self._rows()
        if self._named is None or self._named[0] is not rows:
            self._named = rows, Vocabulary(rows)
        return self._named[1]

    def _complete(self) -> Completion:
        """What can stand where the cursor is, none of it taken."""
        from remote.filter.completion import complete

        self._at = -1
        self._completion = complete(self.value, self.cursor_position, self._rows(), self.vocabulary())
        return self._completion

    def watch_selection(self) -> None:
        if self.has_focus:
            self.show_offers()

    def on_focus(self) -> None:
        self._offers.display = True
        self.show_offers()

    def on_blur(self) -> None:
        self._offers.display = False

    def action_complete(self, by: int) -> None:
        """Puts an option in place of the term at the cursor."""
        completion = self._completion
        if completion is None or self._at < 0 or self.value != self._written:
            completion = self._complete()
        options = completion.options
        if options:
            first = 0 if by > 0 else len(options) - 1
            self.take((self._at + by) % len(options) if self._at >= 0 else first)

    def take(self, at: int) -> None:
        """Puts the option at that place into the term that is completed."""
        completion = self._completion or self._complete()
        options, start, end = completion.options, completion.start, completion.end
        self._at = at
        option = options[at]
        self._written = self.value[:start] + option + self.value[end:]
        self._completion = replace(completion, end=start + len(option))
        self.value = self._written
        self.cursor_position = start + len(option)
        self._offers.show(options, self._at)
        if len(options) == 1:  # nothing to choose from: the next tab completes what follows
            self._at = -1
            self.show_offers()


class Offers(Widget):
    """One line of options, the one that is taken lit; a click takes one."""

    class Taken(Message):
        """An option was clicked."""

        def __init__(self, at: int) -> None:
            super().__init__()
            self.at = at

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._options: Sequence[str] = ()
        self._at = -1
        self._spans: list[tuple[int, int, int]] = []
        self.display = False

    def show(self, options: Sequence[str], at: int) -> None:
        """Offers `options`; the one at index `at` stands in the field, -1: none does."""
        self._options, self._at = options, at
        self.refresh()

    def render(self) -> Content:
        if not self._options:
            self._spans = []
            return Content("")
        pieces: list[tuple[str, str]] = [(" tab ", "bold $accent")]
        x = 5
        self._spans = []
        room = self.size.width - 8
        first = self._at if self._at > 0 and self._width(self._at) > room else 0
        for index in range(first, len(self._options)):
            text = sanitize(self._options[index], 60)
            room -= cell_len(text) + 2
            if room < 0:
                pieces.append((" …", "$muted"))
                break
            style = "bold $block-cursor-foreground on $block-cursor-background" if index == self._at else ""
            pieces += [(" ", ""), (text, style), (" ", "")]
            self._spans.append((x, x + cell_len(text) + 2, index))
            x += cell_len(text) + 2
        return Content.assemble(*pieces)

    def on_click(self, event: events.Click) -> None:
        for start, end, at in self._spans:
            if start <= event.x < end:
                self.post_message(self.Taken(at))

    def _width(self, upto: int) -> int:
        return sum(cell_len(sanitize(option, 60)) + 2 for option in self._options[: upto + 1])
