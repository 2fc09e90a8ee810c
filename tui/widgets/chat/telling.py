"""What is told of a pane in words: its name, its settings, its figures, the end of an answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from nanochat.common.text import duration, sanitize
from tui.data.chat.pane_state import Figures
from tui.data.chat.target import CheckpointTarget, short_name
from tui.widgets.columns import fit

if TYPE_CHECKING:
    from nanochat.serve.conversation import AnswerSettings
    from tui.data.chat.pane import Pane
    from tui.data.chat.tree import TurnNode
    from tui.widgets.chat.markdown_blocks import Span

GLYPHS = {
    "closed": "○",
    "opening": "◐",
    "choosing": "?",
    "idle": "●",
    "waiting": "◐",
    "streaming": "●",
    "failed": "✗",
}
LABELS = "ABCD"
FIRST = "waiting for the first token"
LINE = 300
"""Characters of a line of foreign words."""


def name_of(pane: Pane, width: int = 60) -> str:
    """What a pane talks to, with `follow` where it follows a live run, and where it is served."""
    follows = isinstance(pane.target, CheckpointTarget) and bool(pane.target.follows)
    words = fit(sanitize(short_name(pane.target)), width - 2 * follows).rstrip()
    return f"{words} ⟳" if follows else words


def settings_text(settings: AnswerSettings, width: int) -> str:
    """What answers are sampled with, as much of it as fits: `t 0.6 · k 50 · max 256 · seed 7`."""
    parts = [f"t {settings.temperature:g}", f"k {settings.top_k or 'all'}", f"max {settings.max_tokens:,}"]
    if settings.seed is not None:
        parts.insert(2, f"seed {settings.seed}")
    if settings.top_p < 1:
        parts.append(f"p {settings.top_p:g}")
    if settings.min_p > 0:
        parts.append(f"min-p {settings.min_p:g}")
    return joined(parts, width)


def joined(parts: Sequence[str], width: int) -> str:
    """The parts with dots between them, as many of the first ones as fit."""
    text = ""
    for part in parts:
        longer = f"{text} · {part}" if text else part
        if cell_len(longer) > width:
            break
        text = longer
    return text


def state_spans(pane: Pane, keys: tuple[str, str], hidden: bool) -> list[Span]:
    """What a pane does while no words come: what it waits for, that the model thinks, what went wrong, the
    news. `hidden`: nothing that tells what it is, such as that it thinks. `keys` try again, and end blind
    mode."""
    state, line = pane.state, sanitize("" if hidden else pane.state.line, LINE)
    if state.kind == "failed":
        why = f" · {keys[1]} ends blind mode and tells why" if hidden else ""
        return [(f"✗ {line or 'failed'}", "bad"), (f" · {keys[0]} tries again{why}", "muted")]
    if state.kind == "opening":
        return [(f"◐ {line or 'opening'} …{_since(pane)}", "live")]
    if state.kind == "choosing":
        return [("? a training is at work there: which device may serve?", "warn")]
    if state.kind == "waiting":
        return [(f"◐ {line or FIRST} …{_since(pane)}", "live")]
    coming = pane.tree.coming
    if coming is not None and coming.answer is not None and coming.answer.is_thinking:
        return [(f"◐ {FIRST if hidden else 'thinking'} …{_since(pane)}", "live")]
    if pane.news and state.kind == "idle" and not hidden:
        return [(f"· {sanitize(pane.news, LINE)}", "muted")]
    return []


def _since(pane: Pane) -> str:
    """How long a pane has been waiting, from 2 s on."""
    seconds = time.monotonic() - pane.state_since
    return f" {duration(seconds)}" if seconds >= 2 else ""


def figures_text(pane: Pane, width: int, hidden: bool) -> str:
    """The last answer's figures, the most important first, as many as fit. `hidden`: no names."""
    figures = Figures() if hidden else pane.figures()  # how fast it is tells how large it is
    parts = []
    if figures.tokens_per_second is not None:
        parts.append(f"{figures.tokens_per_second:.0f} tok/s")
    if figures.first_token_seconds is not None:
        parts.append(f"first {figures.first_token_seconds:.2f} s")
    if figures.prompt_tokens is not None:
        used = figures.prompt_tokens + (figures.tokens or 0)
        parts.append(f"{used:,}/{pane.context:,} tokens" if pane.context else f"{used:,} tokens")
    elif figures.tokens is not None:
        parts.append(f"{figures.tokens:,} tok")  # how much of the context the prompt takes is not known
    if pane.answers_with and not hidden:
        parts.append(_step(pane.answers_with))
    if pane.device and not hidden:
        parts.append(pane.device)
    glyph = GLYPHS.get(pane.state.kind, "·")
    words = joined(parts, width - 2) or {"idle": "ready", "closed": "not open yet"}.get(
        pane.state.kind, pane.state.kind
    )
    return f"{glyph} {words}"


def _step(name: str) -> str:
    """`@650` of `sft/d20@650`: the rest stands in the title."""
    shown = sanitize(name, 80)
    before, at, step = shown.rpartition("@")
    return f"{at}{step}" if at and before and step.isdigit() else shown


def answer_spans(pane: Pane, node: TurnNode, keys: Sequence[str], hidden: bool) -> list[Span]:
    """The line below an answer: which branch it is, what answered, how fast, and why it ended.

    `keys` go to the branch before and the next one.
    """
    place, count = node.place
    spans: list[Span] = []
    if count > 1:
        spans += [(f"‹ {place}/{count} › ", "accent"), (f"{keys[0]} {keys[1]} ", "muted")]
    answer = node.answer
    is_last = pane.tree.leaf is node
    if is_last and pane.state.kind in ("waiting", "streaming", "opening"):
        return spans
    if answer is None:
        if node.failure and not (is_last and pane.state.kind == "failed"):
            told = "failed" if hidden else sanitize(node.failure, LINE)
            spans.append((f"✗ {told}", "bad"))
        return spans
    figures = Figures() if hidden else pane.figures(node)
    parts = []
    if answer.model and not hidden:
        parts.append(sanitize(answer.model, 60))
    if figures.tokens is not None:
        parts.append(f"{figures.tokens:,} tok")
    if figures.tokens_per_second is not None:
        parts.append(f"{figures.tokens_per_second:.0f}/s")
    if figures.first_token_seconds is not None:
        parts.append(f"first {figures.first_token_seconds:.2f} s")
    if answer.settings.seed is not None and not hidden:
        parts.append(f"seed {answer.settings.seed}")
    ends = {"length": "cut at max tokens", "stopped": "stopped", "cut": "broke off", "other": "ended"}
    if answer.reason in ends:
        spans.append((f"{'✗' if answer.reason == 'cut' else '■'} {ends[answer.reason]}", "warn"))
        parts = ["", *parts]
    spans.append((" · ".join(parts), "muted"))
    if node.failure and answer.reason == "cut" and not (hidden or (is_last and pane.state.kind == "failed")):
        spans.append((f"\n✗ {sanitize(node.failure, LINE)}", "bad"))
    return spans
