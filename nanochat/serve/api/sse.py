"""Server-sent events: each a line of JSON, in ASCII, so that no client splits a line or a character."""

import json
from collections.abc import Mapping
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
