"""A run's samples at full width, one at a time: with their line ends, and as Markdown where they are that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.text import clean_text
from tui.actions.run import copy_text
from tui.keymap import hint
from tui.keys import bindings
from tui.screens.base import ControlScreen

if TYPE_CHECKING:
    from tui.widgets.samples import Sample

MARKDOWN = re.compile(
    r"^(#{1,6} \S|```|~~~|>\s|\|.*\|\s*$|\s*([-*+]|\d+\.) \S.*\n+\s*([-*+]|\d+\.) \S)|\*\*\S.*?\S\*\*",
    re.MULTILINE,
)
"""Matches a heading, a fence, a quote, a table, a list of two items, or bold text."""


def is_markdown(text: str) -> bool:
    """Whether `text` is better shown as Markdown than as it is."""
    return MARKDOWN.search(text) is not None


class SampleScreen(ControlScreen):
    """The samples, the newest first; `at` is the one shown."""

    place = "Samples"
    groups = ("sample",)
    about = (
        "One sample at a time, with its line ends. One that looks like Markdown is shown as that; "
        "{sample.markdown} shows it as it was written. The prompt is bold."
    )
    BINDINGS = bindings("sample")
    AUTO_FOCUS = "#sample-box"

    def __init__(self, samples: Sequence[Sample], at: int = 0) -> None:
        super().__init__()
        self.samples = list(samples)
        self.at = at
        self.markdown: bool | None = None
        """What the user chose, None for what suits the sample."""

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(id="sample-box", can_focus=True) as box:
            box.border_title = "sample"
            yield Static(id="sample-prompt")
            yield Static(id="sample-text")

    async def on_mount(self) -> None:
        await self._show()

    @property
    def sample(self) -> Sample:
        """The sample shown."""
        return self.samples[self.at]

    async def _show(self) -> None:
        sample = self.sample
        box = self.query_one("#sample-box", VerticalScroll)
        step = f" · step {sample.step:,}" if sample.step is not None else ""
        box.border_title = Content(f"sample {self.at + 1} of {len(self.samples)}{step}")
        prompt, text = clean_text(sample.prompt), clean_text(sample.text)
        continued = text.startswith(prompt)
        as_markdown = is_markdown(text) if self.markdown is None else self.markdown
        keymap = self.room.keymap
        box.border_subtitle = Content(
            f"{'Markdown' if as_markdown else 'as written'}, {hint('sample.markdown', keymap)} changes it · "
            f"{hint('sample.older', keymap)} older · {hint('sample.newer', keymap)} newer"
        )
        for old in box.query("Markdown"):
            await old.remove()
        shown = self.query_one("#sample-text", Static)
        shown.display = not as_markdown
        separate = not continued or as_markdown
        self.query_one("#sample-prompt", Static).update(Content.styled(prompt, "bold") if separate else "")
        if as_markdown:
            from textual.widgets import Markdown

            await box.mount(Markdown(text, open_links=False))
        elif continued:
            shown.update(Content.assemble((prompt, "bold"), text[len(prompt) :]))
        else:
            shown.update(Content(text))
        box.scroll_home(animate=False)

    async def action_step(self, by: int) -> None:
        at = self.at + by
        if not 0 <= at < len(self.samples):
            self.room.say("no older sample" if by > 0 else "no newer sample")
            return
        self.at, self.markdown = at, None
        await self._show()

    async def action_markdown(self) -> None:
        text = clean_text(self.sample.text)
        self.markdown = not (is_markdown(text) if self.markdown is None else self.markdown)
        await self._show()

    def action_copy(self) -> None:
        self.room.do(copy_text(self.room, clean_text(self.sample.text), "the sample"))
