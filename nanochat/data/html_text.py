"""Plain text of an HTML page: what a reader sees, in paragraphs; scripts and styles are dropped."""

import re
from html.parser import HTMLParser

_DROPPED = frozenset({"script", "style", "noscript", "template", "svg", "iframe", "object"})
_PARAGRAPH = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol", "dl", "table", "title", "hr"}
    | {"article", "section", "header", "footer", "main", "aside", "nav", "figure", "form", "body"}
)
_LINE = frozenset({"br", "div", "li", "tr", "dt", "dd", "figcaption", "caption", "option", "address"})
_CELL = frozenset({"td", "th"})
_SPACE = re.compile(r"[ \t\r\n\f]+")


class HTMLText(HTMLParser):
    """Feed it pieces of a page, `take` the text so far, `close` it, and take the rest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._dropping = 0
        self._preformatted = 0
        self._breaks = 0
        """Line ends owed before the next text: 1 a line, 2 a paragraph."""
        self._space = False
        self._begun = False

    def take(self) -> str:
        """The text since the last call."""
        text = "".join(self._out)
        self._out.clear()
        return text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropping += 1
        self._break_for(tag)
        if tag == "pre":
            self._preformatted += 1
        elif tag == "li":
            self._write("- ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break_for(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropping = max(0, self._dropping - 1)
        elif tag == "pre":
            self._preformatted = max(0, self._preformatted - 1)
        self._break_for(tag)

    def _break_for(self, tag: str) -> None:
        if tag in _PARAGRAPH:
            self._breaks = max(self._breaks, 2)
        elif tag in _LINE:
            self._breaks = max(self._breaks, 1)
        elif tag in _CELL:
            self._space = True

    def handle_data(self, data: str) -> None:
        if self._dropping:
            return
        if self._preformatted:
            self._write(data)
            return
        text = _SPACE.sub(" ", data)
        if text.startswith(" "):
            self._space = True
        if words := text.strip(" "):
            self._write(words)
            self._space = text.endswith(" ")

    def _write(self, text: str) -> None:
        if self._dropping:
            return
        if self._begun:
            if self._breaks:
                self._out.append("\n" * self._breaks)
            elif self._space:
                self._out.append(" ")
        self._out.append(text)
        self._begun, self._space, self._breaks = True, False, 0
