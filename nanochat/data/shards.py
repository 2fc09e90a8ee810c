"""Pretraining shards on disk: find them, split off validation, iterate their row groups.

A shard is a parquet file with a string column `text`; the files of a folder in the order of their names
are one dataset, and the **last** shard is its validation split. Anything that ends in `.parquet` and is
not hidden counts, so a folder made by another tool works as well.

pyarrow is imported when a shard is opened, never before.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError, one_line
from nanochat.common.files import is_utf_8, open_regular
from nanochat.data.manifest import BuiltShard, built_shard, footer_sha256

if TYPE_CHECKING:
    import pyarrow.parquet as pq

TEXT_COLUMN = "text"

MAX_ROW_GROUP = 2 << 30
"""Bytes of text in a row group at most: it is held in memory as a whole."""
BATCH_BYTES = 1 << 30
"""Bytes that a batch of rows may unpack to at worst, where a value is stored once and repeated."""
BATCH_ROWS = 256
_SHARD_NAME = re.compile(r"shard_(\d{5,})\.parquet")
_HOW_TO_GET_DATA = (
    "make some with `nanochat data build PATH… --out DIR` or get some with `nanochat data download`"
)


def shard_name(number: int) -> str:
    """The file name of shard `number`: five digits, more when they are needed."""
    return f"shard_{number:05d}.parquet"


@dataclass(frozen=True)
class ShardSet:
    """The shards of a folder: `train` in reading order, and the last one, `val`.

    `gaps` are the runs of missing numbers among the training shards, both ends included. A published
    set downloaded in part keeps the number of its validation shard, so the step from the last training
    shard to `val` is not a gap.
    """

    folder: Path
    train: tuple[Path, ...]
    val: Path
    gaps: tuple[tuple[int, int], ...] = ()

    @property
    def gap_warning(self) -> str:
        """One line that names the missing shards, or an empty string."""
        if not self.gaps:
            return ""
        missing = ", ".join(f"{a:05d}" if a == b else f"{a:05d}–{b:05d}" for a, b in self.gaps)
        return f"{self.folder}: shards {missing} are missing; training reads the others"


def list_shards(folder: Path) -> list[Path]:
    """The shards of `folder` in reading order. Hidden, `.part` and `.tmp` files are not shards.

    Raises `UserError` when there is no such folder or no shard in it.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"data folder {folder} {what}", _HOW_TO_GET_DATA)
    try:
        names = [path for path in folder.iterdir() if _is_shard(path)]
    except OSError as error:
        raise UserError(f"cannot read the data folder {folder}: {error.strerror}") from error
    if not names:
        raise UserError(f"no parquet shards in {folder}", _HOW_TO_GET_DATA)
    return sorted(names, key=_reading_order)


def _is_shard(path: Path) -> bool:
    return path.suffix == ".parquet" and not path.name.startswith(".") and path.is_file()


def _reading_order(path: Path) -> tuple[int, str]:
    """By name, but numbers of more than five digits after those of five."""
    return len(path.name) if _SHARD_NAME.fullmatch(path.name) else 0, path.name


def split_shards(folder: Path) -> ShardSet:
    """The shards of `folder`, the last one set apart for validation.

    Raises `UserError` when there are fewer than two.
    """
    shards = list_shards(folder)
    if len(shards) < 2:
        raise UserError(
            f"{folder} holds a single shard, {shards[0].name}: the last shard is the validation split, "
            "so nothing is left to train on",
            "add a second shard, or pack the text again with `nanochat data build`",
        )
    return ShardSet(folder, tuple(shards[:-1]), shards[-1], _gaps(shards[:-1]))


def _gaps(shards: Sequence[Path]) -> tuple[tuple[int, int], ...]:
    matches = [_SHARD_NAME.fullmatch(path.name) for path in shards]
    numbers = [int(match[1]) for match in matches if match]
    return tuple((a + 1, b - 1) for a, b in zip([-1, *numbers], numbers, strict=False) if b - a > 1)


