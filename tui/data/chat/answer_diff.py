"""The words in which two answers differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

MOST_WORK = 4_000_000
"""Pairs of words that are compared; longer answers are compared line by line, and the longest as wholes."""
_WORD = re.compile(r"\s*(?:[⺀-鿿가-힯぀-ヿ]|[^\W⺀-鿿가-힯぀-ヿ]+|[^\w\s])|\s+$")
_LINE = re.compile(r"[^\n]*\n|[^\n]+$")


@dataclass(frozen=True)
class DiffSpan:
    """A stretch of text: in both, only in the first answer, or only in the second."""

    kind: Literal["same", "first", "second"]
    text: str


def diff_words(first: str, second: str) -> list[DiffSpan]:
    """The answers word by word. All spans but "second" give the first back, all but "first" the second.

    Takes up to about a second for the longest answers: call it in a thread.
    """
    start, end, a, b = _trimmed(_WORD.findall(first), _WORD.findall(second))
    if len(a) * len(b) > MOST_WORK:
        start, end, a, b = _trimmed(_LINE.findall(first), _LINE.findall(second))
    if len(a) * len(b) > MOST_WORK:
        a, b = ["".join(a)], ["".join(b)]
    return list(_joined([("same", start), *_changes(a, b), ("same", end)]))


def _trimmed(a: list[str], b: list[str]) -> tuple[str, str, list[str], list[str]]:
    """What both begin with, what both end with, and what is between."""
    start = _common(a, b)
    same, a, b = "".join(a[:start]), a[start:], b[start:]
    end = _common(a[::-1], b[::-1])
    return same, "".join(a[len(a) - end :]), a[: len(a) - end], b[: len(b) - end]


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many first words are the same."""
    count = 0
    for one, other in zip(a, b, strict=False):
        if one != other:
            break
        count += 1
    return count


Kind = Literal["same", "first", "second"]


def _changes(a: list[str], b: list[str]) -> list[tuple[Kind, str]]:
    spans: list[tuple[Kind, str]] = []
    # autojunk would call frequent words junk, and then find nothing to be the same.
    for tag, a_from, a_to, b_from, b_to in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            spans.append(("same", "".join(a[a_from:a_to])))
        else:
            spans += [("first", "".join(a[a_from:a_to])), ("second", "".join(b[b_from:b_to]))]
    return spans


def _joined(spans: Sequence[tuple[Kind, str]]) -> Iterator[DiffSpan]:
    """The spans without empty ones, neighbours of a kind as one."""
    kind: Kind = "same"
    held = ""
    for next_kind, text in spans:
        if not text:
            continue
        if next_kind != kind and held:
            yield DiffSpan(kind, held)
            held = ""
        kind, held = next_kind, held + text
    if held:
        yield DiffSpan(kind, held)
