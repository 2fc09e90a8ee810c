"""Questions to the interpreter that stages and servers run under."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from .files import AgentError

if TYPE_CHECKING:
    from pathlib import Path

    Json = dict[str, Any]

PATIENCE = 60.0


def ask_interpreter(python: str, code: str, keys: frozenset[str], base: Path) -> Json:
    """The object with these keys that `code` prints as JSON under `python`, run from where a stage would run.

    Raises AgentError when there is no such program, it takes over a minute, or prints no answer.
    """
    path = os.path.expanduser(python)
    try:
        asked = subprocess.run(
            [path, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=str(base) if base.is_dir() else "/",
            timeout=PATIENCE,
            check=False,
        )
    except OSError as error:
        raise AgentError(f"cannot run {path}: {error.strerror}", "interpreter") from error
    except subprocess.TimeoutExpired as error:
        raise AgentError(f"{path} did not answer within {PATIENCE:.0f} s", "interpreter") from error
    answer = _answer(asked.stdout, keys)
    if answer is None:
        printed = asked.stderr.decode("utf-8", "replace").strip().splitlines()
        said = printed[-1] if printed else "it printed nothing"
        raise AgentError(f"{path} is no working Python: {said}", "interpreter")
    return answer


def _answer(printed: bytes, keys: frozenset[str]) -> Json | None:
    """The answer among all that was printed: what Python loads at its start, or ends with, may print, too."""
    for line in reversed(printed.splitlines()):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and found.keys() == keys:
            return found
    return None
