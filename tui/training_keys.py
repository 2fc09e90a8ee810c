"""The keys of the screens that train a tokenizer, show a mask, a sweep and the data; as in `chat_keys`."""

from __future__ import annotations

from tui.chat_keys import Row

TRAINING_KEYS: dict[str, tuple[Row, ...]] = {
    "mask": (
        ("open", "o", "open", "open", "Open samples, a file of JSON lines, or a task's items", True, False),
        ("next", "n", "go(1)", "next", "The next conversation", True, False),
        ("previous", "N", "go(-1)", "previous", "The conversation before", True, False),
        ("number", "g", "number", "go to", "Go to a conversation by its number", False, False),
        ("limit", "m", "limit", "length", "Cut at another number of tokens", True, False),
        ("tokenizer", "t", "tokenizer", "tokenizer", "Render with another tokenizer", True, False),
        (
            "change",
            "tab",
            "trained(1)",
            "next change",
            "The next token where the mask changes",
            True,
            False,
        ),
        ("change_back", "shift+tab", "trained(-1)", "change before", "The one before", False, False),
        ("left", "left,h", "token(-1)", "left", "The token before", False, False),
        ("right", "right,l", "token(1)", "right", "The next token", False, False),
        ("up", "up,k", "line(-1)", "up", "The line above", False, False),
        ("down", "down,j", "line(1)", "down", "The line below", False, False),
        ("page_up", "pageup", "page(-1)", "page up", "One page up", False, False),
        ("page_down", "pagedown", "page(1)", "page down", "One page down", False, False),
        ("first", "home", "end(0)", "start", "The first token", False, False),
        ("last", "end,G", "end(1)", "end", "The last token", False, False),
        ("copy", "y", "copy", "copy JSON", "Copy ids and mask as JSON", False, False),
    ),
}
