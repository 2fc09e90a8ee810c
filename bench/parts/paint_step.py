"""A key to press, and what must then be on the screen."""

from __future__ import annotations

from dataclasses import dataclass

CHANGED = "<changed>"
"""Anything on the screen, colours included, is other than before."""


@dataclass(frozen=True)
class Step:
    """One key, or a few pressed at once, and what must appear.

    `keys` as tmux names them, after "=" as text, after "click:" the pattern to click on, after "size:" the
    new size ("" the first one). `want` is a pattern that must come, after "!" one that must go, or `CHANGED`.
    """

    name: str
    keys: str
    want: str
    idle_only: bool = False


def steps(screen: str, *rows: tuple[str, str, str]) -> list[Step]:
    """The steps of a screen from rows of name, keys and what must appear."""
    return [Step(f"{screen}: {name}", keys, want) for name, keys, want in rows]
