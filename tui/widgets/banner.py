"""A line over everything on a screen while something is wrong that concerns all of them."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget


class Banner(Widget):
    """One line, there only while it has something to say."""

    DEFAULT_CSS = """
    Banner { height: auto; max-height: 2; display: none; padding: 0 1; }
    Banner { background: $error; color: $background; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def show(self, text: str) -> None:
        """Shows `text`, or goes away when it is empty."""
        if text != self.text:
            self.text = text
            self.display = bool(text)
            self.refresh(layout=True)

    def render(self) -> Content:
        return Content.styled(f"✖ {self.text}", "bold")
