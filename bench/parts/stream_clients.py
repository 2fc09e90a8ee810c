"""Clients that stream answers over HTTP, some to a process, as cheap as they can be: bytes are kept with the
time they came, and read only when the clock has stopped."""

import contextlib
import json
import re
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

END = b"\r\n0\r\n\r\n"
"""What ends a chunked response. JSON escapes a carriage return, so that no event spells it."""
TEXT = re.compile(rb'"(?:text|content)": ?"[^"]')
"""An event that brings text."""
RECEIVE = 1 << 16


def request(path: str, document: dict[str, Any], key: str = "") -> bytes:
    """A POST as it goes over the wire."""
    body = json.dumps(document).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


@dataclass
class Answer:
    """One response: when the request was sent, and each read with its time (seconds of `time.monotonic`)."""

    sent: float
    reads: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether the response has come to its end."""
        return len(self.reads) > 0 and self._tail().endswith(END)

    def _tail(self) -> bytes:
        """Enough of the end to know it: the last read, or with those before where it is short."""
        tail = b""
        for _, part in reversed(self.reads):
            tail = part + tail
            if len(tail) >= len(END):
                break
        return tail

    @property
    def end(self) -> float:
        return self.reads[-1][0]

    @property
    def first_text(self) -> float:
        """When the first text came. ValueError where none did."""
        for at, part in self.reads:
            if TEXT.search(part):
                return at
        raise ValueError(f"an answer without text: {self.raw[:300]!r}")

    @property
    def raw(self) -> bytes:
        return b"".join(part for _, part in self.reads)

    def events(self) -> Iterator[dict[str, Any]]:
        """The server-sent events. ValueError for another kind of response."""
        head, _, rest = self.raw.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise ValueError(f"no answer but {self.raw[:300]!r}")
        for line in b"".join(chunks(rest)).split(b"\n\n"):
            if line.startswith(b"data: ") and line != b"data: [DONE]":
                yield json.loads(line[len(b"data: ") :])

    def text(self) -> str:
        """All text of the first choice."""
        return "".join(
            choice.get("text") or choice.get("delta", {}).get("content") or ""
            for event in self.events()
            for choice in event["choices"]
        )

    def tokens(self) -> int:
        """Tokens of the answer, as the server counted them. ValueError where it did not."""
        for event in self.events():
            if event.get("usage"):
                return int(event["usage"]["completion_tokens"])
        raise ValueError("an answer without usage")


def chunks(body: bytes) -> Iterator[bytes]:
    """The payloads of a chunked body."""
    at = 0
    while at < len(body):
        line = body.index(b"\r\n", at)
        size = int(body[at:line], 16)
        yield body[line + 2 : line + 2 + size]
        at = line + 2 + size + 2


def run_clients(port: int, requests: Sequence[Sequence[bytes]], start: float) -> list[list[Answer]]:
    """Each client sends its requests one after the other over one connection, the first at `start`.

    Returns the answers by client, and early when the server closes a connection: the last answer of that
    client is then not whole.
    """
    selector = selectors.DefaultSelector()
    answers: list[list[Answer]] = [[] for _ in requests]
    sockets = []
    for number, _ in enumerate(requests):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ, number)
        sockets.append(connection)
    time.sleep(max(0.0, start - time.monotonic()))
    for number, connection in enumerate(sockets):
        answers[number].append(Answer(time.monotonic()))
        connection.sendall(requests[number][0])
    open_ones = len(sockets)
    while open_ones:
        for key, _ in selector.select():
            number = key.data
            connection = sockets[number]
            answer = answers[number][-1]
            with contextlib.suppress(ConnectionError):
                if part := connection.recv(RECEIVE):
                    answer.reads.append((time.monotonic(), part))
                    if not part.endswith(b"\n") or not answer.whole:
                        continue
                    if len(answers[number]) < len(requests[number]):
                        answers[number].append(Answer(time.monotonic()))
                        connection.sendall(requests[number][len(answers[number]) - 1])
                        continue
            selector.unregister(connection)
            connection.close()
            open_ones -= 1
    return answers


def load_clients(port: int, requests: Sequence[Sequence[bytes]], start: float) -> None:
    """As `run_clients`, for the work alone."""
    run_clients(port, requests, start)
