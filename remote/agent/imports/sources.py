"""What a path is, and reading on in it: one class for all kinds of logs, by offset."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import AgentError, open_bytes
from . import base_dir, table_file, tensorboard_file, wandb_file
from .base_dir import BaseDir
from .console import Console
from .origin import CONSOLE
from .table_file import Csv, JsonLines
from .tensorboard_file import EventFiles
from .wandb_file import Damaged, WandbRun

if TYPE_CHECKING:
    from .rows import Sink

    Json = dict[str, Any]

SLICE = 4 << 20
"""Bytes that are read at once: they, and what is made of them, are all that is held."""
LONGEST_LINE = 1 << 20
MOST_JSON = 64 << 20
SETTLED = 5.0
"""Seconds without a change after which a last line without its newline counts as whole."""
KINDS = {
    "console": CONSOLE,
    "wandb": "W&B run",
    "csv": "table",
    "jsonl": "table",
    "json": "table",
    "tensorboard": "TensorBoard event files",
    "base": "base directory",
}
ENDLESS = ("csv", "jsonl", "json", "tensorboard")
"""Kinds in which nothing says that a run has ended, or how."""
_BASE = ("base_checkpoints", "mid_checkpoints", "chatsft_checkpoints", "chatrl_checkpoints", "base_eval")
_TOTAL_TIME = re.compile(rb"total time: (\d{1,9}\.\d+)m")
_MOST_FOUND = 200
_DEPTH = 3


def kind_of(path: Path) -> str:
    """What a file or folder is, one of `KINDS`. Raises AgentError for what is none of them, and OSError."""
    if path.is_dir():
        return _kind_of_folder(path)
    if "tfevents" in path.name:
        return "tensorboard"
    with open_bytes(path) as file:
        head = file.read(64 * 1024)
    if head.startswith(wandb_file.MAGIC) or path.suffix == ".wandb":
        wrong = wandb_file.check_head(head)
        if wrong and head:
            raise AgentError(f"{path} cannot be read: {wrong}", "import")
        return "wandb"
    text = head.decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
    first = text.partition("\n")[0]
    if text.startswith("{"):
        if '"seq"' in first and '"kind"' in first:
            raise AgentError(f"{path} is an event log of ours: its run is one already", "import")
        return "jsonl"
    if text.startswith("[") and re.match(r"\[\s*[{\]]", text):
        return "json"
    if table_file.looks_like_table(first):
        return "csv"
    if b"\0" in head:
        raise AgentError(f"{path} is no log: it holds bytes that are no text", "import")
    return "console"


def _kind_of_folder(path: Path) -> str:
    names = set(os.listdir(str(path)))
    if any("tfevents" in name for name in names):
        return "tensorboard"
    if names & set(_BASE):
        return "base"
    raise AgentError(f"{path} holds no log that can be imported: name one of its files", "import")


def expand(path: Path) -> list[Path]:
    """The logs that a path stands for: itself, or those in a folder of W&B's or TensorBoard's."""
    if not path.is_dir():
        return [path]
    names = os.listdir(str(path))
    found: list[Path] = []
    if set(names) & set(_BASE):  # and the runs of W&B that lie in it
        if "wandb" in names:
            _walk(path / "wandb", _DEPTH, found)
        return [path, *sorted(found)]
    _walk(path, _DEPTH, found)
    return sorted(found) or [path]


def _walk(folder: Path, depth: int, found: list[Path]) -> None:
    """Adds the runs in a folder; W&B's link to its newest run is that run a second time.

    Event files of one folder are one log. Folders below it are others: `add_hparams` makes such.
    """
    names, before = sorted(os.listdir(str(folder))), len(found)
    if any("tfevents" in name for name in names):
        found.append(folder)
    for name in names:
        path = folder / name
        if len(found) >= _MOST_FOUND:
            return
        if name.endswith(".wandb"):
            found.append(path)
        elif depth and path.is_dir() and not path.is_symlink():
            _walk(path, depth - 1, found)
    history = folder / "wandb-history.jsonl"
    if history.is_file() and len(found) == before:
        found.append(history)


class Source:
    """One log, read from where `memory` says. `problem` is what is wrong with it, in a line.

    `final`: what is there is all for now, so that the last row of a table may lack its newline.
    """

    def __init__(self, kind: str, path: Path, memory: Json) -> None:
        self.kind = kind
        self.path = path
        self.memory = memory
        self.final = False
        self.problem: str = memory.get("problem", "")
        memory.setdefault("offset", 0)
        self._reader: Any = None

    def signature(self) -> list[int]:
        """Changes when there is something new to read: sizes and times."""
        if self.kind == "tensorboard":
            stats = [os.stat(str(file)) for file in self._event_files()]
        elif self.kind == "base":
            stats = base_dir.stats(self.path)
        else:
            stats = [os.stat(str(self.path))]
        return [len(stats), sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)]

    def read(self, sink: Sink) -> bool:
        """Reads the next slice; whether there is more to read at once. Raises OSError."""
        if self.problem:
            return False
        if self._reader is None:
            self._reader = self._make_reader()
        if self.kind == "base":
            self._reader.read(self.path, sink)
            return False
        if self.kind == "wandb":
            return self._read_records(self.path, sink)
        if self.kind == "tensorboard":
            return self._read_event_files(sink)
        if self.kind == "json":
            return self._read_array(sink)
        return self._read_lines(sink)

    def how_far(self, sink: Sink) -> str:
        """Called when all has been read: how far the log goes, in words; "" where nothing began."""
        if self._reader is None:
            self._reader = self._make_reader()
        if isinstance(self._reader, Console):
            return self._reader.finish(sink)
        if isinstance(self._reader, BaseDir):
            return self._reader.how_far()
        told: str = self._reader.history.how_far()
        return told

    def _make_reader(self) -> Any:
        made: Any = {
            "console": Console,
            "wandb": WandbRun,
            "csv": Csv,
            "jsonl": JsonLines,
            "json": JsonLines,
            "tensorboard": EventFiles,
            "base": BaseDir,
        }[self.kind](self.memory)
        if self.kind == "console" and not self.memory["offset"]:
            made.clock = self._began()
        elif self.kind in ENDLESS and not self.memory["clock"]:  # until a row tells its time
            self.memory["clock"] = os.stat(str(self.path)).st_mtime
        return made

    def _began(self) -> float:
        """About when a console log began: its last change, less the time that its last lines tell."""
        modified = os.stat(str(self.path)).st_mtime
        with open_bytes(self.path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 64 * 1024))
            told = _TOTAL_TIME.findall(file.read(64 * 1024))
        return max(0.0, modified - 60 * float(told[-1])) if told else modified

    # -- text

    def _read_lines(self, sink: Sink) -> bool:
        offset = self.memory["offset"]
        with open_bytes(self.path) as file:
            stat = os.fstat(file.fileno())
            file.seek(offset)
            raw = file.read(SLICE)
        end = raw.rfind(b"\n") + 1
        at_end = offset + len(raw) >= stat.st_size
        if not end and len(raw) >= LONGEST_LINE:
            end = len(raw)  # no log's line: it is passed over in pieces
        elif at_end and end < len(raw):
            table = self.final and self.kind in ENDLESS
            if table or time.time() - stat.st_mtime > SETTLED:
                end = len(raw)
        if not end:
            return False
        if self.kind == "console":
            self._reader.latest = stat.st_mtime + 60
        before = len(sink.found)
        lines = raw[:end].decode("utf-8", "replace").split("\n")
        if lines and not lines[-1]:
            lines.pop()
        self._reader.feed(lines, sink)
        self.memory["offset"] = offset + end
        if self.kind == "console":
            self._by_the_clock(sink, before, stat.st_mtime, at_end)
        return not at_end

    def _by_the_clock(self, sink: Sink, before: int, modified: float, at_end: bool) -> None:
        """Of a log that grows the newest line was written when the file was, whatever its times add up to."""
        memory, reader = self.memory, self._reader
        behind = modified - reader.clock
        if memory.get("caught_up") and behind > 0:
            reader.clock = memory["clock"] = modified
            moved = [item._replace(t=item.t + behind) for item in sink.found[before:]]
            sink.found[before:] = moved
        memory["caught_up"] = at_end

    def _read_array(self, sink: Sink) -> bool:
        with open_bytes(self.path) as file:
            raw = file.read(MOST_JSON + 1)
        if len(raw) > MOST_JSON:
            raise AgentError(f"{self.path} is larger than {MOST_JSON >> 20} MiB: write JSON lines", "import")
        try:
            rows = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise AgentError(
                f"{self.path} is no JSON: it is cut off or damaged ({error})", "import"
            ) from error
        if not isinstance(rows, list):
            raise AgentError(f"{self.path} is no list of rows", "import")
        for row in rows[self.memory["offset"] :]:
            self._reader.take(row, sink)
        self.memory["offset"] = len(rows)
        return False

    # -- records

    def _read_records(self, path: Path, sink: Sink) -> bool:
        start = self.memory["offset"] or wandb_file.HEAD
        more, end = self._records(path, start, wandb_file.records, sink)
        self.memory["offset"] = end
        return more

    def _read_event_files(self, sink: Sink) -> bool:
        files: Json = self.memory.setdefault("files", {})
        for path in self._event_files():
            start = files.get(path.name, -1)
            if start < 0:
                self._reader.new_file()
                start = files[path.name] = 0
            more, files[path.name] = self._records(path, start, tensorboard_file.records, sink)
            self._reader.flush(sink)  # what is read and not written must not depend on this process
            if more:
                return True
        return False

    def _records(self, path: Path, start: int, records: Any, sink: Sink) -> tuple[bool, int]:
        """Takes whole records from byte `start` on; whether there is more, and the offset after the last."""
        size = os.stat(str(path)).st_size
        wanted, end = SLICE, start
        while True:
            with open_bytes(path) as file:
                file.seek(start)
                raw = file.read(wanted)
            try:
                for record, after in records(raw, start):
                    self._reader.take(record, sink)
                    end = after
            except Damaged as error:
                self._damaged(path, error)
                return False, end
            if end > start or len(raw) < wanted:
                return end > start and start + len(raw) < size, end
            wanted *= 4  # one record is larger than the slice

    def _damaged(self, path: Path, error: Damaged) -> None:
        what = f"{path.name} is damaged at byte {error.offset:,} ({error}): read up to there"
        self.problem = self.memory["problem"] = what

    def _event_files(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        names = [name for name in os.listdir(str(self.path)) if "tfevents" in name]
        return [self.path / name for name in sorted(names, key=_by_time)[:_MOST_FOUND]]


def _by_time(name: str) -> tuple[int, str]:
    """Event files are named after the second in which they began: `events.out.tfevents.1700000000.HOST…`."""
    found = re.search(r"tfevents\.(\d{1,15})", name)
    return (int(found[1]) if found else 0, name)
