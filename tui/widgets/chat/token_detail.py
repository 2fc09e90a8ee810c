"""The token under the cursor: how likely it was, and what else could have stood there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import Static

from tui.keymap import hint, keymap_of
from tui.widgets.chat.looks import LEVEL_WORDS
from tui.widgets.chat.sections import quoted

if TYPE_CHECKING:
    from nanochat.serve.answer_tokens import AnswerToken

BAR = 16
ROWS = 5


class TokenDetail(Static):
    """A few lines below a transcript."""

    _said: Content | None = None
    DEFAULT_CSS = "TokenDetail { text-wrap: nowrap; text-overflow: ellipsis; }"

    def _say(self, content: Content) -> None:
        if content != self._said:
            self._said = content
            self.update(content, layout=False)  # its height is fixed: the screen is not laid out again

    def show(self, token: AnswerToken | None, at: int, count: int, *, tells: bool | None, lens: bool) -> None:
        """The token at place `at` of `count`. `tells`: whether the server tells probabilities at all."""
        if token is None:
            why = (
                "this server tells no probabilities"
                if tells is False
                else "no tokens yet: they come with an answer"
            )
            self._say(Content.styled(why, "$muted"))
            return
        head = Content.assemble((quoted(token.text), "bold"), f"  {_percent(token.probability)}")
        where = f"  token {at + 1:,} of {count:,}"
        keys = f" · {hint('chat.lens', keymap_of(self))} each layer" if lens else ""
        lines = [Content.assemble(head, (where + keys, "$muted"))]
        for number, guess in enumerate(token.top[:ROWS], 1):
            mine = guess.text == token.text
            bar = "▇" * max(1, round(BAR * guess.probability)) if guess.probability >= 0.005 else "▏"
            word = quoted(guess.text)
            pad = " " * max(1, 18 - cell_len(word))
            mark = "●" if mine else str(number)
            line = Content.assemble(
                (f"{mark} ", "$accent" if mine else "$muted"),
                (word, "bold" if mine else ""),
                pad,
                (f"{_percent(guess.probability):>9} ", ""),
                (bar, "$primary" if mine else "$muted"),
            )
            lines.append(line)
        lines.append(Content.styled(LEVEL_WORDS, "$muted"))
        self._say(Content("\n").join(lines))


def _percent(probability: float | None) -> str:
    """A probability to three figures: `87.3 %`, `0.042 %`; "?" where it is not known."""
    if probability is None:
        return "?"
    share = 100 * probability
    return f"{share:.1f} %" if share >= 1 else f"{share:.2g} %"
