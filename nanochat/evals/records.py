"""Per-item records of an evaluation: one JSON line an item, appended as items are evaluated.

Screens read the file, and a killed evaluation resumes from it: items in it are not evaluated again. They are
a report about the work: a disk that does not take them ends no evaluation, and no training.
"""

import errno
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError
from nanochat.common.fields import json_text
from nanochat.common.paths import atomic_write, make_dir
from nanochat.compute.ranks import Ranks

Record = dict[str, Any]


class RecordFile:
    """Records with at least `task`, `index` and `correct`, by `(task, index)`.

    An incomplete last line, of a process killed while writing, is dropped. Raises `UserError` for any other
    line that is not a record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[tuple[str, int], Record] = {}
        self.trouble = ""
        """Why the last records are not in the file; "" when they are."""
        self._waiting = b""
        self._size = 0
        """Bytes of the complete lines in the file."""
        if path.exists():
            content = path.read_bytes()
            self._size = content.rfind(b"\n") + 1
            for number, line in enumerate(content[: self._size].splitlines(), 1):
                self._keep(line, number)

    def _keep(self, line: bytes, number: int) -> None:
        try:
            record = json.loads(line)
            self.records[(record["task"], int(record["index"]))] = record
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise UserError(
                f"{self.path}, line {number}: not a record of an evaluation", "delete the file to start over"
            ) from error

    def __contains__(self, key: tuple[str, int]) -> bool:
        return key in self.records

    def add(self, records: Sequence[Record]) -> None:
        """Appends records in one write. What the disk does not take is tried again with the next ones."""
        self._waiting += as_lines(records).encode()
        for record in records:
            self.records[(record["task"], record["index"])] = record
        if not self._waiting:
            return
        try:
            self._append()
        except OSError as error:
            self.trouble = error.strerror or str(error)
        else:
            self._size += len(self._waiting)
            self._waiting, self.trouble = b"", ""

    def _append(self) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.truncate(self._size)  # of a write that was cut short, by a kill or a full disk
            if file.write(self._waiting) < len(self._waiting):
                raise OSError(errno.ENOSPC, "the disk is full")


class Records:
    """The records of all ranks, kept in `folder` (None: nowhere) for a later attempt to go on with.

    Rank 0's file, `<name>-items.jsonl`, has all of a task once the task was shared; the others append to
    files of their own meanwhile. `setup` says what is evaluated, and how: what another setup left is deleted.
    """

    def __init__(self, folder: Path | None, name: str, setup: Mapping[str, Any], ranks: Ranks) -> None:
        self._ranks, self._name = ranks, name
        self._found: dict[tuple[str, int], Record] = {}
        self._trouble = ""
        if ranks.is_main and folder is not None:
            folder = self._prepared(folder, json.dumps(setup, indent=1, sort_keys=True) + "\n")
        folder, self._found = ranks.broadcast((folder, self._found))
        # Another machine may not see the folder: what its ranks score reaches rank 0 when it is shared.
        seen = folder is not None and folder.is_dir()
        self._file = RecordFile(folder / items_file(name, ranks.rank)) if folder and seen else None

    def _prepared(self, folder: Path, setup: str) -> Path | None:
        """Reads what an earlier attempt left, or deletes what another evaluation did. None when the disk does
        not allow it."""
        marker = folder / f"{self._name}-setup.json"
        same = marker.is_file() and marker.read_bytes() == setup.encode()
        files = [folder / items_file(self._name), *sorted(folder.glob(items_file(self._name, "*")))]
        if same:
            for path in files:
                self._found |= RecordFile(path).records
            return folder
        try:
            make_dir(folder)
            for path in files:
                path.unlink(missing_ok=True)
            atomic_write(marker, setup)
        except (OSError, UserError) as error:
            self._trouble = getattr(error, "strerror", None) or str(error)
            return None
        return folder

    @property
    def trouble(self) -> str:
        """Why this rank's records are not on the disk; "" when they are."""
        return self._trouble or (self._file.trouble if self._file is not None else "")

    def __contains__(self, key: tuple[str, int]) -> bool:
        return key in self._found

    def add(self, records: Sequence[Record]) -> None:
        """Stores those that are new."""
        if self._file is not None:
            self._file.add([r for r in records if (r["task"], r["index"]) not in self._file])
        for record in records:
            self._found[(record["task"], record["index"])] = record

    def share(self, task: str) -> list[Record]:
        """The task's records of all ranks, in the order of their indices."""
        own = [record for (name, _), record in self._found.items() if name == task]
        everything = gather(own, self._ranks)
        if self._ranks.is_main:
            self.add(everything)
        return everything


def items_file(name: str, rank: int | str = 0) -> str:
    """The name of a rank's file of records of the evaluation `name`."""
    return f"{name}-items.jsonl" if rank == 0 else f"{name}-items-rank{rank}.jsonl"


def as_lines(records: Sequence[Record]) -> str:
    """Records as JSON lines."""
    return "".join(json_text(record, None) + "\n" for record in records)


def gather(own: list[Record], ranks: Ranks) -> list[Record]:
    """One task's records of all ranks, each item once, in the order of their indices.

    Two ranks may have the same item, left by an attempt with another number of ranks.
    """
    everything = {record["index"]: record for part in ranks.gather(own) for record in part}
    return [everything[index] for index in sorted(everything)]


def accuracy(records: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """(mean, standard error) of `correct`: √(p(1−p)/n), the binomial error of n independent items."""
    if not records:
        return math.nan, math.nan
    mean = sum(bool(record["correct"]) for record in records) / len(records)
    return mean, math.sqrt(mean * (1 - mean) / len(records))
