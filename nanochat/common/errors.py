"""Errors the user can fix: one line that says what was wrong, where, and what to do."""

import difflib
from collections.abc import Iterable
from enum import IntEnum

from nanochat.common.text import LINE_CAP, sanitize


class Exit(IntEnum):
    """Exit codes of every `nanochat` command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    STOPPED = 4
    INTERRUPTED = 130


class UserError(Exception):
    """Something the user can fix.

    `message` says what and where, `hint` what to do; `str()` joins them on one line.
    `exit_code` is what a command ends with when the error reaches it.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = Exit.USAGE) -> None:
        super().__init__(message, hint)
        self.message = one_line(message)
        self.hint = one_line(hint)
        self.exit_code = int(exit_code)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def one_line(text: str) -> str:
    """`text` with every run of white space, newlines included, folded to one space, safe to print.

    What a user typed or a file held may carry control sequences: they are shown, never acted on.
    """
    return sanitize(" ".join(str(text).split()), LINE_CAP).strip()


def _fold(word: str) -> str:
    return word.lower().lstrip("-").replace("-", "_")


def nearest(name: str, known: Iterable[str], limit: int = 3) -> str:
    """A hint that names the known words closest to `name`, or lists them when none is close."""
    words = sorted(set(known))
    folded = {_fold(word): word for word in words}
    close = difflib.get_close_matches(_fold(name), list(folded), n=limit, cutoff=0.55)
    if close:
        return "did you mean " + " or ".join(f"'{folded[word]}'" for word in close) + "?"
    if not words:
        return ""
    shown = ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
    return f"known: {shown}"
