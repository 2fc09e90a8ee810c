"""How a run's status looks: a glyph, a word and a role for its colour; never colour alone."""

from __future__ import annotations

from typing import NamedTuple


class Look(NamedTuple):
    """`role` names a colour of the theme: good, live, warn, bad, muted."""

    glyph: str
    word: str
    role: str


LOOKS: dict[str, Look] = {
    "created": Look("○", "queued", "muted"),
    "starting": Look("◐", "starting", "live"),
    "running": Look("●", "running", "live"),
    "succeeded": Look("✓", "succeeded", "good"),
    "failed": Look("✗", "failed", "bad"),
    "stopped": Look("■", "stopped", "warn"),
    "lost": Look("?", "lost", "bad"),
}

LINK_LOOKS: dict[str, Look] = {
    "up": Look("●", "up", "good"),
    "connecting": Look("◐", "connecting", "warn"),
    "down": Look("○", "down", "bad"),
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


def look(status: str) -> Look:
    """The look of a run's status; an unknown one keeps its own word."""
    return LOOKS.get(status) or Look("·", status, "muted")


def link_look(status: str) -> Look:
    """The look of a host's link."""
    return LINK_LOOKS.get(status) or Look("·", status, "muted")
