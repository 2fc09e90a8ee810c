"""The order of rows by one of their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar

Item = TypeVar("Item")
SortValue = tuple[int, Any]
"""What rows are sorted by: a group, which stands in the same order always, and a value within it."""
_DIGITS = 18
_NUMBER = re.compile(f"[0-9]{{1,{_DIGITS}}}")


def arranged(
    items: Iterable[Item], value: Callable[[Item], SortValue | None], descending: bool
) -> list[Item]:
    """`items` by their value, those without one last in both directions; equal ones stay as they were."""
    groups: dict[int, list[tuple[Any, Item]]] = {}
    without: list[Item] = []
    for item in items:
        key = value(item)
        if key is None:
            without.append(item)
        else:
            groups.setdefault(key[0], []).append((key[1], item))
    for group in groups.values():  # each by itself: a number and a text cannot be compared
        group.sort(key=itemgetter(0), reverse=descending)
    return [*(item for at in sorted(groups) for _, item in groups[at]), *without]


@lru_cache(maxsize=32_768)
def natural(text: str) -> SortValue:
    """The order of a text as people count: d4 before d12. Empty text counts as no value elsewhere.

    One string, with numbers filled up and before anything that is no number: ten thousand of them are
    compared in a fifth of the time that lists of parts take.
    """
    return 0, _NUMBER.sub(_filled, text.lower())


def _filled(number: re.Match[str]) -> str:
    return "\0" + number[0].zfill(_DIGITS)
