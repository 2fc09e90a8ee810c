"""Per-item records of an evaluation: one JSON line an item, appended as items are evaluated.

Screens read the file, and a killed evaluation resumes from it: items in it are not evaluated again.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError
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
        complete = b""
        if path.exists():
            content = path.read_bytes()
            complete = content[: content.rfind(b"\n") + 1]
            for number, line in enumerate(complete.splitlines(), 1):
                self._keep(line, number)
            if len(complete) < len(content):
                with path.open("r+b") as file:
                    file.truncate(len(complete))

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
        """Appends records in one write."""
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines)
        for record in records:
            self.records[(record["task"], record["index"])] = record

    def of_task(self, task: str) -> Iterator[Record]:
        return (record for (name, _), record in self.records.items() if name == task)


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
