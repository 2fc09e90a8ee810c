"""Whether a split pattern keeps every character of a text.

A pattern that does not match some characters does not fail: tiktoken leaves them out of the ids. So a pattern
from a file is tried on a text that holds every kind of character.
"""

import sys
from functools import cache

import regex

from nanochat.common.errors import UserError, one_line

_STEP = 307
"""Every 307th code point beyond Latin: nearly every script and category is met, within milliseconds."""
_SURROGATES = range(0xD800, 0xE000)
_SECONDS = 10
"""A pattern that takes longer over the text would stall on real text as well."""


@cache
def probe_text() -> str:
    """Characters of all kinds: alone, doubled, beside a letter, a digit and a space, before a line's end."""
    latin = [chr(code) for code in range(0x180)]
    others = [chr(code) for code in range(0x180, sys.maxunicode + 1, _STEP) if code not in _SURROGATES]
    words = (
        "it's we'll THEY'VE I'd 'tis a1b22c333 4444 55555  two   three\ttab\r\nline\n\n  indented \n"
        "x=(y+z)*2;\r\n\r\n{}[]!?... -- naïve 中文字 한국어 العربية हिन्दी 🙂🏽 "
        "e\u0301\u200d \u3000 \u00a0\x00\x7f"
    )
    mixed = [f"{char}{char} {char}a{char}1{char}\n{char} " for char in latin]
    return "".join([words, *mixed, *latin, *others, " ", *(f"{char} " for char in others), "end \t "])


@cache
def check_pattern(pattern: str) -> None:
    """Raises `UserError` unless the pieces that `pattern` splits the probe text into are the whole text."""
    text = probe_text()
    try:
        pieces = [match.group() for match in regex.finditer(pattern, text, timeout=_SECONDS)]
    except (regex.error, TimeoutError, RecursionError, OverflowError) as error:
        raise UserError(
            f"the tokenizer's split pattern cannot be used: {one_line(str(error))[:120]}"
        ) from error
    if "" in pieces or "".join(pieces) != text:
        raise UserError(
            "the tokenizer's split pattern is damaged: it loses characters of a text",
            "restore the file, or train the tokenizer again: nanochat tok_train",
        )
