"""The files below the paths that a user gives, and a count of what was skipped and why."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nanochat.common.errors import UserError
from nanochat.common.paths import expanded


@dataclass
class Skips:
    """What was skipped: a count by reason, and the first example of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, where: str | Path, count: int = 1) -> None:
        self.counts[reason] += count
        self.examples.setdefault(reason, str(where))

    @property
    def total(self) -> int:
        return self.counts.total()

    def lines(self) -> list[str]:
        """A line for each reason, the most frequent first."""
        return [
            f"skipped {count:,} × {reason} (first: {self.examples[reason]})"
            for reason, count in self.counts.most_common()
        ]


@dataclass(frozen=True)
class Source:
    """One regular file to read. `named`: the user gave this very path, not a folder above it."""

    path: Path
    size: int
    """Bytes on disk."""
    named: bool


def walk(paths: Sequence[str], skips: Skips, exclude: Iterable[Path] = ()) -> Iterator[Source]:
    """The regular files of `paths` in a fixed order: folders are walked by name, links followed once.

    Skipped, and counted in `skips`: hidden names inside folders, anything but regular files, what cannot be
    read, broken links. `exclude` are folders never entered (the output). Raises `UserError` for a path in
    `paths` that does not exist or cannot be read.
    """
    closed = {identity for folder in exclude if (identity := _identity(folder))}
    for name in paths:
        path = expanded(name)
        try:
            info = path.stat()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}", "check the path") from error
        if stat.S_ISDIR(info.st_mode):
            if not os.access(path, os.R_OK | os.X_OK):
                raise UserError(f"cannot read the folder {path}: Permission denied")
            yield from _walk_folder(path, skips, closed)
        elif stat.S_ISREG(info.st_mode):
            if not os.access(path, os.R_OK):
                raise UserError(f"cannot read {path}: Permission denied")
            yield Source(path, info.st_size, named=True)
        else:
            raise UserError(f"{path} is neither a file nor a folder")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _walk_folder(top: Path, skips: Skips, closed: set[tuple[int, int]]) -> Iterator[Source]:
    """Depth first. Each folder is entered once, so a loop of links ends."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        identity = _identity(folder)
        if identity is None or identity in closed:
            continue
        closed.add(identity)
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            skips.add("unreadable folder", folder)
            continue
        below: list[Path] = []
        for entry in entries:
            if entry.name.startswith("."):
                skips.add("hidden", entry.path)
                continue
            source = _entry_source(entry, skips, below)
            if source:
                yield source
        waiting += reversed(below)


def _entry_source(entry: "os.DirEntry[str]", skips: Skips, below: list[Path]) -> Source | None:
    try:
        info = entry.stat()
    except OSError:
        skips.add("broken link" if entry.is_symlink() else "unreadable file", entry.path)
        return None
    if stat.S_ISDIR(info.st_mode):
        below.append(Path(entry.path))
        return None
    if not stat.S_ISREG(info.st_mode):
        skips.add("not a regular file", entry.path)
        return None
    return Source(Path(entry.path), info.st_size, named=False)
