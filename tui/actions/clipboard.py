"""Copying text to where the user can paste it, saying where it went."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from nanochat.common.paths import atomic_write

OSC52_LIMIT = 74_994  # bytes that xterm and its descendants accept in one sequence, before base64
NO_OSC52_TERMINALS = ("linux", "dumb", "vt100", "vt220", "unknown", "")


def system_command(
    env: Mapping[str, str], find: Callable[[str], str | None] = shutil.which
) -> tuple[str, list[str]]:
    """`(name, argv)` of the program that holds this session's clipboard, or `("", [])`.

    Over SSH a program of the remote machine would fill that machine's clipboard, unless its display is
    forwarded; tmux passes the text on to the terminal it is attached to.
    """
    over_ssh = bool(env.get("SSH_CONNECTION"))
    candidates = [
        (bool(env.get("WAYLAND_DISPLAY")) and not over_ssh, "the clipboard", ["wl-copy"]),
        (bool(env.get("DISPLAY")), "the clipboard", ["xclip", "-selection", "clipboard"]),
        (bool(env.get("DISPLAY")), "the clipboard", ["xsel", "--input", "--clipboard"]),
        (sys.platform == "darwin" and not over_ssh, "the clipboard", ["pbcopy"]),
        (bool(env.get("WSL_DISTRO_NAME")), "the clipboard", ["clip.exe"]),
        (
            bool(env.get("TMUX")),
            "tmux's buffer and the terminal's clipboard",
            ["tmux", "load-buffer", "-w", "-"],
        ),
    ]
    for usable, name, argv in candidates:
        if usable and find(argv[0]):
            return name, argv
    return "", []


def copy(text: str, osc52: Callable[[str], None], folder: Path, env: Mapping[str, str] = os.environ) -> str:
    """Puts `text` on the system clipboard, else sends it to the terminal (OSC 52), else into a file.

    Blocks for up to 2 s. Returns where it went, in words. Raises `UserError` when not even the file
    could be written.
    """
    name, argv = system_command(env)
    if argv:
        try:
            subprocess.run(
                argv,
                input=text.encode(),
                timeout=2,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            return name
        except (OSError, subprocess.SubprocessError):
            pass  # the display may have closed: try the next way
    if env.get("TERM", "") not in NO_OSC52_TERMINALS and len(text.encode()) <= OSC52_LIMIT:
        osc52(text)
        return "the terminal's clipboard (OSC 52)"
    path = folder / "clipboard.txt"
    atomic_write(path, text + "\n", mode=0o600)
    return str(path)
