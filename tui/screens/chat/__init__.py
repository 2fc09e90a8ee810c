"""The Chat screen and its dialogs, one a file."""

from __future__ import annotations


def load() -> None:
    """Imports what the screen needs, an HTTP client among it: 180 ms and 9 MB, for a thread."""
    import tui.screens.chat.screen  # noqa: F401
    from nanochat.serve.client import load_client
    from tui.widgets.chat.markdown_blocks import load_parser

    load_client()
    load_parser()
