"""Server-sent events: each a line of JSON, in ASCII, so that no client splits a line or a character."""

import json
from collections.abc import Callable, Mapping
from typing import Any

MEDIA_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
"""Ends every stream."""
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def event(document: Mapping[str, Any]) -> bytes:
    """One event."""
    return f"data: {_encode(document)}\n\n".encode("ascii")


class Chunks:
    """The chunks of one stream: the same `head` in each, then its choice, then `tail`."""

    def __init__(self, head: Mapping[str, Any], tail: Mapping[str, Any]) -> None:
        self._head, self._tail = dict(head), dict(tail)
        rest = _encode(tail)[1:-1]
        self._before, self._choices = f"data: {_encode(head)[:-1]},", '"choices":['
        self._after = f"]{',' if rest else ''}{rest}}}\n\n"

    def chunk(self, choice: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> bytes:
        """A chunk of one choice; `more` are further fields of it."""
        fields = _encode(more)[1:-1] + "," if more else ""
        return f"{self._before}{fields}{self._choices}{_encode(choice)}{self._after}".encode("ascii")

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        """The last chunk, which has no choice."""
        return event({**self._head, "choices": [], **self._tail, "usage": usage})


class TextChunks:
    """Chunks that tell mere text, which most do: all of one but the text is made once.

    `choice` makes that of a choice's number and a text.
    """

    def __init__(self, chunks: Chunks, choice: Callable[[int, str], Mapping[str, Any]]) -> None:
        self._chunks, self._choice = chunks, choice
        self._around: dict[int, tuple[bytes, bytes]] = {}

    def chunk(self, number: int, text: str) -> bytes:
        """A chunk of one choice."""
        if number not in self._around:
            mark = "\0"  # no name of a model holds it
            whole = self._chunks.chunk(self._choice(number, mark))
            before, _, after = whole.partition(_encode(mark).encode("ascii"))
            self._around[number] = before, after
        before, after = self._around[number]
        return before + _encode(text).encode("ascii") + after
