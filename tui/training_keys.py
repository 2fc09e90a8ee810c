"""The keys of the screens that train a tokenizer, show a mask, a sweep and the data; as in `chat_keys`."""

from __future__ import annotations

from tui.chat_keys import Row

TRAINING_KEYS: dict[str, tuple[Row, ...]] = {}
