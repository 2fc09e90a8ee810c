"""The report as one HTML page: nothing is loaded, nothing runs, every foreign text is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from nanochat.common.text import clean_text, sanitize
from remote.report.blocks import Block, Code, Curves, Document, Facts, Lines, Sample, Section, Table, Text
from remote.report.markdown import shortened
from remote.report.page_style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def html(document: Document) -> str:
    """The whole page."""
    title = inline(document.title)
    chapters = [section.title for section in document.sections if section.level == 2]
    links = "".join(f'<li><a href="#{anchor(name)}">{inline(name)}</a></li>' for name in chapters)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            f"<h1>{title}</h1>",
            f'<nav aria-label="Chapters"><ul>{links}</ul></nav>',
            *(line for section in document.sections for line in _section(section)),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def inline(text: str) -> str:
    """One line of text that reads as itself."""
    return escape(sanitize(text))


def anchor(title: str) -> str:
    """The id of a chapter: our own titles only."""
    return "-".join(title.lower().split())


def _section(section: Section) -> Iterator[str]:
    mark = f' id="{anchor(section.title)}"' if section.level == 2 else ""
    yield f"<h{section.level}{mark}>{inline(section.title)}</h{section.level}>"
    for block in section.blocks:
        yield from _block(block, section.level + 1)


def _block(block: Block, level: int) -> Iterator[str]:
    if isinstance(block, Text):
        tone = ' class="bad"' if block.tone == "bad" else ""
        yield f"<p{tone}>{inline(block.text)}</p>"
    elif isinstance(block, Facts):
        rows = "".join(f"<dt>{inline(name)}</dt><dd>{inline(value)}</dd>" for name, value in block.rows)
        yield from _folded(block.title, f"<dl>{rows}</dl>", level, block.folded)
    elif isinstance(block, Lines):
        lines = "".join(f"<li>{inline(line)}</li>" for line in block.lines)
        yield from _folded(block.title, f'<ul class="notes">{lines}</ul>', level)
    elif isinstance(block, Table):
        yield from _folded(block.title, _table(block), level, block.folded)
    elif isinstance(block, Code):
        yield f"<pre><code>{escape(clean_text(block.text))}</code></pre>"
    elif isinstance(block, Curves):
        figures = "".join(f"<figure>{picture}</figure>" for _, picture in block.pictures)
        yield f'<div class="curves">{figures}</div>'
        yield _table(block.table)
    elif isinstance(block, Sample):
        about = f"<span>{inline(block.about)}</span>"
        yield f'<div class="sample"><p><b>{inline(block.prompt)}</b> {about}</p>'
        yield f"<pre>{escape(clean_text(shortened(block.text)))}</pre></div>"


def _folded(title: str, inside: str, level: int, folded: bool = False) -> Iterator[str]:
    """A part under its title, which is a heading of this level or opens and closes it."""
    if folded:
        yield f"<details><summary>{inline(title)}</summary>{inside}</details>"
        return
    if title:
        yield f'<h{level} class="part">{inline(title)}</h{level}>'
    yield inside


def _table(block: Table) -> str:
    head = "".join(f'<th scope="col">{inline(cell)}</th>' for cell in block.header)
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{inline(cell)}</th>' if at == 0 else f"<td>{inline(cell)}</td>"
            for at, cell in enumerate(row)
        )
        + "</tr>"
        for row in block.rows
    )
    notes = "".join(f"<li>{inline(note)}</li>" for note in block.notes)
    label = block.title or f"table of {block.header[0]}"
    below = f'<ul class="notes">{notes}</ul>' if notes else ""
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="{inline(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{below}"
    )
