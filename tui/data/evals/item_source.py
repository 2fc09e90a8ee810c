"""Items fetched from where they lie and read: of one evaluation, or of two that are paired."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.text import percent, size_bytes
from tui.data.evals.item_list import ItemList

if TYPE_CHECKING:
    from nanochat.evals.items import Items
    from nanochat.evals.paired import Comparison
    from remote.fleet.fleet import Fleet
    from remote.store.evaluations import Evaluation


class ItemSource:
    """Reads items once, and compares them once; `tell` is given a line about how far it is."""

    def __init__(self, fleet: Callable[[], Fleet], tell: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._tell = tell
        self._read: dict[int, Items] = {}
        self._compared: dict[tuple[int, int], Comparison] = {}

    def telling(self, tell: Callable[[str], None]) -> ItemSource:
        """The same for another screen: what either has read the other need not read."""
        other = ItemSource(self._fleet, tell)
        other._read, other._compared = self._read, self._compared
        return other

    async def items(self, one: Evaluation) -> Items:
        """All items of an evaluation. Raises `UserError` when they are gone or cannot be read."""
        from nanochat.evals.items import read_items

        known = self._read.get(one.id)
        if known is not None:
            return known
        loop = asyncio.get_running_loop()
        is_over = False

        def tell(line: str) -> None:
            if not is_over:  # the thread of a worker that was cancelled reads on
                self._tell(line)

        def fetched(done: int, size: int) -> None:
            tell(f"fetching {size_bytes(done)} of {size_bytes(size)}")

        def read(done: int, size: int) -> None:  # called in the thread
            if size:
                loop.call_soon_threadsafe(tell, f"reading {percent(done / size)} of {size_bytes(size)}")

        try:
            path = await self._fleet().evaluations.items(one, fetched)
            items = await asyncio.to_thread(read_items, path, read)
        finally:
            is_over = True
        self._read[one.id] = items
        return items

    async def open(self, one: Evaluation, other: Evaluation | None) -> tuple[ItemList, list[str]]:
        """The list of items of an evaluation, or of two, and what is to be said of their files."""
        items = await self.items(one)
        if other is None:
            return ItemList(items), list(items.notes)
        second = await self.items(other)
        comparison = await self.compare(one, other)
        if not comparison.pairs:
            raise UserError("these two have no item in common", "they were made on other items or prompts")
        notes = [*(f"A: {note}" for note in items.notes), *(f"B: {note}" for note in second.notes)]
        return ItemList(items, second, dict(comparison.pairs)), [
            *comparison_notes(one, other, comparison),
            *notes,
        ]

    async def compare(self, one: Evaluation, other: Evaluation) -> Comparison:
        """Two evaluations compared item by item: `one` is A."""
        from nanochat.evals.paired import compare

        first, second = await self.items(one), await self.items(other)
        known = self._compared.get((one.id, other.id))
        if known is None:
            self._tell("comparing item by item …")
            known = await asyncio.to_thread(compare, first, second)
            self._compared[one.id, other.id] = known
        return known


def comparison_notes(one: Evaluation, other: Evaluation, comparison: Comparison) -> list[str]:
    """What makes two evaluations less than comparable, a line each: settings first, then items."""
    from remote.evaluation_tables import setting_differences

    settings = setting_differences(one, other)
    lines = [f"other settings: {' · '.join(settings)}"] if settings else []
    return [*lines, *comparison.notes]
