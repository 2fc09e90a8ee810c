"""Processes that outlive the command which starts them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from . import procs
from .files import open_regular

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def start_detached(argv: Sequence[str], log: Path, descriptors: Sequence[int]) -> bool:
    """Starts `argv`, which inherits `descriptors`; both its outputs are appended to `log`. False when it
    cannot be run.

    Twice forked and in a session of its own: it has no parent to wait for it and no terminal to lose.
    """
    env = {name: value for name, value in os.environ.items() if name != procs.MARK}
    pid = os.fork()
    if pid == 0:
        _spawn_and_leave(argv, env, log, descriptors)
    _, status = os.waitpid(pid, 0)
    return status == 0


def _spawn_and_leave(argv: Sequence[str], env: dict[str, str], log: Path, descriptors: Sequence[int]) -> None:
    code = 1
    try:
        try:
            output = open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError:
            output = os.open(os.devnull, os.O_WRONLY)
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd="/",
            start_new_session=True,
            pass_fds=descriptors,
        )
        code = 0
    finally:
        os._exit(code)
