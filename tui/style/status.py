"""How a status is shown: a glyph, a word and a role for its colour; never colour alone."""

from __future__ import annotations

from typing import NamedTuple


class StatusStyle(NamedTuple):
    """`role` names a colour of the theme: good, live, warn, bad, muted."""

    glyph: str
    word: str
    role: str


STATUS_STYLES: dict[str, StatusStyle] = {
    "created": StatusStyle("○", "queued", "muted"),
    "starting": StatusStyle("◐", "starting", "live"),
    "running": StatusStyle("●", "running", "live"),
    "succeeded": StatusStyle("✓", "succeeded", "good"),
    "failed": StatusStyle("✗", "failed", "bad"),
    "stopped": StatusStyle("■", "stopped", "warn"),
    "lost": StatusStyle("?", "lost", "bad"),
}

LINK_STYLES: dict[str, StatusStyle] = {
    "up": StatusStyle("●", "up", "good"),
    "connecting": StatusStyle("◐", "connecting", "warn"),
    "down": StatusStyle("○", "down", "bad"),
}

#: The theme variable behind each role, for Textual's Content styles.
ROLE_STYLES: dict[str, str] = {
    "good": "$success",
    "live": "$primary",
    "warn": "$warning",
    "bad": "$error",
    "muted": "$muted",
    "accent": "$accent",
    "": "",
}


def status_style(status: str) -> StatusStyle:
    """The style of a run's status; an unknown one is shown by its own name."""
    return STATUS_STYLES.get(status) or StatusStyle("·", status, "muted")


def link_style(status: str) -> StatusStyle:
    """The style of a host's link."""
    return LINK_STYLES.get(status) or StatusStyle("·", status, "muted")
