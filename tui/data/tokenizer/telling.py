"""What is told of a pane and of a token, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanochat.common.text import amount

if TYPE_CHECKING:
    from tui.data.tokenizer.splitting import Shown

NARROW = 46


def figure_lines(shown: Shown, base: str, width: int) -> tuple[str, str]:
    """Two lines of figures; `base` is the pane that it is compared to, "" for that pane itself."""
    figures = shown.figures
    if figures is None:
        return "", ""
    each = "" if figures.bytes_per_token is None else f" · {figures.bytes_per_token:.2f} bytes/token"
    first = amount(figures.tokens, "token") + each
    note = shown.split.note if shown.split is not None else ""
    if not base or figures.length_ratio is None or figures.attention_ratio is None:
        return first, note or ("the others are compared to it" if not base else "")
    more = f"{100 * (figures.length_ratio - 1):+.1f} %"
    length, attention = _ratio(figures.length_ratio), _ratio(figures.attention_ratio)
    if width < NARROW:
        return first, f"{more} · len ×{length} · att ×{attention}"
    told = f"{first} · {more}"
    told += f" to {base}" if len(told) + 6 < width else ""
    return told, f"sequence length ×{length} · attention cost ×{attention}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
