"""Plain text of an HTML page: what a reader sees, in paragraphs; scripts and styles are dropped.

The page is parsed as browsers do it (the recovery from broken markup of the HTML standard) by lexbor, through
selectolax. There are pages that take any such parser hours or all memory: `html_worker` bounds that.
"""

import re

from selectolax.lexbor import LexborHTMLParser, SelectolaxError

_DROPPED = frozenset(
    {"script", "style", "noscript", "template", "svg", "iframe", "object"}
    | {"-comment", "-doctype", None}  # selectolax's names of nodes that are no elements
)
_PARAGRAPH = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol", "dl", "table", "title", "hr"}
    | {"article", "section", "header", "footer", "main", "aside", "nav", "figure", "form", "body"}
)
_LINE = frozenset({"br", "div", "li", "tr", "dt", "dd", "figcaption", "caption", "option", "address"})
_CELL = frozenset({"td", "th"})
_BREAKS = dict.fromkeys(_CELL, 0) | dict.fromkeys(_LINE, 1) | dict.fromkeys(_PARAGRAPH, 2)
"""Line ends before and after the text of an element that is no part of a line: 0 is a space."""
_SPACE = re.compile(r"[ \t\r\n\f]+")

_SWALLOWING = re.compile(
    rb"<(/?)(script|style|noscript|template|iframe|object|title|textarea|xmp|plaintext|frameset|noframes|noembed)"
    rb"(?=[\s/>])[^<>]*",
    re.IGNORECASE,
)
"""Tags of elements that are dropped, or in which markup is text, up to their end tag."""
_NESTING = frozenset({b"template", b"object"})
_CODE = frozenset({b"script", b"style"})
_FRAMES = frozenset({b"frameset", b"noframes", b"noembed", b"plaintext"})
"""Frames are not followed, so the page is what stands in their place, or after `plaintext`."""


def page_text(page: bytes) -> str:
    """The text of a page in UTF-8, as a browser with scripts shows it.

    Raises `ValueError` when it cannot be parsed.
    """
    try:
        root = LexborHTMLParser(_opened(page), scripting=True).root
    except (SelectolaxError, MemoryError) as error:
        raise ValueError("HTML that cannot be parsed") from error
    text = _Text()
    tags: list[str | None] = [None]
    below = [iter(()) if root is None else root.iter(include_text=True)]
    while below:  # no recursion: pages nest deeper than Python's stack
        for node in below[-1]:
            tag = node.tag
            if tag == "-text":
                text.add(node.text_content or "")
            elif tag not in _DROPPED:
                if tag in _BREAKS:
                    text.enter(tag)
                tags.append(tag)
                below.append(node.iter(include_text=True))
                break
        else:
            below.pop()
            if (tag := tags.pop()) in _BREAKS:
                text.leave(tag)
    return text.taken()


def _opened(page: bytes) -> bytes:
    """The page without the tags that would swallow the rest of it because nothing closes them.

    An unclosed `noscript`, `object`, `iframe` or `title` holds all that follows, in the standard's tree as
    well; what follows is the page, so the tag becomes `span`. So does a self-closed one (`<iframe/>`,
    as XHTML has it), which HTML takes for unclosed. What follows an unclosed `script` or `style` is code.
    """
    tags = list(_SWALLOWING.finditer(page))
    ends = {tag[2].lower(): tag.start() for tag in tags if tag[1]}  # the last end tag of each name
    plain: list[tuple[int, int]] = []
    nesting: dict[bytes, list[tuple[int, int]]] = {name: [] for name in _NESTING}
    within = b""  # the element in which only its own end tag is one
    for tag in tags:
        name = tag[2].lower()
        if within:
            if tag[1] and name == within:
                within = b""
        elif name in _FRAMES:
            plain.append(tag.span(2))
        elif tag[1]:
            del nesting.get(name, [])[-1:]
        elif tag[0].endswith(b"/"):
            plain.append(tag.span(2))
        elif name in _NESTING:
            nesting[name].append(tag.span(2))
        elif tag.start() < ends.get(name, 0) or name in _CODE:
            within = name
        else:
            plain.append(tag.span(2))
    parts, done = [], 0
    for begin, end in sorted(sum(nesting.values(), plain)):
        parts += [page[done:begin], b"span"]
        done = end
    return b"".join([*parts, page[done:]]) if parts else page


class _Text:
    """The text of elements and pieces of text, given in the order of the page."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._preformatted = 0
        self._breaks = 0
        """Line ends owed before the next text."""
        self._space = False

    def taken(self) -> str:
        return "".join(self._out)

    def enter(self, tag: str) -> None:
        self._break_for(tag)
        if tag == "pre":
            self._preformatted += 1
        elif tag == "li":
            self._write("- ")

    def leave(self, tag: str) -> None:
        if tag == "pre":
            self._preformatted -= 1
        self._break_for(tag)

    def _break_for(self, tag: str) -> None:
        breaks = _BREAKS[tag]
        if breaks > self._breaks:
            self._breaks = breaks
        elif not breaks:
            self._space = True

    def add(self, data: str) -> None:
        """A piece of text, with its white space as the page has it."""
        if self._preformatted:
            self._write(data)
            return
        text = _SPACE.sub(" ", data)
        if text[:1] == " ":
            self._space = True
        if words := text.strip(" "):
            self._write(words)
            self._space = text[-1] == " "

    def _write(self, text: str) -> None:
        out = self._out
        if self._breaks:
            if out:
                out.append("\n" * self._breaks)
            self._breaks = 0
        elif self._space and out:
            out.append(" ")
        out.append(text)
        self._space = False
