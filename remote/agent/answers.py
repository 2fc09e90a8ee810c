"""Lines of JSON on standard output, each behind the word that the caller chose for this command.

Whatever else reaches the same output, such as a job that a login file left in the background, has not that
word and is nobody's answer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    Json = dict[str, Any]

FENCE = "\x1e"
_OPTION = "--fence"


class Answers:
    """Writes answers and frames to `out`."""

    def __init__(self, out: TextIO, word: str = "") -> None:
        self._out = out
        self._before = f"{FENCE}{word}{FENCE}" if word else ""

    def write(self, content: Json) -> None:
        """One line; `flush` sends it off."""
        self._out.write(self._before + json.dumps(content, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        self._out.flush()


def take_fence(argv: list[str]) -> tuple[str, list[str]]:
    """The word of `--fence WORD` at the head of a command line ("" when there is none), and the rest."""
    if len(argv) > 1 and argv[0] == _OPTION:
        return argv[1], argv[2:]
    return "", argv
