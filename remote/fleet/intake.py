"""Taking a long backlog into the store in a process of its own.

A run of a million steps is 260 MB of events. Reading them in a thread would hold the interpreter's lock for
most of the time and make every key late, so the frames of a host that is far behind go through a child
process: the app passes them on as they came, unread, and hears what has been committed.

The child reads lines on standard input, each the JSON of one frame, and answers with one JSON object for
each batch: `{"frames": n, "changes": [[kind, run_id], …]}`; or `{"resync": why}` or
`{"failed": [message, hint, exit code], "unwritable": …}`, after which it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, cast

from nanochat.common import fields
from nanochat.common.errors import Exit, UserError
from remote.fleet.follower import Follower, Resync, joined
from remote.runs import Change, ChangeKind
from remote.store.database import StoreUnwritable
from remote.store.store import Store
from remote.transport.child import end_child, start_child

BATCH_BYTES = 4 << 20
"""Frames that are committed together: a tenth of a second."""
AHEAD_BYTES = 4 * BATCH_BYTES
"""Frames that are sent before their answers are there."""
_SOURCE = Path(__file__).parents[2]
_GRACE = 5.0
_TURN = 0.01  # seconds between two batches in which another writer of the store can have its turn

Taken = Callable[[list[Change]], None]


class Intake:
    """The child as the app sees it. `taken` is called with what each batch changed, once committed."""

    def __init__(self, process: asyncio.subprocess.Process, host: str, taken: Taken) -> None:
        self._process = process
        self._host = host
        self._taken = taken
        self._sent: list[int] = []
        self._ahead = 0
        self._failure: Exception | None = None
        self._answered = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(), name=f"intake of {host}")

    @classmethod
    async def start(cls, store: Path, host: str, taken: Taken) -> Self:
        """Starts the child. Raises `UserError` when it cannot be."""
        argv = [sys.executable, "-m", "remote.fleet.intake", str(store), host]
        # -m looks for modules in the working directory first: ours, not the user's, who may have a queue.py
        return cls(await start_child(argv, _SOURCE), host, taken)

    async def give(self, frame: bytes) -> None:
        """Passes one frame on. Waits while too much is unanswered; raises what taking it in raised."""
        while self._ahead > AHEAD_BYTES:
            await self._wait()
        self._check()
        self._sent.append(len(frame))
        self._ahead += len(frame)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # why it ended is told by its answers, or by their end
            self._process.stdin.write(frame + b"\n")
            await self._process.stdin.drain()

    async def settle(self) -> None:
        """Returns when everything given has been committed."""
        while self._sent:
            await self._wait()
        self._check()

    async def close(self) -> None:
        """Ends the child, which commits what it was given; what it does not is read again from the host."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait({self._listening}, timeout=_GRACE)
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening
        await end_child(self._process, within=_GRACE)

    async def _wait(self) -> None:
        self._check()
        self._answered.clear()
        await self._answered.wait()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                self._take(json.loads(line))
                self._answered.set()
            if self._failure is None:
                self._failure = await self._ended()
        except Exception as error:  # whoever waits for an answer hears it: none will come any more
            self._failure = error
        finally:
            self._answered.set()

    def _take(self, answer: dict[str, Any]) -> None:
        count = answer.get("frames", 0)
        self._ahead -= sum(self._sent[:count])
        del self._sent[:count]
        if "resync" in answer:
            self._failure = Resync(answer["resync"])
        elif "failed" in answer:
            message, hint, code = answer["failed"]
            kind = StoreUnwritable if answer["unwritable"] else UserError
            self._failure = kind(message, hint, Exit(code))
        else:
            changes = [Change(cast(ChangeKind, kind), self._host, run) for kind, run in answer["changes"]]
            self._taken(changes)

    async def _ended(self) -> UserError:
        """Why the child is gone without a word."""
        assert self._process.stderr is not None
        said = (await self._process.stderr.read()).decode(errors="replace").strip().splitlines()
        code = await self._process.wait()
        why = said[-1] if said else f"exit {code}"
        return UserError(f"the process that reads the logs of '{self._host}' ended: {why}", "", Exit.FAILED)


def main(argv: Sequence[str]) -> int:
    """The child: `python -m remote.fleet.intake STORE HOST`."""
    path, host = argv
    gc.disable()  # no circles are made, and millions of small objects pass through
    with Store(Path(path), bulk=True) as store:
        follower = Follower(store, host)
        for batch in _batches():
            try:
                for answer in _take(follower, batch):
                    _say(answer)
                time.sleep(_TURN)
            except Resync as again:
                _say({"resync": str(again)})
                return 0
            except UserError as error:
                said = [error.message, error.hint, int(error.exit_code)]
                _say({"failed": said, "unwritable": isinstance(error, StoreUnwritable)})
                return 0
    return 0


def _take(follower: Follower, batch: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    # a line that is no frame is passed over like one of unknown shape: it may cost no other run
    for frame, count in joined(fields.json_object(line) or {} for line in batch):
        changes = [[change.kind, change.run_id] for change in follower.take(frame)]
        yield {"frames": count, "changes": changes}


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _batches() -> Iterator[list[bytes]]:
    """What has come in meanwhile, a batch at a time; ends when standard input does."""
    lines: queue.Queue[bytes] = queue.Queue(maxsize=64)

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, daemon=True).start()
    while line := lines.get():
        batch, size = [line], len(line)
        while size < BATCH_BYTES and not lines.empty():
            line = lines.get()
            if not line:
                lines.put(line)  # the end, for the next round
                break
            batch.append(line)
            size += len(line)
        yield batch


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
