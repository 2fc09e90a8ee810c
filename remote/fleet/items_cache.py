"""Copies of other machines' item files in a folder of bounded size, the ones not looked at longest out first.

A file of items only grows while its evaluation runs, by whole lines, and a line that was cut short is written
again. So a copy is continued from its last whole line, where the host's file is still the same one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nanochat.common import fields
from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import atomic_write, make_dir
from nanochat.common.text import sanitize, size_bytes

MOST_BYTES = 1 << 30
"""Of all copies together, and so of one."""
_CHUNK = 1 << 22
_LEFT_BEHIND = 86_400.0
"""Seconds after which a copy in the making is no one's: its program was killed."""


@dataclass(frozen=True)
class Chunk:
    """Bytes of a file from `offset` on. `identity` is another for other content, "" where there is no file;
    `before` the sha256 of what lies before `offset`, where it was asked for."""

    raw: bytes
    offset: int
    size: int
    identity: str
    before: str = ""


def chunk_of(host: str, answer: dict[str, Any]) -> Chunk:
    """An agent's answer to `items`, read field by field. Raises `UserError` for one that is none."""
    offset, size = (fields.whole(answer.get(word), 0) for word in ("offset", "size"))
    identity, before = (fields.text(answer.get(word), 200) for word in ("identity", "before"))
    try:
        packed = base64.b64decode(str(answer.get("zlib")), validate=True)
        reader = zlib.decompressobj()
        raw = reader.decompress(packed, _CHUNK)
    except (ValueError, zlib.error):
        raw, offset = b"", None
    if offset is None or size is None or identity is None or before is None:
        raise UserError(f"host '{host}' gave an answer we cannot read: no bytes", exit_code=Exit.FAILED)
    return Chunk(raw, offset, size, identity, before)


@dataclass(frozen=True)
class Found:
    """A copy that is there; of the host's file as `identity` names it, "" for a part of one."""

    path: Path
    bytes: int
    identity: str
    checked: float
    """When the host's file was last seen to be the same; Unix time, s."""


class Copy:
    """A copy in the making, in a file of its own until `keep`. A full disk is a `UserError` everywhere."""

    def __init__(self, cache: ItemsCache, path: Path, old: Path | None) -> None:
        self._cache, self._path = cache, path
        self.size = 0
        with _writing(path.parent):
            descriptor, name = tempfile.mkstemp(prefix=".items-", suffix=".part", dir=path.parent)
            self._temp = Path(name)
            self._file: IO[bytes] = os.fdopen(descriptor, "r+b")
            try:
                if old is not None:
                    self._begin_with(old)
            except BaseException:
                self.close()
                raise

    def _begin_with(self, old: Path) -> None:
        with old.open("rb") as content:
            shutil.copyfileobj(content, self._file, _CHUNK)
        # what followed the last line was half of one: the host has written it anew
        self._cut(_last_line_end(self._file, self._file.tell()))

    def digest(self) -> str:
        """The sha256 of what is here."""
        found = hashlib.sha256()
        with _writing(self._path.parent):  # what is buffered goes to the disk first
            self._file.seek(0)
            while raw := self._file.read(_CHUNK):
                found.update(raw)
        return found.hexdigest()

    def restart(self) -> None:
        """Drops what is here."""
        with _writing(self._path.parent):
            self._cut(0)

    def add(self, chunk: Chunk) -> None:
        """Takes bytes in that begin where it ends; others are asked for again."""
        if chunk.offset == self.size:
            with _writing(self._path.parent):
                self._file.seek(self.size)
                self._file.write(chunk.raw)
            self.size += len(chunk.raw)

    def keep(self, first: Chunk, last: Chunk) -> Path:
        """Puts the copy in its place; returns where. Of a file that grew meanwhile, up to its last line."""
        with _writing(self._path.parent):
            if last.identity != first.identity:
                self._cut(_last_line_end(self._file, self.size))
            self._file.flush()
            self._temp.replace(self._path)
            # a copy of less than all: the rest is asked for the next time
            identity = last.identity if self.size == last.size else ""
            self._cache.note(self._path, identity, self.size)
        return self._path

    def _cut(self, size: int) -> None:
        self._file.truncate(size)
        self.size = size

    def close(self) -> None:
        """Ends it; without `keep` nothing is left of it, whatever the disk says to its last bytes."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temp.unlink()


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot copy items to {folder}: {error.strerror}", "free some space there", Exit.FAILED
        ) from error


class ItemsCache:
    """The copies in `folder`."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self.most_bytes = most_bytes

    def check_room(self, path: str, size: int) -> None:
        """Raises `UserError` for a file that is larger than all copies may be."""
        if size > self.most_bytes:
            raise UserError(
                f"{sanitize(path, 200)} has {size_bytes(size)}, more than is kept of items here "
                f"({size_bytes(self.most_bytes)})",
                "look at them on the host",
                Exit.FAILED,
            )

    def find(self, host: str, path: str) -> Found | None:
        """The copy of a host's file, if there is one and it is the file that was noted."""
        at = self._path(host, path)
        try:
            held = fields.json_object(at.with_suffix(".json").read_bytes()) or {}
            size = at.stat().st_size
        except OSError:
            return None
        identity = fields.text(held.get("identity"))
        if identity is None or held.get("bytes") != size:
            return None
        return Found(at, size, identity, fields.moment(held.get("checked")) or 0.0)

    def begin(self, host: str, path: str, here: Found | None) -> Copy:
        """A copy of a host's file, which begins with what is here, up to its last line.

        Raises `UserError` when the disk is full.
        """
        make_dir(self.folder)
        self._drop_left_behind()
        return Copy(self, self._path(host, path), here.path if here is not None else None)

    def check(self, here: Found) -> None:
        """Notes that a copy is what the host has now."""
        self.note(here.path, here.identity, here.bytes)

    def note(self, path: Path, identity: str, size: int) -> None:
        """Writes down what a copy is of, and makes room."""
        held = {"identity": identity, "bytes": size, "checked": time.time()}
        atomic_write(path.with_suffix(".json"), json.dumps(held))
        os.utime(path)
        self._make_room(path)

    def _make_room(self, kept: Path) -> None:
        self._drop_left_behind()
        copies = sorted(self._copies(), key=lambda copy: copy[0])
        total = sum(size for _, size, _ in copies)
        for _, size, path in copies:
            if total <= self.most_bytes:
                return
            if path != kept:
                path.unlink(missing_ok=True)
                path.with_suffix(".json").unlink(missing_ok=True)
                total -= size

    def _drop_left_behind(self) -> None:
        """Drops what killed programs have left of copies in the making."""
        before = time.time() - _LEFT_BEHIND
        for path in self.folder.glob(".items-*.part"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _copies(self) -> Iterator[tuple[float, int, Path]]:
        for path in self.folder.glob("*.jsonl"):
            with contextlib.suppress(OSError):
                found = path.stat()
                yield found.st_mtime, found.st_size, path

    def _path(self, host: str, path: str) -> Path:
        name = hashlib.sha256(f"{host}\0{path}".encode()).hexdigest()[:24]
        return self.folder / f"{name}.jsonl"


def _last_line_end(file: IO[bytes], size: int) -> int:
    """The offset after the last newline of a file; 0 without one."""
    end = size
    while end > 0:
        start = max(0, end - _CHUNK)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0
