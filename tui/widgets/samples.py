"""A run's samples, evaluations, checkpoints and end, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from nanochat.common.text import sanitize, size_bytes
from remote.cli.printer import judged
from tui.keymap import hint, keymap_of
from tui.keys import bindings

if TYPE_CHECKING:
    from nanochat.run.events import Event

KEPT = 60
LONGEST = 100_000
"""Characters kept of one sample."""
NOTHING = Content.styled("nothing yet: samples, evaluations and checkpoints appear here", "$muted")


@dataclass(frozen=True)
class Sample:
    """What a model wrote after a prompt, as it came: not safe to print as it is."""

    step: int | None
    prompt: str
    text: str


class Samples(VerticalScroll, can_focus=True):
    """The entries, newest on top. Text from the model is shown as plain text, whatever it contains."""

    BINDINGS = bindings("samples")
    ALLOW_SELECT = False

    class Opened(Message):
        """The user wants to read the samples at full width; they come newest first."""

        def __init__(self, samples: list[Sample]) -> None:
            super().__init__()
            self.samples = samples

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.samples: list[Sample] = []
        self.border_title = "samples and results"
        self._entries: list[Content] = []
        self._text = Static(NOTHING)

    def compose(self) -> ComposeResult:
        yield self._text

    def clear(self) -> None:
        """Removes all entries, before another run is shown."""
        self._entries, self.samples = [], []
        self._draw()

    def add(self, found: Iterable[Event]) -> None:
        """Puts the entries of the events `found` on top, the newest first."""
        found = list(found)
        samples = [_sample(event) for event in found if event.kind == "sample"]
        self.samples = [*reversed(samples), *self.samples][:KEPT]
        fresh = [entry for entry in map(_entry, found) if entry is not None]
        if fresh:
            self._entries = [*reversed(fresh), *self._entries][:KEPT]
            self._draw()

    def action_open(self) -> None:
        if self.samples:
            self.post_message(self.Opened(self.samples))

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2:
            self.action_open()

    def _draw(self) -> None:
        key = hint("samples.open", keymap_of(self))
        self.border_subtitle = Content(f"{key} opens them" if self.samples else "")
        self._text.update(Content("\n").join(self._entries) if self._entries else NOTHING)


def _sample(event: Event) -> Sample:
    data = event.data
    return Sample(event.step, str(data.get("prompt", ""))[:LONGEST], str(data.get("text", ""))[:LONGEST])


def _entry(event: Event) -> Content | None:
    at = f"{event.step:,}" if event.step is not None else ""
    data = event.data
    if event.kind == "sample":
        prompt, text = sanitize(str(data.get("prompt", "")), 400), _paragraph(str(data.get("text", "")))
        # A base model continues the prompt, a chat model answers it.
        answer = "" if text.startswith(prompt) else " ⟶ "
        return Content.assemble((f"{at:>7} ", "$muted"), (prompt, "bold"), answer, text.removeprefix(prompt))
    if event.kind == "eval":
        return Content.assemble((f"{at:>7} ", "$muted"), ("eval ", "$primary"), _values(data))
    if event.kind == "checkpoint":
        size = data.get("bytes")
        words = f"saved {size_bytes(size) if isinstance(size, int | float) else ''} "
        path = sanitize(str(data.get("path", "")), 300)
        return Content.assemble(
            (f"{at:>7} ", "$muted"), (words, "$success"), ("/".join(path.split("/")[-2:]), "")
        )
    if event.kind == "stage_end":
        results = data.get("results")
        shown = _values(results) if isinstance(results, dict) else ""
        error = sanitize(str(data.get("error", "")), 600)
        status = sanitize(str(data.get("status", "")), 40)
        return Content.assemble(("    end ", "$muted"), (f"{status} ", "bold"), shown, (error, "$error"))
    return None


def _values(data: Mapping[str, object]) -> str:
    plain = {name: value for name, value in data.items() if isinstance(value, int | float | str)}
    return "  ".join(sanitize(words, 300) for words in judged(plain))


def _paragraph(text: str) -> str:
    return " ⏎ ".join(sanitize(line, 400) for line in text[:4000].splitlines())
