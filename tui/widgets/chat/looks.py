"""The styles behind the looks of chat text. How likely a token was is never told by colour alone."""

from __future__ import annotations

from functools import lru_cache

from rich.style import Style
from textual.color import Color

PLAIN = Style()
SHADES = (0.0, 0.12, 0.22, 0.32, 0.42)
"""How much of the warning colour lies behind a token of each level."""
LEVEL_SIGNS = (
    PLAIN,
    Style(italic=True),
    Style(underline=True),
    Style(bold=True, underline=True),
    Style(bold=True, reverse=True),
)
LEVEL_WORDS = "plain ≥90 % · italic ≥50 · underlined ≥10 · bold too ≥1 · reversed below"
"""What the signs of the levels mean."""


class Looks:
    """The styles of one theme on one background. `variables` are the app's theme variables."""

    def __init__(self, variables: dict[str, str], background: Color) -> None:
        def colour(name: str) -> Color:
            return Color.parse(variables[name])

        ink = colour("foreground")
        self.base = Style(color=ink.rich_color, bgcolor=background.rich_color)
        accent, warning = colour("accent"), colour("warning")
        self._named = {
            "strong": Style(bold=True),
            "emphasis": Style(italic=True),
            "strike": Style(strike=True),
            "heading": Style(color=colour("primary").rich_color, bold=True),
            "link": Style(underline=True),
            "code": Style(bgcolor=colour("panel").rich_color),
            "muted": Style(color=colour("muted").rich_color),
            "mark": Style(color=colour("muted").rich_color),
            "question": Style(bold=True),
            "tool": Style(color=accent.rich_color),
            "result": Style(color=colour("success").rich_color),
            "live": Style(color=colour("primary").rich_color),
            "warn": Style(color=warning.rich_color),
            "bad": Style(color=colour("error").rich_color),
            "accent": Style(color=accent.rich_color, bold=True),
            # Beside the colour a sign: what was taken away, what was put there.
            "first": Style(color=colour("error").rich_color, strike=True),
            "second": Style(color=colour("success").rich_color, bold=True, underline=True),
            "found": Style(color=background.rich_color, bgcolor=warning.rich_color),
            "found-here": Style(
                color=background.rich_color,
                bgcolor=colour("primary").rich_color,
                bold=True,
                underline=True,
            ),
            "cursor": Style(color=background.rich_color, bgcolor=colour("primary").rich_color, bold=True),
            "cursor-blurred": Style(bgcolor=colour("cursor-row").rich_color, bold=True),
        }
        for number, (shade, sign) in enumerate(zip(SHADES, LEVEL_SIGNS, strict=True)):
            ground = Style(bgcolor=background.blend(warning, shade).rich_color) if shade else PLAIN
            self._named[f"p{number}"] = ground + sign
        self.style = lru_cache(maxsize=512)(self._style)

    def _style(self, look: str) -> Style:
        """The style of a look, on the background."""
        style = self.base
        for name in look.split():
            style += self._named.get(name, PLAIN)
        return style
