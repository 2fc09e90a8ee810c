"""What a tag can be."""

from __future__ import annotations

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize

LONGEST = 60


def tag_words(text: str) -> list[str]:
    """The tags in a line of words, each with or without its `#`. Raises `UserError` for what is no tag."""
    return [checked(word.removeprefix("#")) for word in text.split() if word != "#"]


def checked(word: str) -> str:
    """A tag as it is kept. Raises `UserError` for what is none: it could not be written as `tag:WORD`."""
    if not word or any(letter.isspace() or letter in '"()' for letter in word):
        raise UserError(f"'{word}' is no tag", "a tag is one word, for the filter's tag:WORD")
    if len(word) > LONGEST:
        raise UserError(f"'{word[:20]}…' is too long for a tag", f"at most {LONGEST} characters")
    return sanitize(word)
