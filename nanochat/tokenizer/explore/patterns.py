"""A regular expression over all tokens, in a process of its own that may be ended at any moment.

A pattern can take exponential time to match and gigabytes to compile, and neither can be interrupted in a
thread. So the process has limits of memory and of processor time, and is killed when it is too slow; the
next search starts another. `regex` gives it the classes tokenizers are written in: `\\p{Han}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import resource
import struct
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import Exit, UserError, one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECONDS = 2.0
"""A search may take this long. Most take a tenth of a second."""
MEMORY = 1 << 30
"""Bytes of address space."""
_CPU_SECONDS = 600
"""Of the whole process: one that outlives the app ends."""
_LENGTH = struct.Struct("<Q")


class PatternSearch:
    """Finds patterns in `texts`. The process starts with the first search and ends with `close`."""

    def __init__(self, texts: Sequence[str], seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._texts, self._seconds, self._memory = texts, seconds, memory
        self._process: asyncio.subprocess.Process | None = None

    async def find(self, pattern: str) -> NDArray[np.int64]:
        """The places, rising, of the texts in which `pattern` is found.

        Raises `UserError` for one that is wrong, or too slow. When it is cancelled the process is ended.
        """
        import numpy as np

        try:
            async with asyncio.timeout(self._seconds + (1.0 if self._process is None else 0.0)):
                process = self._process or await self._started()
                answer = await self._ask(process, marshal.dumps(pattern))
        except TimeoutError as error:
            self.close()
            raise UserError(
                f"the pattern takes over {self._seconds:g} s on this vocabulary", "write a simpler one"
            ) from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.close()
            raise UserError("the pattern takes too much memory", "write a simpler one") from error
        except BaseException:
            self.close()
            raise
        if answer[:1] == b"!":
            raise UserError(f"no such pattern: {one_line(answer[1:].decode())[:200]}")
        return np.frombuffer(answer[1:], dtype=np.uint32).astype(np.int64)

    def close(self) -> None:
        """Ends the process. A later search starts another."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            _transport(process).close()

    async def _started(self) -> asyncio.subprocess.Process:
        command = [sys.executable, "-P", "-m", __name__, str(self._memory)]
        path = os.pathsep.join(filter(None, sys.path))
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
                process_group=0,  # a Ctrl-C in the terminal is not for it
            )
        except OSError as error:
            raise UserError(
                f"the process that searches did not start: {error}", exit_code=Exit.FAILED
            ) from error
        texts = await asyncio.to_thread(marshal.dumps, list(self._texts))
        await self._ask(process, texts)
        return process

    @staticmethod
    async def _ask(process: asyncio.subprocess.Process, content: bytes) -> bytes:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(_LENGTH.pack(len(content)))
        process.stdin.write(content)
        await process.stdin.drain()
        (length,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
        return await process.stdout.readexactly(length)


def _transport(process: asyncio.subprocess.Process) -> Any:
    """Closing it closes the pipes; asyncio has no public name for it."""
    return process._transport  # type: ignore[attr-defined]


def _found(texts: Sequence[str], pattern: str) -> bytes:
    """`=` and the places of the texts as uint32, or `!` and what is wrong."""
    from array import array

    import regex

    try:
        search = regex.compile(pattern).search
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        return b"!" + (str(error) or type(error).__name__).encode("utf-8", "replace")
    return b"=" + array("I", [place for place, text in enumerate(texts) if search(text)]).tobytes()


def _serve(memory: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    source, target = sys.stdin.buffer, sys.stdout.buffer
    texts: list[str] | None = None
    while header := source.read(_LENGTH.size):
        content = marshal.loads(source.read(_LENGTH.unpack(header)[0]))
        answer = b"" if texts is None else _found(texts, content)
        texts = content if texts is None else texts
        target.write(_LENGTH.pack(len(answer)) + answer)
        target.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
