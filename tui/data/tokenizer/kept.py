"""Documents that a screen keeps under the base directory, one file a result, the newest first. All blocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from nanochat.common.errors import UserError
from nanochat.common.paths import atomic_write, make_dir

Document = TypeVar("Document")
MOST = 200
"""Results that are listed."""


@dataclass(frozen=True)
class Kept(Generic[Document]):
    """A result, and the file it is in; `t` is when that was written (unix time, s)."""

    path: Path
    t: float
    document: Document

    @property
    def name(self) -> str:
        return self.path.name


def listed(folder: Path, read: Callable[[Path], Document]) -> tuple[list[Kept[Document]], list[str]]:
    """The results in a folder, the newest first, and a line on each file that is none."""
    found: list[Kept[Document]] = []
    problems = []
    try:
        paths = [path for path in folder.glob("*.json") if not path.name.startswith(".")]
    except OSError as error:
        return [], [f"cannot read {folder}: {error.strerror}"]
    for path in sorted(paths, key=lambda path: path.name, reverse=True)[:MOST]:
        try:
            found.append(Kept(path, path.stat().st_mtime, read(path)))
        except UserError as error:
            problems.append(str(error))
        except OSError:
            continue  # it was deleted meanwhile
    return sorted(found, key=lambda one: -one.t), problems


def keep(folder: Path, text: bytes) -> Path:
    """Writes a result into the folder, named by the time. Raises `UserError` where that cannot be written."""
    make_dir(folder)
    name = time.strftime("%Y%m%d-%H%M%S")
    path = next(
        path
        for number in range(1, 10_000)
        if not (path := folder / f"{name}{'' if number == 1 else f'-{number}'}.json").exists()
    )
    atomic_write(path, text)
    return path