@contextmanager
def open_parquet(path: Path) -> Iterator["pq.ParquetFile"]:
    """Opens the parquet file at `path`, with page checksums verified.

    Raises `UserError` that names the file when it is unreadable, truncated or not parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("it is no regular file")
        source = path if is_utf_8(path) else open_regular(path)
        file = pq.ParquetFile(source, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    with file:
        yield file


@contextmanager
def open_shard(path: Path) -> Iterator["pq.ParquetFile"]:
    """Opens the shard at `path`: a parquet file with a column of text.

    Raises `UserError` as `open_parquet` does, and when the column is missing or does not hold strings.
    """
    built = built_shard(path)
    if built is not None:
        _check_footer_bytes(path, built)
    with open_parquet(path) as file:
        check_text_column(path, file.schema_arrow, TEXT_COLUMN)
        _check_footer(path, file, built)
        yield file


def _check_footer_bytes(path: Path, built: BuiltShard) -> None:
    """Raises `UserError` unless the footer is the one that was written.

    Before it is parsed: pyarrow 26.0 ends the whole process, with nothing to catch, on some damaged ones.
    """
    try:
        same = footer_sha256(path) == built.footer
    except OSError as error:
        raise _damaged(path, error) from error
    if not same:
        raise _damaged_footer(path)


def _damaged_footer(path: Path) -> UserError:
    return UserError(
        f"{path} is damaged: its footer does not fit its content", "delete it and build or download it again"
    )


def _check_footer(path: Path, file: "pq.ParquetFile", built: BuiltShard | None) -> None:
    """Raises `UserError` when the footer contradicts itself or `build.json`: its row groups do not add up to
    its rows, they are not the documents that were written, or two of them are the same pages of the file,
    whose documents would be read twice.

    A footer has no checksum of its own.
    """
    footer, size = file.metadata, path.stat().st_size
    spans, rows = [], 0
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        rows += group.num_rows
        for number in range(group.num_columns):
            column = group.column(number)
            if column.path_in_schema == TEXT_COLUMN:
                first = column.dictionary_page_offset or column.data_page_offset
                spans.append((first, first + column.total_compressed_size))
    spans.sort()
    apart = all(end <= start for (_, end), (start, _) in pairwise(spans))
    inside = not spans or (spans[0][0] >= 4 and spans[-1][1] <= size)
    written = rows if built is None else built.documents
    counted = rows == footer.num_rows == written and len(spans) == footer.num_row_groups
    if not (counted and apart and inside):
        raise _damaged_footer(path)


def check_text_column(path: Path, schema: object, column: str) -> None:
    """Raises `UserError` unless the arrow `schema` of `path` has `column`, a column of strings."""
    import pyarrow as pa

    assert isinstance(schema, pa.Schema)
    if column not in schema.names:
        found = ", ".join(schema.names[:8]) + (", …" if len(schema.names) > 8 else "")
        raise UserError(
            f"{path} has no column '{column}' (it has: {found or 'none'})",
            "name the column of the text and pack it with `nanochat data build FILE --text-key NAME`",
        )
    kind = schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise UserError(f"{path}: column '{column}' holds {kind}, not text", "its type must be string")


def read_row_group(file: "pq.ParquetFile", path: Path, index: int) -> list[str]:
    """The documents of row group `index` in order; nulls are left out.

    Raises `UserError` that names the file when the row group is damaged.
    """
    import pyarrow as pa

    column = file.schema_arrow.names.index(TEXT_COLUMN)
    try:
        if not _may_repeat(file, index, column):
            values: list[str | None] = file.read_row_group(index, columns=[TEXT_COLUMN]).column(0).to_pylist()
            return [value for value in values if value is not None]
        found, size = [], 0
        for value in row_group_values(file, index, TEXT_COLUMN):
            found.append(value)
            size += len(value)
            if size > MAX_ROW_GROUP:
                raise RowGroupTooLarge
    except RowGroupTooLarge:
        raise UserError(
            f"{path}: row group {index} holds more than {MAX_ROW_GROUP >> 30} GiB of text",
            "pack it again with `nanochat data build`",
        ) from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error, f" in row group {index}") from error
    return found


class RowGroupTooLarge(Exception):  # noqa: N818 - a bound, told as it suits where it is met
    """A row group that unpacks to more than `MAX_ROW_GROUP` bytes."""


def _may_repeat(file: "pq.ParquetFile", group: int, column: int) -> bool:
    """Whether the column's text may be more than the footer says, for a dictionary stores a value once.

    Raises `RowGroupTooLarge` for one that is too large by the footer.
    """
    stored = file.metadata.row_group(group).column(_leaf(file, column))
    if stored.total_uncompressed_size > MAX_ROW_GROUP:
        raise RowGroupTooLarge
    by_dictionary = any("DICTIONARY" in encoding for encoding in stored.encodings)
    return by_dictionary and stored.num_values * stored.total_uncompressed_size > MAX_ROW_GROUP


def _leaf(file: "pq.ParquetFile", column: int) -> int:
    """The number among the stored columns of the `column`-th field: a nested field before it has several."""
    name = file.schema_arrow.names[column]
    paths = [file.schema.column(index).path for index in range(len(file.schema.names))]
    return paths.index(name)


def row_group_values(file: "pq.ParquetFile", group: int, column: str) -> Iterator[str]:
    """The texts of a row group one by one, nulls left out, within a bound of memory.

    At most `BATCH_ROWS` rows are unpacked at a time, fewer where they could be more than `BATCH_BYTES`.
    Raises `RowGroupTooLarge`, and what pyarrow raises for a damaged file.
    """
    index = file.schema_arrow.names.index(column)
    stored = file.metadata.row_group(group).column(_leaf(file, index))
    rows = BATCH_ROWS
    if _may_repeat(file, group, index):
        rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, stored.total_uncompressed_size)))
    for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=[column]):
        for value in batch.column(0):
            if (text := value.as_py()) is not None:
                yield text


def _damaged(path: Path, error: Exception, where: str = "") -> UserError:
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return UserError(f"cannot read {path}: {error.strerror}")
    detail = one_line(str(error))
    detail = detail if len(detail) <= 120 else detail[:120] + "…"
    return UserError(
        f"{path} is not a complete parquet file{where}: {detail}",
        "delete it and build or download it again",
    )


def iter_row_groups(
    paths: Sequence[Path], rank: int = 0, world: int = 1, start: tuple[int, int] = (0, 0)
) -> Iterator[tuple[int, int, list[str]]]:
    """One pass over the documents that are this rank's: `(shard index, row group, documents)`.

    Ranks stride over the row groups of each shard: rank r of w reads r, r+w, r+2w, …, and starts again
    at r with every shard; where a shard has fewer than w, over the documents of each. `start` is the first
    (shard index, row group) to consider; a rank takes the first row group of its own stride at or after it,
    so `(shard, group + 1)` continues after `group`. A shard is opened when its turn comes.

    Raises `UserError` as `open_shard` and `read_row_group` do.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of a world of {world}")
    for shard in range(start[0], len(paths)):
        lowest = start[1] if shard == start[0] else 0
        first = lowest + (rank - lowest) % world
        with open_shard(paths[shard]) as file:
            if file.num_row_groups < world:
                for group in range(lowest, file.num_row_groups):
                    yield shard, group, read_row_group(file, paths[shard], group)[rank::world]
                continue
            for group in range(first, file.num_row_groups, world):
                yield shard, group, read_row_group(file, paths[shard], group)


def iter_documents(paths: Sequence[Path]) -> Iterator[str]:
    """Every document of the shards, in order."""
    for _, _, documents in iter_row_groups(paths):
        yield from documents


def capped(documents: Iterable[str], max_chars: int, doc_cap: int) -> Iterator[str]:
    """Documents cut to `doc_cap` characters, up to and including the one that passes `max_chars` in total."""
    total = 0
    for document in documents:
        cut = document[:doc_cap]
        total += len(cut)
        yield cut
        if total > max_chars:
            return


@dataclass(frozen=True)
class ShardInfo:
    """A shard's footer."""

    path: Path
    documents: int
    row_groups: int
    size: int
    """Bytes on disk."""


def shard_info(path: Path) -> ShardInfo:
    """Reads the footer of one shard. Raises `UserError` as `open_shard` does."""
    with open_shard(path) as file:
        return ShardInfo(path, file.metadata.num_rows, file.num_row_groups, path.stat().st_size)
