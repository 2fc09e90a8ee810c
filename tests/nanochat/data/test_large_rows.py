"""Small files that unpack to much: bounds by bytes, told when they are met."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.common.errors import UserError
from nanochat.data import shards
from nanochat.data.extract import Extractor
from nanochat.data.shards import iter_documents, row_group_values
from nanochat.data.sources import Skips, walk

TEXT = "word " * 8_000  # 40 KB


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the real ones to rows of 4 MB, but a hundredth."""
    monkeypatch.setattr(shards, "MAX_ROW_GROUP", 4 << 20)
    monkeypatch.setattr(shards, "BATCH_BYTES", 1 << 20)


def repeated(path: Path, rows: int) -> Path:
    """A few KB on disk: one text, stored once, in every row of one row group."""
    pq.write_table(pa.table({"text": [TEXT] * rows}), path, compression="zstd")
    assert path.stat().st_size < 3_000
    return path


def read(path: Path) -> tuple[int, Skips]:
    skips = Skips()
    with Extractor(skips) as extractor:
        texts = [text for source in walk([str(path)], skips) for text in extractor.documents(source)]
    assert all(text == TEXT for text in texts)
    return len(texts), skips


def test_repeated_rows_are_unpacked_a_few_at_a_time(tmp_path: Path) -> None:
    path = repeated(tmp_path / "a.parquet", 256)
    before, count = pa.total_allocated_bytes(), 0
    with pq.ParquetFile(path) as file:
        for text in row_group_values(file, 0, "text"):
            count += text == TEXT
            assert pa.total_allocated_bytes() - before < 3 << 20
    assert count == 256
    assert read(path)[0] == 256


def test_a_shard_that_unpacks_to_too_much_ends_in_one_line(tmp_path: Path) -> None:
    assert len(list(iter_documents([repeated(tmp_path / "a.parquet", 60)]))) == 60
    with pytest.raises(UserError, match=r"a\.parquet: row group 0 holds more than .* GiB of text \(pack it"):
        list(iter_documents([repeated(tmp_path / "a.parquet", 256)]))


def test_a_row_group_over_the_bound_by_its_footer_is_skipped_and_counted(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2, 3], "meta": [{"a": 1, "b": 2}] * 3, "text": ["x" * 3_000_000] * 3})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False, compression="zstd")
    small = pa.table({"text": [TEXT]})
    pq.write_table(small, tmp_path / "b.parquet", use_dictionary=False)
    count, skips = read(tmp_path)
    assert count == 1
    assert [reason.split(" over")[0] for reason in skips.counts] == ["parquet row group"]
    with pytest.raises(UserError, match="row group 0 holds more than"):
        list(iter_documents([tmp_path / "a.parquet"]))
