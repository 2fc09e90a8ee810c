"""The report as Markdown. Foreign text is cleaned, and nothing in it is markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nanochat.common.table_formats import markdown as table_text
from nanochat.common.text import clean_text, sanitize
from remote.report.blocks import Block, Code, Curves, Document, Facts, Lines, Sample, Table, Text

MOST_OF_SAMPLE = 4_000
_MARKUP = re.compile(r"[\\`*\[\]<>|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|~(?=~)|&(?=#?\w+;)")
_AT_START = re.compile(r"^\s*(?:[-+](?=\s|$)|#{1,6}(?=\s|$)|\d{1,9}[.)](?=\s|$)|[-=]+$)")


def markdown(document: Document) -> str:
    """The whole report."""
    lines = [f"# {inline(document.title)}", ""]
    for section in document.sections:
        lines += [f"{'#' * section.level} {inline(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def inline(text: str) -> str:
    """One line of text that reads as itself."""
    escaped = _MARKUP.sub(r"\\\g<0>", sanitize(text).strip())
    return _AT_START.sub(lambda m: m[0][:-1] + "\\" + m[0][-1], escaped)


def fenced(text: str, language: str = "") -> str:
    """Text in a code block that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{clean_text(text)}\n{fence}"


def shortened(text: str, most: int = MOST_OF_SAMPLE) -> str:
    """The beginning of a long text, and how much more there is."""
    return text if len(text) <= most else f"{text[:most]} … +{len(text) - most:,} characters"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Text):
        words = inline(block.text)
        yield f"**{words}**" if block.tone == "bad" else words
    elif isinstance(block, Facts):
        yield from _title(block.title)
        if block.folded:
            yield fenced("\n".join(f"{sanitize(name)} = {sanitize(value)}" for name, value in block.rows))
        else:
            yield from (f"- {inline(name)}: {inline(value)}" for name, value in block.rows)
    elif isinstance(block, Lines):
        yield from _title(block.title)
        yield from (f"- {inline(line)}" for line in block.lines)
    elif isinstance(block, Table):
        yield from _title(block.title)
        yield from _table(block)
    elif isinstance(block, Code):
        yield fenced(block.text, block.language)
    elif isinstance(block, Curves):
        yield from _table(block.table)
    elif isinstance(block, Sample):
        yield from _title(f"{block.prompt} ({block.about})" if block.prompt else block.about)
        yield fenced(shortened(block.text))


def _title(text: str) -> Sequence[str]:
    return (f"**{inline(text)}**", "") if text else ()


def _table(block: Table) -> Iterator[str]:
    yield table_text(block.header, block.rows).rstrip("\n")
    if block.notes:
        yield ""
    yield from (f"- {inline(note)}" for note in block.notes)
