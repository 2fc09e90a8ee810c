"""What is told of a pane and of a token, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanochat.common.text import amount

if TYPE_CHECKING:
    from tui.data.tokenizer.splitting import Shown

NARROW = 46
SAME = "as many"


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
    more = _more(figures.length_ratio)
    length, attention = _ratio(figures.length_ratio), _ratio(figures.attention_ratio)
    if width < NARROW:
        return first, f"{more} · len ×{length} · att ×{attention}"
    told = f"{first} · {more}"
    than = f" {'as' if more == SAME else 'than'} {base}"
    told += than if len(told + than) < width else ""
    return told, f"sequence length ×{length} · attention cost ×{attention}"


def _more(ratio: float) -> str:
    """How many tokens more or fewer, in words: a sign would stand for the opposite of `tok_eval`'s, which
    tells how many fewer there are."""
    share = 100 * (ratio - 1)
    if abs(share) < 0.05:
        return SAME
    digits = 1 if abs(share) < 1000 else 0
    return f"{abs(share):,.{digits}f} % {'more' if share > 0 else 'fewer'}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
