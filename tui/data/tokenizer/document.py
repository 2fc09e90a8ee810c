"""The text of the Tokenizer screen: written in its field, or shown only, where a field could not hold it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nanochat.common.errors import UserError, one_line
from nanochat.common.text import sanitize, size_bytes

MOST_WRITTEN = 20_000
"""Characters of a text that is written in the field: its own work grows with them."""
LONGEST_LINE = 10_000
MOST_BYTES = 16 << 20
_ACTS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Characters that a terminal, or a text field, would act on."""


@dataclass(frozen=True)
class Document:
    """A text, and where it is from: `name` is "" for one that was typed, `file` the file it can be read from
    again. `why` says why it is not written in the field; "" where it is."""

    text: str = ""
    name: str = ""
    file: str = ""
    why: str = ""


def why_not_written(text: str) -> str:
    """Why the field does not take a text; "" where it does."""
    if len(text) > MOST_WRITTEN:
        return f"longer than {MOST_WRITTEN:,} characters"
    if _ACTS.search(text):
        return "it has control characters"
    if re.search(r"\r(?!\n)", text) or (re.search(r"(?<!\r)\n", text) and "\r\n" in text):
        return "its lines end in several ways"
    if max(map(len, text.split("\n"))) > LONGEST_LINE:
        return f"it has a line of more than {LONGEST_LINE:,} characters"
    return ""


def document(text: str, name: str = "", file: str = "") -> Document:
    """A document of a text."""
    return Document(text, name, file, why_not_written(text))


def read_document(path: Path) -> Document:
    """A text file. Raises `UserError` for one that is missing, no text, or too large: call it in a thread."""
    shown = sanitize(str(path), 200)
    try:
        path = path.expanduser()
        if not path.is_file():
            raise UserError(f"{shown}: no such file" if not path.exists() else f"{shown} is not a file")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UserError(
                f"{shown} has {size_bytes(size)}, and {size_bytes(MOST_BYTES)} are shown",
                "cut a piece out of it (head -c)",
            )
        data = path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{shown} cannot be read: {one_line(str(error))[:200]}") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{shown} is no text in UTF-8: byte {error.start:,} is {data[error.start]:#04x}",
            "convert it (iconv -t utf-8), or open another",
        ) from error
    if "\0" in text[:4096]:
        raise UserError(f"{shown} is no text: it has zero bytes", "open a text file")
    return document(text, sanitize(path.name, 80), str(path.absolute()))
