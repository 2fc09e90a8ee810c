"""The styles of tokens: a colour in turn, and a sign beside it, so that nothing rests on colour."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from rich.style import Style
from textual.color import Color

from tui.style.themes import series_colours

HUES = 4
SHADE, DIFFERS_SHADE = 0.22, 0.42
"""How much of the colour lies behind a token, and behind one where the tokenizers differ."""


class TokenLooks:
    """The styles of one theme. `variables` are the app's theme variables."""

    def __init__(self, variables: Mapping[str, str], theme: str, background: Color) -> None:
        ink = Color.parse(variables["foreground"])
        self.base = Style(color=ink.rich_color, bgcolor=background.rich_color)

        def named(name: str) -> Color:
            return Color.parse(variables[name])

        hues = [Color.parse(colour) for colour in series_colours(theme)[:HUES]]
        self._grounds = [
            [background.blend(hue, shade).rich_color for hue in hues] for shade in (SHADE, DIFFERS_SHADE)
        ]
        self.muted = Style(color=named("muted").rich_color, bgcolor=background.rich_color)
        self.strong = self.base + Style(bold=True)
        self.bad = Style(color=named("error").rich_color, bgcolor=background.rich_color)
        self.mark = Style(color=named("warning").rich_color, bgcolor=background.rich_color, bold=True)
        self._cursor = Style(color=background.rich_color, bgcolor=named("primary").rich_color, bold=True)
        self._linked = Style(reverse=True, bold=True)
        self.style = lru_cache(maxsize=256)(self._style)

    def _style(self, token: int, differs: bool, cursor: str) -> Style:
        """The style of a token: in turn a colour, every second one underlined. `cursor` is "here" for the
        token under the cursor, "there" for the one at that place in another pane, else ""."""
        ground = self._grounds[differs][token % HUES]
        style = self.base + Style(bgcolor=ground, underline=token % 2 == 1, bold=differs)
        if cursor == "here":
            return style + self._cursor
        return style + self._linked if cursor else style

    def of(self, token: int, differs: bool, cursor: str = "") -> Style:
        """The style of token number `token`."""
        return self.style(token % (2 * HUES), differs, cursor)
