"""The pieces of an answer, kept as texts: a long conversation has tens of thousands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

from nanochat.serve.conversation import PART_KINDS, Part


class PartList(Sequence[Part]):
    """A list of parts that grows at its end. The parts are made when they are looked at: Python then has no
    object a piece to walk over when it looks for garbage."""

    __slots__ = ("_kinds", "_texts")

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self._kinds = bytearray()
        self._texts: list[str] = []
        for part in parts:
            self.append(part)

    def append(self, part: Part) -> None:
        self._kinds.append(PART_KINDS.index(part.kind))
        self._texts.append(part.text)

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, at: int) -> Part: ...
    @overload
    def __getitem__(self, at: slice) -> list[Part]: ...
    def __getitem__(self, at: int | slice) -> Part | list[Part]:
        if isinstance(at, slice):
            return [self[index] for index in range(*at.indices(len(self)))]
        return Part(PART_KINDS[self._kinds[at]], self._texts[at])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"PartList({list(self)!r})"
