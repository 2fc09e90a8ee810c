"""Child processes on this machine: each in a session of its own, and none left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from nanochat.common.errors import Exit, UserError

_GRACE = 5.0
_READ_SIZE = 64 * 1024


async def start_child(argv: Sequence[str], folder: Path | None = None) -> asyncio.subprocess.Process:
    """Starts a command, in `folder`, with all three standard streams as pipes.

    Raises `UserError` (exit 1) when it cannot be started.
    """
    pipe = asyncio.subprocess.PIPE
    try:
        return await asyncio.create_subprocess_exec(
            *argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, cwd=folder
        )
    except OSError as error:
        raise UserError(f"cannot run {argv[0]}: {error.strerror}", exit_code=Exit.FAILED) from error


async def end_child(process: asyncio.subprocess.Process, within: float = 0.0) -> None:
    """Waits up to `within` seconds for the process to end by itself, then kills it and its children.

    What it still prints is thrown away. A pipe that a process outside of its session holds open is given up.
    """
    if within:
        await _wait(process, within)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await _wait(process, _GRACE)


async def _wait(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Until it has ended: for asyncio that is when its pipes are at their end too, so they must be read."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(_discard(process.stdout), _discard(process.stderr), process.wait())


async def _discard(stream: asyncio.StreamReader | None) -> None:
    with contextlib.suppress(RuntimeError):  # another task reads it to its end
        while stream is not None and await stream.read(_READ_SIZE):
            pass
