"""Pages to text in a process of its own, which a page may end but not outlive.

The HTML standard's algorithm takes square time for some pages (unclosed elements within each other) and
square memory for others (unclosed formatting, which each new paragraph repeats), and a parser in C cannot be
interrupted. So the system enforces a limit of processor time a page and one of memory; when the process dies,
that page alone is lost, and the next one starts a new process.
"""

import contextlib
import os
import resource
import signal
import struct
import subprocess
import sys
from typing import IO

from nanochat.common.errors import Exit, UserError

MAX_PAGE = 32 << 20
"""Bytes of a page in UTF-8. No page that people read is longer."""
CPU_SECONDS = 20.0
"""Processor time a page may take. The longest allowed takes about 3 s."""
MEMORY = 2 << 30
"""Bytes of address space. A page takes 10 to 20 times its size."""

_LENGTH = struct.Struct("<q")
_READY, _FAILED = -1, -2
_UNREAD = "HTML that cannot be parsed"


class PageTexts:
    """Turns pages into text one by one, in a process that it keeps until `close`."""

    def __init__(self, cpu_seconds: float = CPU_SECONDS, memory: int = MEMORY) -> None:
        self._cpu_seconds, self._memory = cpu_seconds, memory
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """Ends the process. A later page starts another."""
        if self._process is not None:
            self._process.kill()
            self._ended()

    def text(self, page: str) -> str:
        """The text of a page. Raises `ValueError`, which says in a few words why there is none."""
        raw = page.encode()
        if len(raw) > MAX_PAGE:
            raise ValueError(f"HTML page over {MAX_PAGE >> 20} MiB")
        process = self._process or self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(_LENGTH.pack(len(raw)) + raw)
            process.stdin.flush()
            answer = _read(process.stdout)
        except (BrokenPipeError, EOFError) as error:
            raise self._lost() from error
        if isinstance(answer, int):
            raise ValueError(_UNREAD)
        return answer.decode()

    def _lost(self) -> Exception:
        """What it means that the process has ended in the middle of a page."""
        code = self._ended()
        if code >= 0:
            return UserError(f"the process that reads HTML ended with code {code}", exit_code=Exit.FAILED)
        slow = code == -signal.SIGPROF
        return ValueError(f"HTML that takes over {self._cpu_seconds:g} s to parse" if slow else _UNREAD)

    def _started(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", __name__, str(self._cpu_seconds), str(self._memory)]
        path = os.pathsep.join(filter(None, sys.path))
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": path},
                process_group=0,  # Ctrl-C in a terminal is for the stage, which closes the input
            )
            assert self._process.stdout is not None
            _read(self._process.stdout)
        except (OSError, EOFError) as error:
            why = str(error) or f"it ended with code {self._ended()}"
            raise UserError(
                f"the process that reads HTML did not start: {why}", exit_code=Exit.FAILED
            ) from error
        return self._process

    def _ended(self) -> int:
        """The exit code of the process, which is at its end."""
        process, self._process = self._process, None
        assert process is not None and process.stdin is not None and process.stdout is not None
        code = process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # what was not yet written to it
            process.stdin.close()
        return code


def _read(stream: IO[bytes]) -> bytes | int:
    """One message: a negative number, or bytes. Raises EOFError when it does not come whole."""
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(header)
    if length < 0:
        return int(length)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content


def _serve(cpu_seconds: float, memory: int) -> None:
    from nanochat.data.html_text import page_text

    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    pages, texts = sys.stdin.buffer, sys.stdout.buffer
    texts.write(_LENGTH.pack(_READY))
    texts.flush()
    while True:
        try:
            page = _read(pages)
        except EOFError:
            return
        assert isinstance(page, bytes)
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            text = page_text(page).encode()
        except (ValueError, MemoryError):
            texts.write(_LENGTH.pack(_FAILED))
        else:
            texts.write(_LENGTH.pack(len(text)) + text)
        signal.setitimer(signal.ITIMER_PROF, 0)
        texts.flush()


if __name__ == "__main__":
    _serve(float(sys.argv[1]), int(sys.argv[2]))
