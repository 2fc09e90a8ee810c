"""The keys of the screens about whole vocabularies: browser, comparison, compression; as in `chat_keys`."""

from __future__ import annotations

from tui.chat_keys import Row

VOCABULARY_KEYS: dict[str, tuple[Row, ...]] = {}
