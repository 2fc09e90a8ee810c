"""Which variables of the shell go along with a run, as the screens say it before it starts. Names only."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from nanochat.common.text import sanitize
from nanochat.config.pass_env import collect, missing_line


def passing(names: Iterable[str]) -> Content:
    """`names` in a line, and those that are not set here in another; nothing without names."""
    wanted = [sanitize(name) for name in dict.fromkeys(names)]
    if not wanted:
        return Content()
    missing = collect(wanted).missing
    line = Content.styled(f"passes on {', '.join(wanted)}\n", "$muted")
    return line + Content.styled(f"! {missing_line(missing)}\n", "$warning") if missing else line
