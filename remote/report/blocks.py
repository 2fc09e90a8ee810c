"""What a report is made of: sections of a few kinds of blocks, from which Markdown and HTML are both written.

All text here is as it was said, foreign text too: whoever writes a form of it cleans and escapes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Text:
    """A paragraph. `tone` says that it is bad news."""

    text: str
    tone: Literal["", "bad"] = ""


@dataclass(frozen=True)
class Facts:
    """Names and values; `folded` ones are many and seldom read."""

    rows: tuple[tuple[str, str], ...]
    title: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Lines:
    """Sentences that belong together."""

    lines: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a header; `notes` stand below it, a line each."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    title: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Code:
    """Commands or a file, to be copied."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Sample:
    """What a model wrote after a prompt."""

    prompt: str
    text: str
    about: str = ""


@dataclass(frozen=True)
class Curves:
    """Plots as SVG of our own making, each under its metric's name, and their figures as a table."""

    pictures: tuple[tuple[str, str], ...]
    table: Table


Block = Text | Facts | Lines | Table | Code | Sample | Curves


@dataclass(frozen=True)
class Section:
    """A part of the report; `level` 2 is a chapter, 3 a part of one."""

    title: str
    blocks: tuple[Block, ...]
    level: int = 2


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    sections: tuple[Section, ...]
