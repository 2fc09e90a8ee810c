"""A command as one line that every login shell hands to `sh` without reading it.

sshd gives the line to the account's login shell, which may be bash, zsh, dash, fish, csh or tcsh, and each of
them reads quotes, backslashes, `!` and line ends its own way. So the script for `sh` travels in single-quoted
pieces of characters that mean nothing to any of them; everything else is written as `\\0` and three octal
digits, which `printf %b` of POSIX turns back. Before the command starts, `sh` prints a mark on both outputs:
what comes before it is a login file's.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Awaitable, Callable, Sequence

#: `sh` joins its words and runs what they spell. No quote, backslash, `!` or line end: see above.
_DECODE = 'exec sh -c \'IFS=; eval "$(printf %b "$*")"\' sh'
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _-./:=,")
_PIECE = 400  # bytes; csh ends a word after about 1,000
_READ_SIZE = 64 * 1024
_BEFORE_KEPT = 4096


def new_mark() -> bytes:
    """Bytes that nothing else prints: a word in control characters, another each time."""
    return b"\x1e" + secrets.token_hex(8).encode() + b"\x1e"


def command_line(argv: Sequence[str], mark: bytes = b"") -> str:
    """The line for sshd that runs `argv`; with a `mark` it is printed on both outputs first."""
    words = "".join(f"\\{byte:03o}" for byte in mark)
    told = f"printf '{words}'; printf '{words}' >&2; " if mark else ""
    return script_line(f"{told}exec {shlex.join(argv)}")


def script_line(script: str) -> str:
    """The line for sshd that runs a POSIX shell script. Raises ValueError for a NUL: no line can hold it."""
    if "\0" in script:
        raise ValueError("a command cannot hold a NUL character")
    pieces = [""]
    for byte in f"unset IFS; {script}".encode("utf-8", "surrogateescape"):
        if len(pieces[-1]) > _PIECE:
            pieces.append("")
        pieces[-1] += chr(byte) if byte in _PLAIN else f"\\0{byte:03o}"
    return " ".join([_DECODE, *(f"'{piece}'" for piece in pieces)])


class AfterMark:
    """What a command prints, from its mark on: a login file's own words before it are passed over.

    `settled` is set once the mark has come, or the output has ended without it (then `found` stays False and
    `before` holds the end of what was printed instead).
    """

    def __init__(self, read: Callable[[int], Awaitable[bytes]], mark: bytes) -> None:
        self.found = False
        self.before = b""
        self.settled = asyncio.Event()
        self._read = read
        self._mark = mark
        self._rest = b""

    async def begin(self) -> bool:
        """Reads up to the mark; False when the output ended without it."""
        while not self.settled.is_set():
            data = await self._read(_READ_SIZE)
            if not data:
                self.settled.set()
                break
            before, mark, self._rest = (self.before + data).partition(self._mark)
            self.before = before[-_BEFORE_KEPT:]
            if mark:
                self.found = True
                self.settled.set()
        return self.found

    async def read(self, size: int) -> bytes:
        """The next bytes after the mark, b"" at the end."""
        if not await self.begin():
            return b""
        rest, self._rest = self._rest, b""
        return rest or await self._read(size)
