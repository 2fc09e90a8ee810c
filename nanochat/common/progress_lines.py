"""How far a command is, on standard error: a line that is redrawn on a terminal, or JSON lines for a program.

A command that is given `--progress` writes one JSON object a line,
`{"doing": "reading", "share": 0.31, "documents": 1200, "bytes": 4800000}`; `share` is left out where it is
not known how much there is.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SECONDS = 0.5
"""Between two reports."""
MARK = "doing"
"""The key that every line of progress has: what else stands on standard error has it not."""

Report = Callable[..., None]
"""`report(doing, share, note, **figures)`: what is being done, the fraction of it that is done or None, the
same in words, and figures for programs."""


@contextmanager
def progress(as_json: bool) -> Iterator[Report]:
    """The function that reports, which may be called often. The line is gone at the end."""
    shown = time.monotonic()
    last = ""
    wide = 0
    is_terminal = sys.stderr.isatty()

    def report(doing: str, share: float | None, note: str, **figures: Any) -> None:
        nonlocal shown, wide, last
        now = time.monotonic()
        if not (as_json or is_terminal) or (now - shown < SECONDS and doing == last):
            return
        shown, last = now, doing
        if as_json:
            told = {MARK: doing} | ({} if share is None else {"share": round(share, 4)}) | figures
            print(json.dumps(told), file=sys.stderr, flush=True)
            return
        line = f"{doing}{'' if share is None else f' {100 * share:.0f} %'}: {note}"
        wide = max(wide, len(line))
        print(f"\r{line:<{wide}}\r", end="", file=sys.stderr, flush=True)

    try:
        yield report
    finally:
        if wide:
            print("\r" + " " * wide + "\r", end="", file=sys.stderr, flush=True)
