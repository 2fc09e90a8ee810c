"""From documents, any number in any order, to shuffled and deduplicated shards in the FineWeb layout.

Documents are sorted by a keyed 128-bit digest of their text, in buckets on disk by its first byte. That
one order does three things in bounded memory (about 1/256 of the corpus, and a fixed buffer):

- equal documents meet, so exact duplicates are dropped;
- it is a uniform shuffle, so shards are mixed and the last ones are a fair sample for validation;
- it depends on the texts and the seed alone: the same documents make the same shards, whatever the order
  of the files.
"""

import contextlib
import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nanochat.common.errors import UserError
from nanochat.common.files import is_utf_8
from nanochat.data.manifest import BuiltShard, footer_sha256
from nanochat.data.shards import TEXT_COLUMN, shard_name

BUCKETS = 256
BUFFER_BYTES = 64 << 20
"""Documents kept in memory before the buckets are written out."""
ROW_GROUP_CHARS = 64_000_000
"""A row group ends early at this many characters, so that huge documents do not fill the memory."""
VAL_DIVISOR = 20
"""One twentieth of the corpus is held out for validation, at most one shard."""
ZSTD_LEVEL = 3
"""zstd's own default."""

_RECORD = struct.Struct("<16sII")  # digest, characters, bytes; the text follows
_INDEX = struct.Struct("<16sI")  # digest, characters
_BLOCK = struct.Struct("<QQ")  # raw bytes, compressed bytes; the compressed block follows


class BucketSort:
    """Documents go in by `add` in any order; `sorted_documents` gives each distinct one once, by digest."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._key = str(seed).encode()[:64]
        self._buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
        self._buffered = 0
        self.added = 0
        self.chars_added = 0

    def add(self, text: str) -> None:
        """Raises UnicodeEncodeError for text with lone surrogates, which no parquet file can hold."""
        raw = text.encode()
        digest = hashlib.blake2b(raw, digest_size=16, key=self._key).digest()
        self._buckets[digest[0]].append(_RECORD.pack(digest, len(text), len(raw)) + raw)
        self._buffered += len(raw) + 128
        self.added += 1
        self.chars_added += len(text)
        if self._buffered >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes the buffered records out, one compressed block a bucket."""
        import pyarrow as pa

        for number, records in enumerate(self._buckets):
            if not records:
                continue
            raw = b"".join(records)
            packed = pa.compress(raw, codec="zstd", asbytes=True)
            with self._path(number, "docs").open("ab") as file:
                file.write(_BLOCK.pack(len(raw), len(packed)) + packed)
            with self._path(number, "index").open("ab") as file:
                file.write(b"".join(_INDEX.pack(*_RECORD.unpack_from(record)[:2]) for record in records))
            records.clear()
        self._buffered = 0

    def _path(self, number: int, suffix: str) -> Path:
        return self._folder / f"{number:03d}.{suffix}"

    def distinct(self) -> tuple[int, int]:
        """How many distinct documents there are, and their characters."""
        self.flush()
        documents = chars = 0
        for number in range(BUCKETS):
            path = self._path(number, "index")
            if path.exists():
                lengths = dict(_INDEX.iter_unpack(path.read_bytes()))
                documents += len(lengths)
                chars += sum(lengths.values())
        return documents, chars

    def sorted_documents(self) -> Iterator[tuple[int, bytes]]:
        """`(characters, UTF-8 text)` of each distinct document in the order of the digests."""
        self.flush()
        for number in range(BUCKETS):
            distinct = {digest: (chars, raw) for digest, chars, raw in self._read(number)}
            for digest in sorted(distinct):
                yield distinct[digest]

    def _read(self, number: int) -> Iterator[tuple[bytes, int, bytes]]:
        import pyarrow as pa

        path = self._path(number, "docs")
        if not path.exists():
            return
        with path.open("rb") as file:
            while header := file.read(_BLOCK.size):
                raw_size, packed_size = _BLOCK.unpack(header)
                packed = file.read(packed_size)
                block = pa.decompress(packed, decompressed_size=raw_size, codec="zstd", asbytes=True)
                position = 0
                while position < raw_size:
                    digest, chars, size = _RECORD.unpack_from(block, position)
                    position += _RECORD.size
                    yield digest, chars, block[position : position + size]
                    position += size


@dataclass(frozen=True)
class ShardPlan:
    """Where shards end, in characters from the start of the shuffled corpus."""

    train_chars: int
    """Validation begins with the first document that begins at or after this."""
    train_shards: int


