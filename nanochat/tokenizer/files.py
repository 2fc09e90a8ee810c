"""The tokenizer's files: a tiktoken rank file, and `tokenizer.json` that names it and says the rest.

The rank file has its hash in its name, and `tokenizer.json` is replaced last. A tokenizer that is replaced by
another is kept beside it as `tokenizer-<hash>.json`: checkpoints may have been trained with it.
"""

import base64
import binascii
import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError, one_line
from nanochat.common.fields import json_text, parse_json
from nanochat.common.paths import atomic_write, make_dir
from nanochat.tokenizer.round_trip import check_pattern
from nanochat.tokenizer.special_tokens import SPECIAL_TOKENS
from nanochat.tokenizer.upstream import read_upstream

META_FILE = "tokenizer.json"
MAX_FILE_BYTES = 256 << 20
"""The largest file of a tokenizer that is read: sixteen million tokens take less."""
FORMAT = "nanochat-tokenizer"
"""What `tokenizer.json` says it is; Hugging Face's file of the same name has no such entry."""
_SHORT = 16
"""Hexadecimal digits of a hash in a file's name."""


@dataclass(frozen=True)
class Vocabulary:
    """All that a tokenizer is made of."""

    ranks: Mapping[bytes, int]
    """Each token's bytes → its id, 0 … n-1."""
    pattern: str
    """The pattern that splits text into words."""
    token_bytes: Sequence[int] | None = None
    """The bytes that each id counts for, special tokens included; None: its raw bytes."""
    trained_on: Mapping[str, Any] = field(default_factory=dict)


def special_ids(ranks: Mapping[bytes, int]) -> dict[str, int]:
    """The special tokens' ids, which follow those of the ranks."""
    return {name: len(ranks) + index for index, name in enumerate(SPECIAL_TOKENS)}


def raw_token_bytes(ranks: Mapping[bytes, int]) -> list[int]:
    """The number of bytes of each id; 0 for special tokens."""
    counts = [0] * (len(ranks) + len(SPECIAL_TOKENS))
    for token, rank in ranks.items():
        counts[rank] = len(token)
    return counts


def check_ranks(ranks: Mapping[bytes, int]) -> None:
    """Raises `UserError` unless the ids are 0 … n-1, every single byte has one, and no token is empty."""
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise UserError(
            "the tokenizer's ids are not 0 … n-1, each once", "train it again: nanochat tok_train"
        )
    missing = sum(bytes([byte]) not in ranks for byte in range(256))
    if missing:
        raise UserError(f"the tokenizer lacks {missing} of the 256 single bytes", "it cannot encode all text")
    if b"" in ranks:
        raise UserError(f"the tokenizer's token {ranks[b'']} is empty", "restore the file, or train it again")


# -- fingerprints ----------------------------------------------------------------------------------


def ranks_sha256(ranks: Mapping[bytes, int]) -> str:
    return hashlib.sha256(rank_file(ranks)).hexdigest()


