"""The order of rows by one of their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")
SortValue = tuple[int, Any]
"""What rows are sorted by: a group, which stands in the same order always, and a value within it."""


def arranged(
    items: Iterable[Item], value: Callable[[Item], SortValue | None], descending: bool
) -> list[Item]:
    """`items` by their value, those without one last in both directions; equal ones stay as they were."""
    found = [(value(item), item) for item in items]
    known = [(key, item) for key, item in found if key is not None]
    known.sort(key=lambda entry: entry[0][1], reverse=descending)
    known.sort(key=lambda entry: entry[0][0])
    return [item for _, item in known] + [item for key, item in found if key is None]


def natural(text: str) -> SortValue:
    """The order of a text as people count: d4 before d12. Empty text counts as no value elsewhere."""
    return 0, [
        (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in _split(text)
    ]


def _split(text: str) -> list[str]:
    return [part for part in re.split(r"([0-9]{1,18})", text.lower()) if part]
