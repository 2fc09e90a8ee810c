"""The three themes: dark, light and high contrast, with colours that colour-blind people can tell apart.

Series colours are Okabe and Ito's (2008), darkened for the light theme where the originals fade on white.
Status never rests on colour: every status also has a glyph and a word (`tui.style.status`).
"""

from __future__ import annotations

from textual.theme import Theme

from tui.style.theme_names import THEME_NAMES

OKABE_ITO = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00", "#999999")
OKABE_ITO_ON_WHITE = ("#0072B2", "#9C6800", "#007A59", "#A6487C", "#8A7F00", "#2B7BB0", "#D55E00", "#666666")

DARK = Theme(
    name="dark",
    primary="#56B4E9",
    secondary="#8FB8D8",
    accent="#E69F00",
    foreground="#D7DCE2",
    background="#11151A",
    surface="#171C23",
    panel="#212832",
    success="#3CCB9A",
    warning="#F0B429",
    error="#FF7A59",
    dark=True,
    variables={
        "muted": "#96A2B0",
        "faint": "#4A5462",
        "rule": "#2F3945",
        "cursor-row": "#24384A",
        "block-cursor-background": "#56B4E9",
        "block-cursor-foreground": "#0B0E12",
        "block-cursor-text-style": "none",
        "border": "#56B4E9",
        "border-blurred": "#2F3945",
        "scrollbar": "#2F3945",
        "scrollbar-hover": "#4A5462",
        "scrollbar-active": "#56B4E9",
        "scrollbar-background": "#11151A",
        "scrollbar-background-hover": "#11151A",
        "scrollbar-background-active": "#11151A",
        "scrollbar-corner-color": "#11151A",
    },
)

LIGHT = Theme(
    name="light",
    primary="#0068A6",
    secondary="#37637F",
    accent="#925600",
    foreground="#1D242C",
    background="#FAFBFC",
    surface="#F1F4F7",
    panel="#E4EAF0",
    success="#00704F",
    warning="#8A5A00",
    error="#B33800",
    dark=False,
    variables={
        "muted": "#5A6673",
        "faint": "#A3AEBA",
        "rule": "#C3CDD7",
        "cursor-row": "#D3E6F4",
        "block-cursor-background": "#0068A6",
        "block-cursor-foreground": "#FFFFFF",
        "block-cursor-text-style": "none",
        "border": "#0068A6",
        "border-blurred": "#C3CDD7",
        "scrollbar": "#C3CDD7",
        "scrollbar-hover": "#A3AEBA",
        "scrollbar-active": "#0068A6",
        "scrollbar-background": "#FAFBFC",
        "scrollbar-background-hover": "#FAFBFC",
        "scrollbar-background-active": "#FAFBFC",
        "scrollbar-corner-color": "#FAFBFC",
    },
)

CONTRAST = Theme(
    name="contrast",
    primary="#6CCBFF",
    secondary="#FFFFFF",
    accent="#FFD75F",
    foreground="#FFFFFF",
    background="#000000",
    surface="#000000",
    panel="#1C1C1C",
    success="#5FFFAF",
    warning="#FFD75F",
    error="#FF8F6B",
    dark=True,
    variables={
        "muted": "#D0D0D0",
        "faint": "#8A8A8A",
        "rule": "#B0B0B0",
        "cursor-row": "#003F5A",
        "block-cursor-background": "#FFFFFF",
        "block-cursor-foreground": "#000000",
        "block-cursor-text-style": "bold",
        "border": "#FFFFFF",
        "border-blurred": "#8A8A8A",
        "scrollbar": "#B0B0B0",
        "scrollbar-hover": "#FFFFFF",
        "scrollbar-active": "#6CCBFF",
        "scrollbar-background": "#000000",
        "scrollbar-background-hover": "#000000",
        "scrollbar-background-active": "#000000",
        "scrollbar-corner-color": "#000000",
    },
)

THEMES: dict[str, Theme] = dict(zip(THEME_NAMES, (DARK, LIGHT, CONTRAST), strict=True))


def series_colours(theme: str) -> tuple[str, ...]:
    """The eight series colours that suit `theme`."""
    return OKABE_ITO if THEMES.get(theme, DARK).dark else OKABE_ITO_ON_WHITE