def fingerprint(vocabulary: Vocabulary) -> str:
    """A sha256 over ranks, split pattern, special tokens and byte counts."""
    ranks = vocabulary.ranks
    counts = vocabulary.token_bytes
    parts = [
        ranks_sha256(ranks),
        vocabulary.pattern,
        special_ids(ranks),
        raw_token_bytes(ranks) if counts is None else list(counts),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


# -- writing ---------------------------------------------------------------------------------------


def rank_file(ranks: Mapping[bytes, int]) -> bytes:
    """tiktoken's format: a line each of base64 bytes, a space, the rank."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ordered)


def encode(vocabulary: Vocabulary) -> dict[str, bytes]:
    """The files by name; `tokenizer.json`, which names the other, comes last."""
    ranks = rank_file(vocabulary.ranks)
    digest = hashlib.sha256(ranks).hexdigest()
    name = f"tokenizer-{digest[:_SHORT]}.tiktoken"
    specials = special_ids(vocabulary.ranks)
    meta: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        "ranks": name,
        "ranks_sha256": digest,
        "fingerprint": fingerprint(vocabulary),
        "vocab_size": len(vocabulary.ranks) + len(specials),
        "pattern": vocabulary.pattern,
        "special_tokens": specials,
        "trained_on": dict(vocabulary.trained_on),
    }
    counts = vocabulary.token_bytes
    if counts is not None and list(counts) != raw_token_bytes(vocabulary.ranks):
        meta["token_bytes"] = list(counts)
    return {name: ranks, META_FILE: f"{json_text(meta)}\n".encode()}


def save(vocabulary: Vocabulary, folder: Path, keep: bool = False) -> None:
    """Writes the files into `folder`. With `keep` another tokenizer of ours that is there stays, see
    `load_kept`; else its files are removed.

    Raises `UserError` when the folder cannot be written.
    """
    make_dir(folder)
    if keep:
        _keep(folder, fingerprint(vocabulary))
    written = encode(vocabulary)
    for name, content in written.items():
        atomic_write(folder / name, content)
    for stale in folder.glob("tokenizer-*.tiktoken"):
        if stale.name not in written and not stale.with_suffix(".json").is_file():
            stale.unlink(missing_ok=True)


def _keep(folder: Path, successor: str) -> None:
    """Copies `tokenizer.json` to a name of its own unless it is `successor`, or cannot be loaded anyway."""
    try:
        present = load(folder)
        raw = _read(folder / META_FILE)
    except (UserError, OSError):
        return
    if fingerprint(present) != successor:
        atomic_write(folder / _kept_name(ranks_sha256(present.ranks)), raw)


def _kept_name(sha256: str) -> str:
    return f"tokenizer-{sha256[:_SHORT]}.json"


# -- reading ---------------------------------------------------------------------------------------


def load(folder: Path) -> Vocabulary:
    """What is in `folder`, in our format or upstream nanochat's (`tokenizer.pkl`, whose opcodes are checked).

    Raises `UserError` when there is no tokenizer, a file is damaged, or the split pattern loses text.
    """
    if (folder / META_FILE).is_file():
        return _load_own(folder, META_FILE)
    if (folder / "tokenizer.pkl").is_file():
        ranks, pattern, token_bytes = read_upstream(folder)
        check_ranks(ranks)
        check_pattern(pattern)
        return Vocabulary(ranks, pattern, token_bytes)
    hint = "train one first: nanochat tok_train"
    beside = sorted(str(path.parent) for path in folder.parent.glob(f"*/tokenizer/{META_FILE}"))
    if beside:  # a plan's, as the demo's, lies in the plan's own folder
        hint += f", or name one: --tokenizer-dir {beside[0]}"
    raise UserError(f"no tokenizer in {folder}", hint)


def load_named(path: Path) -> Vocabulary:
    """The tokenizer of the file at `path`: a `tokenizer.json` of ours, or one that was kept beside it."""
    return _load_own(path.parent, path.name)


def load_kept(folder: Path, sha256: str) -> Vocabulary | None:
    """The tokenizer with these ranks that a later one replaced in `folder`; None when it is not there."""
    name = _kept_name(sha256)
    if not (folder / name).is_file():
        return None
    found = _load_own(folder, name)
    return found if ranks_sha256(found.ranks) == sha256 else None


def _load_own(folder: Path, meta_name: str) -> Vocabulary:
    try:
        meta = parse_json(_read(folder / meta_name))
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise UserError(
                f"{folder / meta_name} is not a nanochat tokenizer", "train one: nanochat tok_train"
            )
        if meta["version"] != 1:
            raise UserError(
                f"{folder / meta_name} has version {meta['version']}", "update nanochat to read it"
            )
        raw = _read(folder / Path(meta["ranks"]).name)
        pattern, special = str(meta["pattern"]), meta["special_tokens"]
        expected, size = meta["ranks_sha256"], meta["vocab_size"]
        trained_on = dict(meta.get("trained_on", {}))
        counts = meta.get("token_bytes")
        token_bytes = None if counts is None else [int(count) for count in counts]
    except OSError as error:
        raise UserError(f"cannot read the tokenizer in {folder}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(folder, f"{meta_name}: {type(error).__name__} {error}") from error
    if hashlib.sha256(raw).hexdigest() != expected:
        raise _damaged(folder, f"the rank file's sha256 is not the one in {meta_name}")
    ranks = parse_rank_file(raw, folder)
    check_ranks(ranks)
    found = Vocabulary(ranks, pattern, token_bytes, trained_on)
    if size != len(ranks) + len(SPECIAL_TOKENS) or special != special_ids(ranks):
        raise _damaged(folder, f"{meta_name} and the rank file disagree on the vocabulary")
    if token_bytes is not None and len(token_bytes) != size:
        raise _damaged(folder, f"token_bytes has {len(token_bytes)} entries, the vocabulary {size}")
    # Version 0.1.0 wrote no fingerprint.
    if meta.get("fingerprint", "") not in ("", fingerprint(found)):
        raise _damaged(
            folder, f"the fingerprint in {meta_name} is another: pattern or byte counts were changed"
        )
    check_pattern(pattern)
    return found


def _read(path: Path) -> bytes:
    """A whole file. Raises `OSError` for what is no regular file, a pipe for example, or too large."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path.name} is not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise OSError(f"{path.name} is {status.st_size} bytes, too large for a tokenizer")
    return path.read_bytes()


def parse_rank_file(raw: bytes, where: Path) -> dict[bytes, int]:
    """The ranks in a tiktoken rank file: a line each of base64 bytes, a space, the rank."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(raw.splitlines(), 1):
        token, _, rank = line.partition(b" ")
        try:
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (binascii.Error, ValueError) as error:
            raise _damaged(where, f"line {number} of the rank file") from error
    return ranks


def _damaged(folder: Path, what: str) -> UserError:
    return UserError(
        f"the tokenizer in {folder} is damaged: {one_line(what)}", "train it again: nanochat tok_train"
    )