def plan_shards(total_chars: int, shard_chars: int, val_chars: int = -1) -> ShardPlan:
    """Training shards of equal size, at most about `shard_chars` each, and a last one for validation.

    `val_chars` -1 holds out one twentieth, at most one shard.
    """
    held_out = val_chars if val_chars >= 0 else min(shard_chars, total_chars // VAL_DIVISOR)
    train = max(0, total_chars - held_out)
    return ShardPlan(train, max(1, -(-train // shard_chars)))


class ShardCutter:
    """Gives each document, in order, the number of its shard: consecutive numbers, none of them empty.

    The first document trains and the last validates, however long they are, so at least two shards
    come of at least two documents.
    """

    def __init__(self, plan: ShardPlan, documents: int) -> None:
        self._plan, self._documents = plan, documents
        self._share = max(1.0, plan.train_chars / plan.train_shards)
        self._index = self._begin = self._shard = 0
        self._planned = 1
        """Planned shards whose start has been passed; a huge document passes several at once."""
        self._validating = False

    def next(self, chars: int) -> int:
        """The shard of the next document, which has `chars` characters."""
        if not self._validating and self._index > 0:
            if self._begin >= self._plan.train_chars or self._index == self._documents - 1:
                self._validating = True
                self._shard += 1
            elif self._planned < self._plan.train_shards and self._begin >= self._planned * self._share:
                self._planned = int(self._begin / self._share) + 1
                self._shard += 1
        self._index += 1
        self._begin += chars
        return self._shard


class ShardWriter:
    """One shard: parquet, column `text`, zstd, row groups of `row_group` documents."""

    def __init__(self, path: Path, row_group: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        self.documents = self.chars = 0
        self._row_group = row_group
        self._rows: list[bytes] = []
        self._row_chars = 0
        self._schema = pa.schema([pa.field(TEXT_COLUMN, pa.string())])
        self._file = None if is_utf_8(path) else path.open("wb")
        self._writer = pq.ParquetWriter(
            self._file or path,
            self._schema,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    def add(self, chars: int, text: bytes) -> None:
        """Adds one document, as UTF-8."""
        self._rows.append(text)
        self._row_chars += chars
        self.documents += 1
        self.chars += chars
        if len(self._rows) >= self._row_group or self._row_chars >= ROW_GROUP_CHARS:
            self._write_row_group()

    def _write_row_group(self) -> None:
        import pyarrow as pa

        column = pa.array(self._rows, type=pa.binary()).cast(pa.string())
        self._writer.write_table(pa.Table.from_arrays([column], schema=self._schema), len(self._rows))
        self._rows.clear()
        self._row_chars = 0

    def close(self) -> None:
        """Writes the last row group and the footer."""
        if self._rows:
            self._write_row_group()
        self._writer.close()
        if self._file is not None:
            self._file.close()

    def built(self) -> BuiltShard:
        """What was written, once it is closed."""
        return BuiltShard(self.documents, footer_sha256(self._path))

    def discard(self) -> None:
        """Closes the file after an error; its content is not usable."""
        self._rows.clear()
        with contextlib.suppress(Exception):  # a full disk refuses the footer as well
            self._writer.close()


@dataclass(frozen=True)
class CorpusSummary:
    """What a build wrote: counts over all shards, and of the validation shard."""

    documents: int
    chars: int
    duplicates: int
    built: tuple[BuiltShard, ...]
    """The shards in order; the last is for validation."""
    val_chars: int

    @property
    def shards(self) -> int:
        return len(self.built)

    @property
    def val_documents(self) -> int:
        return self.built[-1].documents


def write_shards(
    sort: BucketSort,
    folder: Path,
    *,
    shard_chars: int,
    val_chars: int,
    row_group: int,
    report: Callable[[float], None],
) -> CorpusSummary:
    """Writes the sorted documents into `folder` as shards; calls `report` with the fraction done.

    Raises `UserError` when there are fewer than two distinct documents.
    """
    documents, chars = sort.distinct()
    if documents < 2:
        what = "only one distinct document" if documents else "no document"
        raise UserError(
            f"{what} came out of the input: two are needed, one to train on and one for validation",
            "add files, or split a long one with a smaller --doc-chars",
        )
    cutter = ShardCutter(plan_shards(chars, shard_chars, val_chars), documents)
    built: list[BuiltShard] = []
    shard, done = 0, 0
    writer = ShardWriter(folder / shard_name(shard), row_group)
    try:
        for length, text in sort.sorted_documents():
            if cutter.next(length) != shard:
                writer.close()
                built.append(writer.built())
                shard += 1
                writer = ShardWriter(folder / shard_name(shard), row_group)
            writer.add(length, text)
            done += length
            report(done / chars)
        writer.close()
    except BaseException:
        writer.discard()
        raise
    built.append(writer.built())
    return CorpusSummary(documents, chars, sort.added - documents, tuple(built), writer.chars)
