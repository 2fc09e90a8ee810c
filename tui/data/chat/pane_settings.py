"""The settings of a pane as a person types them, and as they are kept between starts."""

from __future__ import annotations

from typing import Any

from nanochat.common.errors import UserError
from nanochat.common.fields import parse_int, real, whole
from nanochat.common.text import sanitize
from nanochat.serve.conversation import AnswerSettings

MAX_TEMPERATURE = 2.0
MAX_TOKENS = 1 << 20
MAX_SEED = (1 << 63) - 1
REALS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, MAX_TEMPERATURE),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
}
WHOLES: dict[str, tuple[int, int]] = {
    "top_k": (0, MAX_TOKENS),
    "max_tokens": (1, MAX_TOKENS),
    "seed": (0, MAX_SEED),
}
NAMES = (*REALS, *WHOLES)


def parse_setting(name: str, typed: str) -> float | int | None:
    """The value of the setting `name` (of `AnswerSettings`) that was typed; nothing, or random, as a seed is
    None: a new one for each answer. Raises `UserError` with the bounds."""
    typed = typed.strip()
    if name == "seed" and typed in ("", "random"):
        return None
    low, high = REALS[name] if name in REALS else WHOLES[name]
    try:
        value = float(typed) if name in REALS else parse_int(typed)
    except ValueError:
        what = "a number" if name in REALS else "a whole number"
        raise UserError(f"{_spelled(name)} '{sanitize(typed, 40)}' is not {what}") from None
    if not low <= value <= high or (name == "top_p" and value == 0):
        above = "above 0" if name == "top_p" else f"from {low:g}"
        top = f"{high:g}" if isinstance(high, float) else f"{high:,}"
        raise UserError(f"{_spelled(name)} {sanitize(typed, 40)} is out of range", f"{above} to {top}")
    return value


def settings_document(settings: AnswerSettings) -> dict[str, Any]:
    """The settings as JSON."""
    return dict(vars(settings))


def read_settings(document: object) -> AnswerSettings:
    """The settings in a JSON object; what is wrong or missing in it keeps its default."""
    values: dict[str, Any] = {}
    for name in NAMES if isinstance(document, dict) else ():
        given = document.get(name) if isinstance(document, dict) else None
        value = real(given, *REALS[name]) if name in REALS else whole(given, *WHOLES[name])
        if value is not None and not (name == "top_p" and value == 0):
            values[name] = value
    return AnswerSettings(**values)


def _spelled(name: str) -> str:
    return name.replace("_", "-")
