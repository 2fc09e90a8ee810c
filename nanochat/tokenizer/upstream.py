"""Reads upstream nanochat's tokenizer folder (`tokenizer.pkl`, `token_bytes.pt`) without running any of it.

`tokenizer.pkl` is a pickled `tiktoken.Encoding`. A pickle is a program, and unpickling one runs it. Here its
opcodes are first checked against the few that build dicts, strings, bytes and integers; then an unpickler
that knows a single name, a stand-in for `tiktoken.core.Encoding`, rebuilds the state. Nothing else can be
imported or called.
"""

import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError
from nanochat.tokenizer.special_tokens import SPECIAL_TOKENS

MAX_PICKLE_BYTES = 256 << 20
MAX_TENSOR_BYTES = 256 << 20
"""Bytes of `token_bytes.pt`, and of what it unpacks to."""
MAX_VOCABULARY = 1 << 24

_STRUCTURE = {"PROTO", "FRAME", "STOP", "MARK", "STACK_GLOBAL", "NEWOBJ", "BUILD"}
_MEMO = {"MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"}
_CONTAINERS = {"EMPTY_TUPLE", "EMPTY_DICT", "SETITEM", "SETITEMS"}
_SCALARS = {"SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "BININT", "BININT1", "BININT2"}
_OPCODES = _STRUCTURE | _MEMO | _CONTAINERS | _SCALARS
_LARGEST_MEMO = 1 << 22


class _EncodingState:
    """Takes the place of `tiktoken.core.Encoding` and keeps the state it is given."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _OneNameUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("tiktoken.core", "Encoding"):
            return _EncodingState
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_upstream(folder: Path) -> tuple[dict[bytes, int], str, list[int] | None]:
    """`(ranks, split pattern, token bytes)` of a tokenizer folder of upstream nanochat.

    Token bytes are the file's own where `token_bytes.pt` is there, else None: classic files count
    the bytes of the decoded string, and a classic bpb needs their values.
    Raises `UserError` when a file is damaged, or a pickle that would run code.
    """
    state = _encoding_state(folder / "tokenizer.pkl")
    ranks, specials, pattern = state["mergeable_ranks"], state["special_tokens"], state["pat_str"]
    _check_specials(folder, len(ranks), specials)
    bytes_path = folder / "token_bytes.pt"
    token_bytes = read_token_bytes(bytes_path) if bytes_path.is_file() else None
    return ranks, pattern, token_bytes


def read_encoding(path: Path) -> tuple[dict[bytes, int], str, dict[str, int]]:
    """`(ranks, split pattern, special tokens)` of a pickled tiktoken Encoding, checked in the same way."""
    state = _encoding_state(path)
    return state["mergeable_ranks"], state["pat_str"], state["special_tokens"]


def _encoding_state(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > MAX_PICKLE_BYTES:
            raise UserError(f"{path} is {size} bytes, too large for a tokenizer")
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        _check_opcodes(raw)
        loaded = _OneNameUnpickler(io.BytesIO(raw)).load()
        state = loaded.state if isinstance(loaded, _EncodingState) else None
        if not _is_encoding_state(state):
            raise pickle.UnpicklingError("it does not hold the parts of an encoding")
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(
            f"{path} is refused: not a plain pickled tiktoken Encoding: {type(error).__name__}: {error}",
            "nothing in it was run; take the file from a trusted copy or train again: nanochat tok_train",
        ) from error
    assert isinstance(state, dict)
    return state


def _check_opcodes(raw: bytes) -> None:
    for opcode, argument, position in pickletools.genops(raw):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"opcode {opcode.name} at byte {position}")
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > _LARGEST_MEMO:
            raise pickle.UnpicklingError(f"memo index {argument} at byte {position}")


def _is_encoding_state(state: object) -> bool:
    if not isinstance(state, dict) or not isinstance(state.get("pat_str"), str):
        return False
    ranks, specials = state.get("mergeable_ranks"), state.get("special_tokens")
    return (
        isinstance(ranks, dict)
        and isinstance(specials, dict)
        and all(type(key) is bytes and type(value) is int for key, value in ranks.items())
        and all(type(key) is str and type(value) is int for key, value in specials.items())
    )


def _check_specials(folder: Path, base: int, specials: dict[str, int]) -> None:
    expected = {name: base + index for index, name in enumerate(SPECIAL_TOKENS)}
    if specials != expected:
        raise UserError(
            f"{folder / 'tokenizer.pkl'} has other special tokens than nanochat's nine: "
            f"{', '.join(list(specials)[:9]) or 'none'}"
        )


def read_token_bytes(path: Path) -> list[int]:
    """The int tensor in `token_bytes.pt`, loaded as weights only. Imports torch."""
    import torch

    try:
        if path.stat().st_size > MAX_TENSOR_BYTES:
            raise OSError("it is larger than a tokenizer's")
        # torch does not verify the archive's checksums: other counts would be read, and bpb be wrong.
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(item.file_size for item in archive.infolist()) > MAX_TENSOR_BYTES:
                    raise OSError("it unpacks to more than a tokenizer has")
                if (damaged := archive.testzip()) is not None:
                    raise OSError(f"{damaged} in it does not match its checksum")
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        raise UserError(f"{path} is refused: not a plain tensor file: {type(error).__name__}") from error
    if not isinstance(tensor, torch.Tensor) or tensor.dim() != 1 or tensor.is_floating_point():
        raise UserError(f"{path} is not a one-dimensional integer tensor")
    if tensor.numel() > MAX_VOCABULARY:  # a few bytes may stand for any number of elements
        raise UserError(f"{path} has {tensor.numel():,} byte counts, more than any vocabulary")
    return [int(count) for count in tensor.tolist()]
