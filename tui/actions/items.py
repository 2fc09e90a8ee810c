"""What the user can do to one item of an evaluation: copy it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nanochat.common.fields import safe_json
from nanochat.common.text import size_bytes
from tui.actions.run import copy_text

if TYPE_CHECKING:
    from nanochat.evals.items import Items
    from tui.room import Room


async def copy_item(room: Room, items: Items, row: int) -> None:
    """Copies an item as JSON, as it is in its file. Raises `UserError` when that is gone."""
    record = await asyncio.to_thread(items.record, row)
    text = safe_json(dict(record.document), 1)
    await copy_text(room, text, f"the item ({size_bytes(len(text.encode()))})")
