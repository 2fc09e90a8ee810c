"""A safetensors file written from another one: what stays as it is goes from file to file within the kernel.

The library's `save_file` copies every tensor first, which takes as long as the writing. The format is
an eight-byte length, a JSON header with each tensor's type, shape and place, and the bytes of the tensors.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from nanochat.common import fields

TYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}
MOST_HEADER = 100 << 20
"""Bytes of a header; the library refuses more, too."""
PART = 8 << 20

Places = Mapping[str, int]
"""Where each tensor begins in a file, in bytes."""


def float32_places(file: BinaryIO) -> dict[str, int]:
    """Where the float32 tensors of a safetensors file begin; nothing of a file that is none."""
    length = int.from_bytes(file.read(8), "little")
    header = fields.json_object(file.read(length)) if length <= MOST_HEADER else None
    found = {}
    for name, entry in (header or {}).items():
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if isinstance(offsets, list) and len(offsets) == 2 and entry.get("dtype") == "F32":
            start = fields.whole(offsets[0], 0)
            if start is not None:
                found[name] = 8 + length + start
    return found


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], kind: torch.dtype, source: Path | None, places: Places
) -> None:
    """Writes tensors of one type. Those with a place in `source` are float32 there, row after row, maybe with
    more rows at the end. Raises `OSError`."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}  # transformers refuses a file without
    at = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * kind.itemsize
        header[name] = {"dtype": TYPES[kind], "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # readers map tensors into memory where they are aligned
    with path.open("wb", buffering=0) as file:
        _write(file, memoryview(len(raw).to_bytes(8, "little") + raw))
        if source is None or kind != torch.float32:
            for tensor in tensors.values():
                _write(file, _bytes(tensor, kind))
            return
        with source.open("rb") as origin:
            for name, tensor in tensors.items():
                if name in places:
                    _copy(origin, places[name], tensor.numel() * kind.itemsize, file)
                else:
                    _write(file, _bytes(tensor, kind))


def _bytes(tensor: Tensor, kind: torch.dtype) -> memoryview:
    flat = tensor.detach().to("cpu", kind).contiguous().view(-1)
    return flat.view(torch.uint8).numpy().data


def _write(file: BinaryIO, raw: memoryview) -> None:
    while raw:
        raw = raw[file.write(raw) :]


def _copy(origin: BinaryIO, start: int, size: int, file: BinaryIO) -> None:
    """Bytes from file to file. macOS has sendfile for sockets alone."""
    end = start + size
    while start < end:
        if sys.platform == "linux":
            moved = os.sendfile(file.fileno(), origin.fileno(), start, end - start)
        else:
            moved = os.write(file.fileno(), os.pread(origin.fileno(), min(PART, end - start), start))
        if not moved:
            raise OSError(0, "it has become shorter", origin.name)
        start += moved
