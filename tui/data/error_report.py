"""The file that keeps the traceback of an error nobody expected."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from importlib.metadata import version
from pathlib import Path

from nanochat import __version__

KEPT = 50
"""Files left in the folder: the oldest are removed."""


def keep_traceback(error: BaseException, base: Path, where: str) -> Path | None:
    """Writes what is known of `error` into a new file and returns its path.

    The file lies in the folder `errors` of the base directory, else in the system's temporary directory; None
    when neither can be written. It holds the traceback without the values of variables, which may be secret.
    """
    text = describe(error, where)
    for folder in (base / "errors", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = _write_new(folder, text)
        except OSError:
            continue
        if folder.name == "errors":
            _remove_oldest(folder)
        return path
    return None


def describe(error: BaseException, where: str) -> str:
    """The versions, the place in the app and the traceback."""
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    head = [
        f"nanochat {__version__}, Textual {version('textual')}, Python {platform.python_version()}",
        f"{platform.platform()}, {os.environ.get('TERM', 'no TERM')}",
        f"{now}, {where}",
        f"{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}",
        "",
    ]
    return "\n".join([*head, *traceback.format_exception(error)])


def _write_new(folder: Path, text: str) -> Path:
    stem = time.strftime("control-room-%Y%m%d-%H%M%S")
    for number in range(1, 1000):
        path = folder / f"{stem}{f'-{number}' if number > 1 else ''}.txt"
        try:
            with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{folder}/{stem}")


def _remove_oldest(folder: Path) -> None:
    for path in sorted(folder.glob("control-room-*.txt"), key=lambda path: path.stat().st_mtime_ns)[:-KEPT]:
        path.unlink(missing_ok=True)
