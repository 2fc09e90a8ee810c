"""The words in which two answers differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DiffSpan:
    """A stretch of text: in both, only in the first answer, or only in the second."""

    kind: Literal["same", "first", "second"]
    text: str


def diff_words(first: str, second: str) -> list[DiffSpan]:
    """The answers word by word. All spans but "second" give the first back, all but "first" the second.

    Takes up to about a second for the longest answers: call it in a thread.
    """
    raise NotImplementedError
