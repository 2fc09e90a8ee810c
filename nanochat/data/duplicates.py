"""Exact duplicates among any number of documents in flat memory: by 64-bit hashes, on disk when many.

Among a hundred million different documents two have one hash with a probability of 3 in 10,000.
"""

import hashlib
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

IN_MEMORY = 1 << 20
"""Records kept before they go to disk: 13 MiB."""
_BUCKETS = 256
_RECORD = np.dtype([("hash", "<u8"), ("bytes", "<u4"), ("held_out", "u1")])


@dataclass(frozen=True)
class Duplicates:
    """Documents whose very text came before."""

    documents: int
    bytes: int
    held_out_too: int
    """Distinct texts that are among the held-out documents and among the others."""


class DuplicateCounter:
    """Counts duplicates among the documents it is given. A context manager: it deletes what it wrote."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._records = np.empty(in_memory, dtype=_RECORD)
        self._filled = 0
        self._folder: Path | None = None
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def add(self, raw: bytes, held_out: bool = False) -> None:
        """One more document, as UTF-8. Raises OSError when the disk is full."""
        digest = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")
        self._records[self._filled] = (digest, min(len(raw), 0xFFFF_FFFF), held_out)
        self._filled += 1
        if self._filled == len(self._records):
            self._spill()

    def count(self) -> Duplicates:
        """What has been found so far."""
        if self._folder is None:
            return _count(self._records[: self._filled])
        self._spill()
        parts = [_count(np.fromfile(path, dtype=_RECORD)) for path in sorted(self._folder.iterdir())]
        return Duplicates(
            sum(part.documents for part in parts),
            sum(part.bytes for part in parts),
            sum(part.held_out_too for part in parts),
        )

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="nanochat-")))
        records = self._records[: self._filled]
        buckets = records["hash"] % _BUCKETS
        order = np.argsort(buckets, kind="stable")
        ends = np.searchsorted(buckets[order], np.arange(_BUCKETS), side="right")
        for bucket, part in enumerate(np.split(records[order], ends[:-1])):
            if len(part):
                with (self._folder / f"{bucket:03d}").open("ab") as file:
                    file.write(part.tobytes())
        self._filled = 0


def _count(records: NDArray[np.void]) -> Duplicates:
    ordered = records[np.argsort(records["hash"], kind="stable")]
    same = ordered["hash"][1:] == ordered["hash"][:-1]
    sizes = ordered["bytes"][1:][same]
    held, other = (np.unique(records["hash"][records["held_out"] == side]) for side in (1, 0))
    both = np.intersect1d(held, other, assume_unique=True)
    return Duplicates(int(np.count_nonzero(same)), int(sizes.sum(dtype=np.int64)), len(both))
