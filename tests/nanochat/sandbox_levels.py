"""Levels of the sandbox for its tests: those this machine has, the others skipped with the reason."""

import functools
import sys
import textwrap

import pytest

from nanochat.common.errors import UserError
from nanochat.tools.sandbox import Execution, Level, run_program

SAFE: tuple[Level, ...] = ("namespaces", "landlock", "seccomp")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")


@functools.cache
def why_not(level: Level) -> str:
    """Why `level` is not available on this machine; empty where it is."""
    try:
        run_program("", level=level, unsafe=True)
    except UserError as error:
        return str(error)
    return ""


def need(level: Level) -> Level:
    """Skips the test, with the reason, where `level` is not available."""
    if reason := why_not(level):
        pytest.skip(reason)
    return level


def run(program: str, level: Level | None = None, timeout: float = 5.0, unsafe: bool = False) -> Execution:
    return run_program(textwrap.dedent(program), level=level, timeout=timeout, unsafe=unsafe)
