"""Compressed files as streams of what they hold: gzip, zstd, bzip2 and xz, known by their first bytes.

The memory is bounded whatever a file unpacks to: it is read block by block, never as a whole.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

BUFFER = 1 << 16
"""Bytes that a stream reads ahead, and so the most that `peek` shows."""

SUFFIXES = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".xz": "xz"}
"""What the name promises. The first bytes decide; where they show nothing, the file is damaged."""

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
}
_XZ_MEMORY = 256 << 20
"""Bytes that unpacking xz may take; its largest preset takes 65 MiB."""


class Damaged(Exception):  # noqa: N818 - a reason to skip a file, caught within this room
    """A compressed file that is truncated or is not what it should be; `kind` is its compression."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def compression(path: Path, raw: io.BufferedReader) -> str:
    """How the file open at `raw` is compressed: "gzip", "zstd", "bzip2", "xz", or "" for not at all."""
    head = raw.peek(8)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return SUFFIXES.get(path.suffix.lower(), "")


def kind_suffix(path: Path) -> str:
    """The suffix, in lower case, that says what the file holds: `.jsonl` of `a.jsonl.zst`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def unpacked(raw: io.BufferedReader, kind: str) -> io.BufferedReader:
    """What the file at `raw` holds; closing it closes `raw`. Reading raises `Damaged`."""
    return io.BufferedReader(_Unpacked(raw, kind), BUFFER) if kind else raw


class _Unpacked(io.RawIOBase):
    """A stream that unpacks `raw`, with one exception for all that damage may raise."""

    def __init__(self, raw: io.BufferedReader, kind: str) -> None:
        self._raw, self._kind = raw, kind
        self._inner: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            if self._inner is None:
                self._inner = _OPENERS[self._kind](self._raw)
            piece = self._inner.read(len(buffer))
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            # The disk's own errors have a number; those of a damaged stream have none.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Damaged(self._kind) from error
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            if self._inner is not None:
                self._inner.close()
            self._raw.close()
        super().close()


def _zstd(raw: IO[bytes]) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(raw, "zstd")


def _gzip(raw: IO[bytes]) -> Any:
    return gzip.GzipFile(fileobj=raw, mode="rb")


def _bzip2(raw: IO[bytes]) -> Any:
    return bz2.BZ2File(raw)


class _XzFile(io.RawIOBase):
    """xz within a bound of memory, which `lzma.LZMAFile` has no option for; streams may follow each other."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def read(self, size: int = -1) -> bytes:
        while True:
            if self._decoder.eof:
                rest = (self._decoder.unused_data or self._raw.read(BUFFER)).lstrip(b"\0")
                if not rest:
                    return b""
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            else:
                rest = self._raw.read(BUFFER) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not rest:
                    raise EOFError
            piece = self._decoder.decompress(rest, size)
            if piece:
                return piece


_OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "bzip2": _bzip2,
    "xz": _XzFile,
}
