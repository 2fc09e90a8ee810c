"""A `nanochat` command in a process of its own: its progress while it works, what it printed, cancelling it.

What takes minutes and holds Python's lock in a thread would hold the screen: another process does not, its
memory goes when it ends, and its figures are those of the command because it is the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nanochat.common.errors import UserError
from nanochat.common.fields import json_object
from nanochat.common.progress_lines import MARK
from nanochat.common.text import percent, sanitize, size_bytes

MOST_BYTES = 64 << 20
"""Of what a command prints."""
GRACE = 5.0
"""Seconds that a cancelled command has to clean up."""
LINE = 1 << 16
"""Bytes of a line on standard error."""

State = Literal["running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Progress:
    """How far a command is: what it does, the fraction of it that is done or None, and that in words."""

    doing: str = "starting"
    share: float | None = None
    note: str = ""

    def __str__(self) -> str:
        parts = (percent(self.share) if self.share is not None else "", self.note)
        return " · ".join(part for part in (self.doing, *parts) if part)


class CommandJob:
    """One command line, without the `nanochat` in front; `changed()` is called when there is news.

    The command must take `--progress`, which is added. It goes on whatever screen is shown.
    """

    def __init__(self, words: Sequence[str], changed: Callable[[], object] = lambda: None) -> None:
        self.words = tuple(words)
        self.state: State = "running"
        self.progress = Progress()
        self.changed = changed
        self.kept: Path | None = None
        """The file that its result was written to, once that is there."""
        self._process: asyncio.subprocess.Process | None = None
        self._said: list[str] = []
        self._is_cancelled = False

    @property
    def line(self) -> str:
        """The command as it is typed into a shell."""
        return shlex.join(("nanochat", *self.words))

    async def run(self) -> bytes | None:
        """Runs the command to its end. Returns what it printed, None where it was cancelled.

        Raises `UserError` with the command's own line where it failed.
        """
        try:
            return await self._run()
        finally:
            if self.state == "running":
                self.state = "cancelled"
            self.changed()

    async def _run(self) -> bytes | None:
        argv = [sys.executable, "-m", "nanochat", *self.words, "--progress"]
        process = self._process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE,
            start_new_session=True,  # ctrl+c in the terminal is the app's
        )
        try:
            if self._is_cancelled:  # while it was being started
                self.cancel()
            assert process.stdout is not None and process.stderr is not None
            printed, _ = await asyncio.gather(_bounded(process.stdout), self._listen(process.stderr))
            code = await process.wait()
        finally:
            if process.returncode is None:
                await asyncio.shield(self._end(process))
        if self._is_cancelled:
            self.state = "cancelled"
            return None
        if code:
            self.state = "failed"
            raise UserError(self._said[-1] if self._said else f"the command ended with {code}")
        self.state = "done"
        return printed

    def cancel(self) -> None:
        """Asks the command to end; `run` then returns None."""
        self._is_cancelled = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        """Reads progress and messages until the command has no more to say."""
        while True:
            try:
                raw = await stream.readline()
            except ValueError:  # a line over the limit: what came of it is dropped
                continue
            if not raw:
                return
            told = json_object(raw)
            if told is not None and isinstance(told.get(MARK), str):
                self.progress = _progress(told)
                self.changed()
            elif line := sanitize(raw.decode(errors="replace"), 400).strip():
                self._said = [*self._said[-20:], line.removeprefix("nanochat: error: ")]

    @property
    def remarks(self) -> list[str]:
        """What the command said beside its progress, the last lines."""
        return self._said


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while part := await stream.read(1 << 16):
        size += len(part)
        if size > MOST_BYTES:
            raise UserError(f"the command printed more than {MOST_BYTES >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


def _progress(told: dict[str, object]) -> Progress:
    share, parts = told.get("share"), []
    documents, size = told.get("documents"), told.get("bytes")
    done, total = told.get("done"), told.get("total")
    if isinstance(documents, int):
        parts.append(f"{documents:,} documents")
    if isinstance(size, int):
        parts.append(size_bytes(size))
    if isinstance(done, int) and isinstance(total, int):
        parts.append(f"{done:,} of {total:,}")
    return Progress(
        sanitize(str(told[MARK]), 40),
        min(1.0, max(0.0, share)) if isinstance(share, int | float) else None,
        ", ".join(parts),
    )
