"""A token's bytes as people read them in a table: every space, line end and half character can be seen."""

from __future__ import annotations

import re
import unicodedata

from nanochat.common.text import UNSAFE

SPACE, LINE_END, TAB = "·", "↵", "⇥"
_VISIBLE = str.maketrans({" ": SPACE, "\n": LINE_END, "\t": TAB, "\u00a0": "⍽"})
_JOINING = re.compile("[\ufe00-\ufe0f\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]")
"""Variation selectors, halves of flags, skin tones: terminals disagree about their width, alone or joined."""
_RAW = re.compile("([\udc80-\udcff]+)")
"""Bytes that are no UTF-8, as `surrogateescape` decodes them."""
_MARKS = ("Mn", "Me", "Mc")
LONGEST = 400
"""Characters of a token that are shown."""


def shown(token: bytes) -> str:
    """A token in one line, safe to print. Bytes that are no whole character stand in hex, as ⟨e4 bd⟩."""
    try:
        return visible(token.decode())
    except UnicodeDecodeError:
        return _in_parts(token)


def visible(text: str) -> str:
    """Text with its white space as signs, and what acts on a terminal, or takes no cell of its own, as its
    picture or code point; a mark that joins the letter before it stands on a circle."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    line = _JOINING.sub(_code, UNSAFE.sub(_code, cut.translate(_VISIBLE)))
    return f"◌{line}" if line and unicodedata.category(line[0]) in _MARKS else line


def _code(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else f"⟨{code:04x}⟩"


def _in_parts(token: bytes) -> str:
    """What can be read of it as text, the other bytes in hex."""
    parts = _RAW.split(token.decode("utf-8", "surrogateescape"))
    return "".join(
        f"⟨{part.encode('utf-8', 'surrogateescape').hex(' ')}⟩" if number % 2 else visible(part)
        for number, part in enumerate(parts)
    )


def hexed(token: bytes, most: int = 64) -> str:
    """The bytes in hex, parted by spaces; of a long token the first `most`."""
    return token[:most].hex(" ") + (" …" if len(token) > most else "")
