"""The colours of plots and panels under a theme, as ready-made styles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from tui.style.themes import series_colours


@dataclass(frozen=True, slots=True)
class Palette:
    """Styles by meaning, all with the theme's background; `line[i]` and `faint[i]` are the i-th series'."""

    text: Style
    muted: Style
    rule: Style
    title: Style
    focus: Style
    cursor: Style
    error: Style
    warning: Style
    good: Style
    line: tuple[Style, ...]
    faint: tuple[Style, ...]
    heat: tuple[Style, ...]

    def dimmed(self) -> Palette:
        """The same with every text muted but warnings and errors: for data that is no longer fresh."""
        grey = self.muted
        greys = (grey,) * len(self.line)
        return replace(self, text=grey, title=grey, good=grey, line=greys, heat=(self.rule,) * len(self.heat))


@lru_cache(maxsize=16)
def _palette(name: str, background: str, foreground: str, named: tuple[tuple[str, str], ...]) -> Palette:
    colours = dict(named)
    base, ink = Color.parse(background), Color.parse(foreground)
    muted = Color.parse(colours.get("muted", base.blend(ink, 0.6).hex))
    rule = Color.parse(colours.get("rule", base.blend(ink, 0.25).hex))
    series = [Color.parse(colour) for colour in series_colours(name)]

    def style(colour: Color, *, on: Color = base, bold: bool = False) -> Style:
        return Style(color=colour.rich_color, bgcolor=on.rich_color, bold=bold)

    return Palette(
        text=style(ink),
        muted=style(muted),
        rule=style(rule),
        title=style(ink, bold=True),
        focus=style(Color.parse(colours["primary"]), bold=True),
        cursor=style(ink, on=Color.parse(colours.get("cursor-row", base.blend(ink, 0.25).hex))),
        error=style(Color.parse(colours["error"]), bold=True),
        warning=style(Color.parse(colours["warning"]), bold=True),
        good=style(Color.parse(colours["success"])),
        line=tuple(style(colour) for colour in series),
        faint=tuple(style(base.blend(colour, 0.42)) for colour in series),
        heat=tuple(style(_heat(base.brightness < 0.5, level / 7)) for level in range(8)),
    )


def _heat(dark: bool, fraction: float) -> Color:
    """A step of a one-hue ramp that rises in lightness on dark, falls on white: readable without hue."""
    cold, warm = ("#27475F", "#7CC4EE") if dark else ("#A9CBE2", "#005A8F")
    return Color.parse(cold).blend(Color.parse(warm), fraction)


def palette(theme: Theme, variables: dict[str, str], background: Color) -> Palette:
    """The palette of `theme` on the widget's own `background`; `variables` are the app's theme variables."""
    names = ("muted", "rule", "cursor-row", "primary", "error", "warning", "success")
    named = tuple((name, variables[name]) for name in names if name in variables)
    return _palette(theme.name, background.hex, variables["foreground"], named)
