"""Streaming clients in several processes, against a server or against a stub that says the same."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from parts import stub_server
from parts.stream_clients import Answer, load_clients, run_clients
from parts.worker import Worker, WorkerError

PATHS = (str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2]))
"""Where a worker finds `parts` and `nanochat`."""
HEAD_START = 0.3
"""Seconds from the call until all processes begin together."""


class ClientProcesses:
    """Client processes, kept between runs."""

    def __init__(self, count: int) -> None:
        self.workers = [Worker(PATHS) for _ in range(count)]
        self.threads = ThreadPoolExecutor(count)

    def start(
        self, run: Callable[..., Any], port: int, requests: Sequence[Sequence[bytes]], start: float
    ) -> list[Future[Any]]:
        """Spreads the clients over the processes; a future for each process with a client."""
        return [
            self.threads.submit(worker.call, run, port, share, start)
            for number, worker in enumerate(self.workers)
            if (share := requests[number :: len(self.workers)])
        ]

    def run(self, port: int, requests: Sequence[Sequence[bytes]]) -> list[list[Answer]]:
        """All answers by client."""
        count = len(self.workers)
        futures = self.start(run_clients, port, requests, time.monotonic() + HEAD_START)
        answers: list[list[Answer]] = [[] for _ in requests]
        for number, future in enumerate(futures):
            answers[number::count] = future.result()
        return answers

    @contextmanager
    def beside(
        self, answers: Sequence[Sequence[Answer]], requests: Sequence[Sequence[bytes]]
    ) -> Iterator[float]:
        """Within it the clients read the same again from a stub, over and over; gives when they begin."""
        with ExitStack() as stack:
            port_file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "port"
            stub = Worker(PATHS)
            said = threading.Thread(
                target=_until_killed, args=(stub, stub_server.recorded(answers), str(port_file))
            )
            said.start()
            stack.callback(said.join)
            stack.callback(stub.close)
            while not port_file.is_file() or not port_file.read_text(encoding="utf-8"):
                time.sleep(0.01)
            start = time.monotonic() + HEAD_START
            endless = [list(own) * 1000 for own in requests]
            futures = self.start(load_clients, int(port_file.read_text(encoding="utf-8")), endless, start)
            yield start
            stub.close()
            for future in futures:
                future.result()

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.threads.shutdown()


def _until_killed(stub: Worker, scripts: list[stub_server.Pieces], port_file: str) -> None:
    try:
        stub.call(stub_server.replay, scripts, port_file)
    except WorkerError:
        return  # its end is how it stops
