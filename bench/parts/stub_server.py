"""A server that says again what another one said: the same bytes in the same pieces at the same times.

Clients that read from it are the load that they are beside the real server, without its work.
"""

import heapq
import itertools
import selectors
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from parts.stream_clients import Answer

Pieces = list[tuple[float, bytes]]
"""Seconds after the request, and what is sent then."""


def recorded(answers: Sequence[Sequence[Answer]]) -> list[Pieces]:
    """Every whole answer as pieces; clients are interleaved, so that each connection gets its own turn."""
    by_turn = itertools.zip_longest(*answers)
    return [
        [(at - answer.sent, part) for at, part in answer.reads]
        for turn in by_turn
        for answer in turn
        if answer is not None and answer.whole
    ]


def replay(scripts: Sequence[Pieces], port_file: str) -> None:
    """Answers request after request with the next script, from the first again after the last; never ends.

    A request is what comes in one read. Writes its port to `port_file`.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    Path(port_file).write_text(str(listener.getsockname()[1]), encoding="utf-8")
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    due: list[tuple[float, int, socket.socket, Pieces, int]] = []
    number = itertools.count()
    turn = itertools.cycle(scripts)
    while True:
        wait = due[0][0] - time.monotonic() if due else None
        for key, _ in selector.select(None if wait is None else max(0.0, wait)):
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ)
            else:
                assert isinstance(key.fileobj, socket.socket)
                if not key.fileobj.recv(1 << 20):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    continue
                pieces = next(turn)
                at = time.monotonic() + pieces[0][0]
                heapq.heappush(due, (at, next(number), key.fileobj, pieces, 0))
        now = time.monotonic()
        while due and due[0][0] <= now:
            at, _, connection, pieces, index = heapq.heappop(due)
            try:
                connection.sendall(pieces[index][1])
            except OSError:
                continue  # the client has left
            if index + 1 < len(pieces):
                at += pieces[index + 1][0] - pieces[index][0]
                heapq.heappush(due, (at, next(number), connection, pieces, index + 1))
