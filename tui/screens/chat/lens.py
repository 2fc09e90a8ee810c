"""The layer lens: what each layer of a model would have said at one place of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from tui.screens.base import Dialog
from tui.widgets.chat.sections import quoted
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from tui.data.chat.lens import Guess, LensReading
    from tui.data.chat.pane import Pane
    from tui.data.chat.tree import TurnNode

    Row = tuple[int, tuple[Guess, ...]]

GUESSES = 4
COLUMNS = (
    Column("layer", "layer", 5, "right"),
    Column("bar", "said", 8),
    *(
        Column(f"guess{number}", "likeliest" if number == 0 else f"{number + 1}.", 14, grow=1, rank=number)
        for number in range(GUESSES)
    ),
)
EIGHTHS = " ▏▎▍▌▋▊▉█"


class LensDialog(Dialog[None]):
    """One row a layer; left and right go to the neighbouring tokens."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,alt+escape,l,q", "dismiss", "close", show=False),
        Binding("left", "token(-1)", show=False),
        Binding("right", "token(1)", show=False),
    ]

    def __init__(self, pane: Pane, node: TurnNode, token: int) -> None:
        super().__init__()
        self._pane = pane
        self._node = node
        self._token = token
        self._said = ""
        self._head = Static(classes="question")
        self.table: VirtualTable[Row] = VirtualTable(
            COLUMNS, self._cells, lambda row: str(row[0]), empty="asking the server …"
        )

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog lens") as box:
            box.border_title = "each layer"
            box.border_subtitle = "← → other tokens · esc closes"
            yield self._head
            yield self.table

    def on_mount(self) -> None:
        self.table.focus()
        self._read()

    def action_token(self, by: int) -> None:
        count = len(self._node.answer.tokens) if self._node.answer else 0
        if 0 <= self._token + by < count:
            self._token += by
            self._read()

    def _read(self) -> None:
        answer = self._node.answer
        if answer is None:
            return
        said = answer.tokens[self._token]
        self._head.update(
            Content.assemble(("what each layer would have said for ", "$muted"), (quoted(said.text), "bold"))
        )
        self.run_worker(self._show(self._token), group="lens", exclusive=True)

    async def _show(self, token: int) -> None:
        try:
            reading = await self._pane.lens(self._node, token)
        except UserError as error:
            self.table.empty = f"✗ {sanitize(str(error), 200)}"
            self.table.show([])
            return
        self._said = reading.said
        self._head.update(_head(reading))
        # The last layer on top: what it says is what the model says.
        self.table.styles.height = min(len(reading.layers) + 1, max(5, self.app.size.height - 12))
        self.table.show([(number, guesses) for number, guesses in enumerate(reading.layers, 1)][::-1])

    def _cells(self, row: Row) -> Mapping[str, Cell]:
        number, guesses = row
        mine = next((guess for guess in guesses if guess.text == self._said), None)
        cells: dict[str, Cell] = {"layer": (str(number), "muted"), "bar": (_bar(mine), "accent")}
        for place, guess in enumerate(guesses[:GUESSES]):
            is_said = guess.text == self._said
            words = f"{'●' if is_said else ' '} {quoted(guess.text)} {100 * guess.probability:.0f} %"
            cells[f"guess{place}"] = (words, "strong" if is_said else "")
        return cells


def _bar(guess: Guess | None) -> str:
    """How likely a layer found what was said, in eight cells; "·" where it is not among its guesses."""
    if guess is None:
        return "·"
    eighths = max(1, round(64 * guess.probability))
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _head(reading: LensReading) -> Content:
    first = reading.first_layer()
    count = len(reading.layers)
    when = (
        f"the likeliest from layer {first} of {count} on"
        if first
        else f"never the likeliest to the end of {count} layers"
    )
    return Content.assemble(
        ("after ", "$muted"),
        quoted(reading.before) if reading.before else "the question",
        (" it said ", "$muted"),
        (quoted(reading.said), "bold"),
        (f" · {when} · {sanitize(reading.model, 60)}", "$muted"),
    )
