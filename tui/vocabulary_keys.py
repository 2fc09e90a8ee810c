"""The keys of the screens about whole vocabularies: browser, comparison, compression; as in `chat_keys`."""

from __future__ import annotations

from tui.chat_keys import Row

VOCABULARY_KEYS: dict[str, tuple[Row, ...]] = {
    "vocabulary": (
        (
            "find",
            "slash",
            "find",
            "find",
            "Find tokens: ing, len:8-, #100-200, is:special, re:^ ?the",
            True,
            False,
        ),
        (
            "only",
            "w",
            "only",
            "only",
            "Only special tokens, parts, bytes, those the corpus lacks; all",
            True,
            False,
        ),
        (
            "open",
            "enter",
            "open",
            "token",
            "The token under the cursor, whole: how it was merged",
            True,
            False,
        ),
        (
            "count",
            "u",
            "count",
            "count",
            "Count how often every token stands in a corpus, or stop it",
            True,
            False,
        ),
        ("side", "v", "side", "lengths", "Show the lengths of the tokens, or the token", True, False),
        ("sort", "o", "sort", "sort", "Sort by the next column", True, False),
        ("reverse", "O", "reverse", "reverse", "Reverse the order", False, False),
        ("copy", "y", "copy", "copy JSON", "Copy the token under the cursor as JSON", False, False),
        (
            "export",
            "x",
            "export",
            "export",
            "Write the tokens that are shown as CSV, Markdown, JSON",
            True,
            True,
        ),
    ),
    "token": (("copy", "y", "copy", "copy JSON", "Copy the token as JSON", True, False),),
}
