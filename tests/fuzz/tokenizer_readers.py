"""Readers of a tokenizer's foreign files, and whole files of each kind."""

import io
import json
import pickle
from pathlib import Path

import numpy as np

from nanochat.tokenizer.explore.counting import cached_counts
from nanochat.tokenizer.explore.plain import ByteSplitter
from nanochat.tokenizer.explore.protobuf import fields
from nanochat.tokenizer.explore.rank_file import beside, parse_ranks
from nanochat.tokenizer.files import rank_file

RANKS = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256, "é".encode(): 257}
RANK_FILES = (rank_file(RANKS), b"YQ== 0\r\nYg== 1\r\n")
PROTOBUF = (b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02\x12\x04\x18\x02\x20\x01",)
ABOUT = (json.dumps({"pat_str": r"\w+", "special_tokens": {"<|x|>": 258}, "ranks_sha256": "0"}).encode(),)
DATA = "ab" * 32


def read_ranks(raw: bytes) -> None:
    """Whatever a rank file holds, ranks that come out of it can encode any text."""
    assert len(parse_ranks(raw, Path("x.tiktoken"))) >= 256


def read_message(raw: bytes) -> None:
    """Fields of a SentencePiece model."""
    for number, value in fields(raw):
        assert number >= 0 and isinstance(value, int | bytes)


def read_about(folder: Path, raw: bytes) -> None:
    """The file beside a rank file."""
    (folder / "x.tiktoken.json").write_bytes(raw)
    beside("0", folder / "x.tiktoken")


def pickles() -> tuple[bytes, ...]:
    """A pickle of upstream's form, and one that would run a command."""
    import tiktoken

    encoding = tiktoken.Encoding(
        "x", pat_str=r"\w+|\W+", mergeable_ranks=RANKS, special_tokens={"<|x|>": 258}
    )
    return (pickle.dumps(encoding), pickle.dumps(Path("x")))


def counts() -> tuple[bytes, ...]:
    """Counts as they are kept."""
    content = io.BytesIO()
    splitter = ByteSplitter()
    np.savez_compressed(
        content,
        counts=np.arange(256, dtype=np.int64),
        size=np.asarray([1, 2], np.int64),
        fingerprint=np.asarray(splitter.fingerprint),
        data=np.asarray(DATA),
    )
    return (content.getvalue(),)


def read_counts(folder: Path, raw: bytes) -> None:
    """What was counted before: the counts, or nothing."""
    splitter = ByteSplitter()
    path = folder / "token_counts" / f"{splitter.fingerprint[:16]}-{DATA[:16]}.npz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw)
    found = cached_counts(folder, splitter, DATA)
    assert found is None or len(found.counts) == 256
