"""A program in a real terminal: a tmux server of its own, read through tmux's control mode.

tmux tells on the control connection whenever the program has written something, and answers what is on the
screen then, so that the moment at which a text appears is known to a few milliseconds without asking all the
time. Needs tmux 3.2 or newer and nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SETTINGS = """\
set -g status off
set -g remain-on-exit on
set -s exit-empty off
set -s escape-time 0
set -g history-limit 0
set -ga terminal-overrides ",*:Tc"
"""
ENVIRONMENT = {
    "TERM": "xterm-256color",
    "COLORTERM": "truecolor",
    "LANG": "C.UTF-8",
    "SHELL": "/bin/sh",
    "PS1": "$ ",
    "ENV": "",
}
ANSWER = 10.0
"""Seconds within which tmux answers a command."""
LOOK_AGAIN = 0.1
"""Seconds after which the screen is looked at even when tmux reports nothing."""

Sees = Callable[[str, str], bool]
"""`sees(text, coloured)`: whether what is waited for is on the screen, as plain text and with its colours."""


class TerminalError(RuntimeError):
    """tmux did not do as told."""


def available() -> bool:
    """True when tmux is installed."""
    return shutil.which("tmux") is not None


class Terminal:
    """A pane of `size` ("120x40"). Nothing runs in it before `start`."""

    def __init__(self, size: str) -> None:
        self.size = size
        self._name = f"nanochat-{uuid.uuid4().hex[:8]}"
        self._answers: queue.Queue[tuple[bool, list[str]]] = queue.Queue()
        self._written = threading.Condition()
        self._last_write = 0.0
        columns, rows = size.split("x")
        folder = tempfile.mkdtemp(prefix="nanochat-terminal-")
        self._folder = Path(folder)
        settings = self._folder / "tmux.conf"
        settings.write_text(SETTINGS, encoding="utf-8")
        # The size is the terminal's own, whatever a program around us (pytest-xdist) has put there.
        without = {"TMUX", "COLUMNS", "LINES"}
        environment = {name: value for name, value in os.environ.items() if name not in without}
        words = ["-f", str(settings), "new-session", "-d", "-x", columns, "-y", rows, "sleep 86400"]
        subprocess.run(["tmux", "-L", self._name, *words], check=True, env=environment, capture_output=True)
        self._tmux = subprocess.Popen(
            ["tmux", "-L", self._name, "-C", "attach"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        threading.Thread(target=self._listen, name="tmux", daemon=True).start()
        self._answer()  # to the attach itself
        self.tmux("set", "-g", "window-size", "manual")  # in the file it crashes tmux 3.3
        self.resize(size)

    def close(self) -> None:
        """Ends the program and its tmux server."""
        with contextlib.suppress(OSError, TerminalError):
            self.tmux("kill-server")
        self._tmux.kill()
        self._tmux.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- talking to tmux -----------------------------------------------------------------------------

    def _listen(self) -> None:
        """Sorts what tmux says into answers to commands and news of output."""
        assert self._tmux.stdout is not None
        answer: list[str] | None = None
        ended = ""
        for raw in self._tmux.stdout:
            line = raw.rstrip(b"\n").decode("utf-8", "replace")
            if answer is not None:
                if line.startswith(("%end ", "%error ")):
                    self._answers.put((line.startswith("%end "), answer))
                    answer = None
                else:
                    answer.append(line)
            elif line.startswith("%begin "):
                answer = []
            elif line.startswith("%output "):
                with self._written:
                    self._last_write = time.monotonic()
                    self._written.notify_all()
            elif line.startswith("%exit"):
                ended = line
        self._answers.put((False, [f"tmux has ended: {ended}"]))

    def _answer(self) -> list[str]:
        try:
            good, lines = self._answers.get(timeout=ANSWER)
        except queue.Empty:
            raise TerminalError(f"tmux gave no answer within {ANSWER:g} s") from None
        if not good:
            raise TerminalError("; ".join(lines))
        return lines

    def tmux(self, *words: str) -> list[str]:
        """Runs a tmux command and returns what it prints. Raises `TerminalError` when it fails."""
        assert self._tmux.stdin is not None
        self._tmux.stdin.write(shlex.join(words).encode() + b"\n")
        self._tmux.stdin.flush()
        return self._answer()

    # ---- the program ---------------------------------------------------------------------------------

    def start(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Runs `command` in place of whatever is in the pane."""
        self.stop()
        given = {**ENVIRONMENT, **(env or {})}
        words = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
        self.tmux("respawn-pane", *words, shlex.join(command))

    def stop(self) -> None:
        """Ends the program. `respawn-pane -k` does so too, but tmux 3.3 crashes if it prints meanwhile."""
        deadline = time.monotonic() + ANSWER
        while not self.ended():
            if time.monotonic() > deadline:
                raise TerminalError("the program does not end")
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self.tmux("display-message", "-p", "#{pane_pid}")[0]), signal.SIGKILL)
            time.sleep(0.02)

    def ended(self) -> bool:
        """True once the program has ended."""
        return self.tmux("display-message", "-p", "#{pane_dead}") != ["0"]

    def resize(self, size: str = "") -> None:
        """Gives the pane another size, or its first one again."""
        columns, rows = (size or self.size).split("x")
        self.tmux("resize-window", "-x", columns, "-y", rows)

    def text(self) -> str:
        """What is on the screen, a line a row."""
        return "\n".join(self.tmux("capture-pane", "-p", "-N"))

    def coloured(self) -> str:
        """The same with its colours, as escape sequences."""
        return "\n".join(self.tmux("capture-pane", "-p", "-N", "-e"))

    def press(self, keys: str) -> None:
        """Sends keys: names as tmux has them ("Down Enter"), or after "=" the text itself."""
        if keys.startswith("="):
            self.tmux("send-keys", "-l", keys[1:])
        else:
            self.tmux("send-keys", *keys.split())

    def click(self, text: str) -> None:
        """Presses and releases the mouse on the first place where `text` (a pattern) is."""
        for row, line in enumerate(self.text().split("\n")):
            found = re.search(text, line)
            if found:
                at = f"{found.start() + 1};{row + 1}"
                self.tmux("send-keys", "-l", f"\x1b[<0;{at}M\x1b[<0;{at}m")
                return
        raise TerminalError(f"no {text!r} to click on")

    # ---- waiting -------------------------------------------------------------------------------------

    def wait(self, sees: Sees, since: float, patience: float) -> float | None:
        """Seconds after `since` at which the program had written what `sees`; None: not within `patience`.

        The moment is when the terminal had taken in the output, not when we had looked at it.
        """
        while True:
            with self._written:
                written = self._last_write
            if sees(self.text(), self.coloured()):
                return max(0.0, written - since) if written > since else time.monotonic() - since
            if time.monotonic() - since > patience:
                return None
            self._wait_for_output(written, LOOK_AGAIN)

    def settle(self, quiet: float, patience: float) -> float:
        """Waits until the screen stands still for `quiet` seconds; returns when it changed last (monotonic).

        That is before the call when it does not change any more.
        """
        began = time.monotonic()
        seen, last = self.coloured(), -math.inf
        while time.monotonic() < min(began + patience, max(began, last) + quiet):
            with self._written:
                written = self._last_write
            now = self.coloured()
            if now != seen:
                seen, last = now, written
            self._wait_for_output(written, min(LOOK_AGAIN, quiet))
        return last

    def _wait_for_output(self, written: float, seconds: float) -> None:
        """Until the program writes something after `written`, for at most `seconds`."""
        with self._written:
            self._written.wait_for(lambda: self._last_write > written, timeout=seconds)
