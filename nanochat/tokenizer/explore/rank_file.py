"""tiktoken rank files: a line each of base64 bytes, a space, the rank. They do not say the split pattern."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nanochat.common.errors import UserError, nearest
from nanochat.common.fields import parse_json, whole
from nanochat.common.files import read_regular
from nanochat.tokenizer.explore.byte_level import RankSplitter
from nanochat.tokenizer.tokenizer import SPLIT_PATTERN

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
O200K_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS: Mapping[str, str] = {
    "nanochat": SPLIT_PATTERN,
    "gpt2": GPT2_PATTERN,
    "cl100k": CL100K_PATTERN,
    "o200k": O200K_PATTERN,
}
"""Split patterns by name: tiktoken's own, and ours."""

ABOUT_SUFFIX = ".json"
"""Of the file beside a rank file that says the rest, as `nanochat tok_export` writes it."""
_END = "<|endoftext|>"


@dataclass(frozen=True)
class KnownFile:
    """A published rank file: what it does not say itself."""

    name: str
    encoding: str
    """tiktoken's name for it."""
    sha256: str
    pattern: str
    specials: Mapping[str, int] = field(default_factory=dict)


GPT2 = KnownFile(
    "GPT-2",
    "r50k_base",
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    GPT2_PATTERN,
    {_END: 50256},
)
P50K = KnownFile(
    "p50k",
    "p50k_base",
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    GPT2_PATTERN,
    {_END: 50256},
)
CL100K = KnownFile(
    "cl100k",
    "cl100k_base",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    CL100K_PATTERN,
    {
        _END: 100257,
        "<|fim_prefix|>": 100258,
        "<|fim_middle|>": 100259,
        "<|fim_suffix|>": 100260,
        "<|endofprompt|>": 100276,
    },
)
O200K = KnownFile(
    "o200k",
    "o200k_base",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    O200K_PATTERN,
    {_END: 199999, "<|endofprompt|>": 200018},
)
KNOWN_FILES = (GPT2, P50K, CL100K, O200K)


class PatternNeededError(UserError):
    """A rank file says no split pattern: ask for it, then open the file again with one."""


def read_rank_file(raw: bytes, path: Path, pattern: str = "") -> RankSplitter:
    """The tokenizer of a rank file's content. `pattern` is a name of `PATTERNS` or a pattern; "" for a
    file that is known by its hash.

    Raises `PatternNeededError` where it must be named, `UserError` for a damaged file: it names the first
    line that is wrong.
    """
    ranks = parse_ranks(raw, path)
    digest = hashlib.sha256(raw).hexdigest()
    known = known_file(digest) or beside(digest, path)
    if known is not None and not pattern:
        return RankSplitter(known.name, ranks, known.pattern, known.specials)
    if not pattern:
        raise PatternNeededError(
            f"{path.name} is a rank file: it does not say by which pattern text is split before merging",
            f"name it (--pattern): {', '.join(PATTERNS)}",
        )
    return RankSplitter(path.stem, ranks, named_pattern(pattern))


def beside(digest: str, path: Path) -> KnownFile | None:
    """What a file beside the rank file of that sha256 says of it: `tokenizer.json` of ours, or the one that
    `nanochat tok_export` wrote."""
    for place in (path.with_name(path.name + ABOUT_SUFFIX), path.with_name("tokenizer.json")):
        try:
            about = parse_json(read_regular(place))
        except (OSError, ValueError, RecursionError):
            continue
        if not isinstance(about, dict) or about.get("ranks_sha256") != digest:
            continue
        pattern, specials = about.get("pat_str") or about.get("pattern"), about.get("special_tokens")
        if isinstance(pattern, str) and isinstance(specials, dict):
            ids = {str(name): token for name, token in specials.items() if whole(token, 0, 1 << 24) == token}
            return KnownFile(path.stem, "", digest, pattern, ids)
    return None


def known_file(digest: str) -> KnownFile | None:
    """The published file of that sha256."""
    return next((known for known in KNOWN_FILES if known.sha256 == digest), None)


def named_pattern(pattern: str) -> str:
    """A pattern by name, or one that is given whole. Raises `UserError` for what is neither."""
    if pattern in PATTERNS:
        return PATTERNS[pattern]
    if pattern.replace("_", "").replace("-", "").isalnum():
        raise UserError(f"no split pattern is called '{pattern}'", nearest(pattern, PATTERNS))
    return pattern


def parse_ranks(raw: bytes, path: Path) -> dict[bytes, int]:
    """Token bytes → rank of a rank file that can encode any text: ranks 0 … n-1, each once, all single bytes.

    Raises `UserError` that names what is wrong: a line, a missing rank, a rank twice, missing bytes.
    """
    ranks: dict[bytes, int] = {}
    lines: dict[int, int] = {}
    number = 0
    for number, line in enumerate(raw.splitlines(), 1):
        token, rank = _parse_line(line, number, path)
        if rank in lines:
            raise _bad(path, f"lines {lines[rank]} and {number} both have rank {rank}")
        if token in ranks:
            raise _bad(path, f"lines {lines[ranks[token]]} and {number} are the same token")
        ranks[token], lines[rank] = rank, number
    if not ranks:
        raise _bad(path, "it is empty")
    missing = next((rank for rank in range(len(ranks)) if rank not in lines), None)
    if missing is not None:
        largest = max(lines)
        holes = largest + 1 - len(ranks)
        raise _bad(
            path, f"rank {missing} is missing ({holes:,} of {largest + 1:,} are); ranks must have no holes"
        )
    if lacking := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise _bad(
            path, f"{len(lacking)} of the 256 single bytes have no rank, 0x{lacking[0]:02x} is the first"
        )
    return ranks


def _parse_line(line: bytes, number: int, path: Path) -> tuple[bytes, int]:
    spelled, _, rank = line.partition(b" ")
    try:
        token = base64.b64decode(spelled, validate=True)
    except binascii.Error:
        raise _bad(path, f"line {number} is not base64, a space and a rank") from None
    if not token or not rank.isdigit() or len(rank) > 9:
        raise _bad(path, f"line {number} is not base64, a space and a rank")
    return token, int(rank)


def _bad(path: Path, what: str) -> UserError:
    return UserError(f"{path}: not a rank file to encode with: {what}")
