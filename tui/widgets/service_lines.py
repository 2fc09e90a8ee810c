"""A host's services in lines: the servers of checkpoints that a chat has opened there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.content import Content

from nanochat.common.text import duration
from tui.style.status import ROLE_STYLES

if TYPE_CHECKING:
    from remote.fleet.services import ServiceState

LOOKS = {"ready": ("●", "good"), "starting": ("◌", "live"), "ending": ("◌", "muted"), "failed": ("✗", "bad")}


def service_lines(states: Iterable[ServiceState]) -> list[Content]:
    """One line each: device, how it stands, models in memory, who keeps it, since when nobody has asked."""
    return [_line(state) for state in states]


def _line(state: ServiceState) -> Content:
    glyph, role = LOOKS[state.status]
    words = [", ".join(state.models) or "no model in memory"] if state.status == "ready" else [state.status]
    if state.problem:
        words.append(state.problem)
    if state.pinned:
        words.append("pinned")
    elif state.status == "ready" and not state.kept:
        words.append("kept by no app")
    if state.idle_seconds is not None:
        words.append(f"idle for {duration(state.idle_seconds)}")
    head = f"serving on {state.device}" if state.device else state.id
    return Content.assemble((f"{glyph} {head}  ", f"bold {ROLE_STYLES[role]}"), " · ".join(words))
