"""Shards on disk: the last validates, ranks share row groups, a bad file is named in one line."""

import json
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.data.corpus import ShardWriter
from nanochat.data.manifest import footer_sha256
from nanochat.data.shards import (
    iter_documents,
    iter_row_groups,
    list_shards,
    open_shard,
    shard_info,
    shard_name,
    split_shards,
)


def write_shard(path: Path, texts: list[str | None], row_group: int = 2) -> Path:
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), path, row_group_size=row_group)
    return path


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four shards of 1, 5, 2 and 7 row groups of two documents."""
    folder = tmp_path_factory.mktemp("shards")
    return [
        write_shard(folder / shard_name(number), [f"{number}.{i}" for i in range(2 * groups)])
        for number, groups in enumerate((1, 5, 2, 7))
    ]


DOCUMENTS = [f"document {number} says {number * number}. " * 20 for number in range(100)]


@pytest.fixture(scope="module")
def built_shard(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("built") / shard_name(0)
    writer = ShardWriter(path, row_group=50)
    for document in DOCUMENTS:
        writer.add(len(document), document.encode())
    writer.close()
    return path.read_bytes()


def test_the_last_shard_validates(shards: list[Path]) -> None:
    split = split_shards(shards[0].parent)
    assert list(split.train) == shards[:3]
    assert split.val == shards[3]
    assert split.gap_warning == ""


def test_real_shards(shared_data: Path) -> None:
    split = split_shards(shared_data / "text")
    assert sum(1 for _ in iter_documents([*split.train, split.val])) == 9342
    assert shard_info(split.val).row_groups == -(-shard_info(split.val).documents // 256)


def test_documents_come_in_order(shards: list[Path]) -> None:
    expected = [f"{number}.{i}" for number, groups in enumerate((1, 5, 2, 7)) for i in range(2 * groups)]
    assert list(iter_documents(shards)) == expected


@given(world=st.integers(1, 9))
def test_ranks_share_every_document_once(shards: list[Path], world: int) -> None:
    """By row groups, and by documents where a shard has fewer row groups than there are ranks."""
    whole = list(iter_row_groups(shards))
    parts = [list(iter_row_groups(shards, rank, world)) for rank in range(world)]
    texts = [text for part in parts for _, _, texts in part for text in texts]
    assert sorted(texts) == sorted(text for _, _, texts in whole for text in texts)
    for rank, part in enumerate(parts):
        for shard, group, texts in part:
            if (1, 5, 2, 7)[shard] >= world:
                assert group % world == rank
            else:
                assert texts == [f"{shard}.{i}" for i in (2 * group, 2 * group + 1)][rank::world]


@given(world=st.integers(1, 5), data=st.data())
def test_a_reader_resumes_after_any_row_group(shards: list[Path], world: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, world - 1))
    whole = list(iter_row_groups(shards, rank, world))
    seen = data.draw(st.integers(1, len(whole)))
    shard, group, _ = whole[seen - 1]
    assert list(iter_row_groups(shards, rank, world, start=(shard, group + 1))) == whole[seen:]


def test_nulls_are_left_out(tmp_path: Path) -> None:
    path = write_shard(tmp_path / shard_name(0), ["a", None, None, "b"])
    assert [texts for _, _, texts in iter_row_groups([path])] == [["a"], ["b"]]


def test_hidden_and_unfinished_files_are_no_shards(tmp_path: Path) -> None:
    for name in (".shard_00000.parquet", "shard_00002.parquet.part", "shard_00003.parquet.tmp", "build.json"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "shard_00009.parquet").mkdir()
    write_shard(tmp_path / "shard_00001.parquet", ["a"])
    assert [path.name for path in list_shards(tmp_path)] == ["shard_00001.parquet"]


def test_numbers_past_five_digits_come_last(tmp_path: Path) -> None:
    for number in (99999, 100000, 2):
        write_shard(tmp_path / shard_name(number), ["a"])
    assert [path.name for path in list_shards(tmp_path)] == [shard_name(n) for n in (2, 99999, 100000)]


def test_gaps_among_training_shards_are_reported(tmp_path: Path) -> None:
    for number in (0, 1, 3, 7, 6542):
        write_shard(tmp_path / shard_name(number), ["a"])
    split = split_shards(tmp_path)
    assert split.gaps == ((2, 2), (4, 6))
    assert "00002, 00004–00006" in split.gap_warning


def test_a_set_fetched_in_part_has_no_gap(tmp_path: Path) -> None:
    for number in (0, 1, 6542):
        write_shard(tmp_path / shard_name(number), ["a"])
    assert split_shards(tmp_path).gaps == ()


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist.*nanochat data build"):
        list_shards(tmp_path / "none")
    with pytest.raises(UserError, match="no parquet shards"):
        list_shards(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is not a folder"):
        list_shards(tmp_path / "file")


def test_one_shard_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    write_shard(tmp_path / shard_name(0), ["a"])
    with pytest.raises(UserError, match=r"single shard, shard_00000\.parquet"):
        split_shards(tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 4, 50, 0.5, 0.9, 0.999])
def test_a_truncated_shard_is_named(tmp_path: Path, keep: float) -> None:
    path = write_shard(tmp_path / shard_name(3), [f"document {i}" * 20 for i in range(100)])
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(UserError) as caught:
        list(iter_documents([path]))
    assert "shard_00003.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(position=st.floats(0, 1), mask=st.integers(1, 255))
def test_a_flipped_byte_is_no_other_text(built_shard: bytes, position: float, mask: int) -> None:
    """Our shards carry page checksums: damaged text is an error, never silently different text."""
    page = pq.ParquetFile(pa.BufferReader(built_shard)).metadata.row_group(1).column(0)
    header = 64  # at most; the header itself is not under the checksum
    content = bytearray(built_shard)
    span = page.total_compressed_size - header - 1
    content[page.data_page_offset + header + int(position * span)] ^= mask
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / shard_name(7)
        path.write_bytes(content)
        with pytest.raises(
            UserError, match=r"shard_00007\.parquet is not a complete parquet file in row group 1"
        ):
            list(iter_documents([path]))


def test_parquet_without_text_names_its_columns(tmp_path: Path) -> None:
    path = tmp_path / shard_name(0)
    pq.write_table(pa.table({"id": [1], "content": ["x"]}), path)
    with pytest.raises(UserError, match=r"no column 'text' \(it has: id, content\).*--text-key"):
        list(iter_documents([path]))
    pq.write_table(pa.table({"text": [1, 2]}), path)
    with pytest.raises(UserError, match="holds int64, not text"):
        list(iter_documents([path]))


def test_dictionary_and_large_strings_are_text(tmp_path: Path) -> None:
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        path = tmp_path / shard_name(0)
        pq.write_table(pa.table({"text": pa.array(["a", "b"]).cast(kind)}), path)
        assert list(iter_documents([path])) == ["a", "b"]


def test_reading_no_shard_needs_no_pyarrow() -> None:
    code = (
        "import sys, nanochat.data.shards, nanochat.tokenizer.tokenizer\n"
        "print({'pyarrow', 'torch', 'numpy', 'tiktoken'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_a_footer_that_gives_a_row_group_twice_is_damaged(tmp_path: Path) -> None:
    """It has no checksum, and pages of another row group pass theirs."""

    def varint(offset: int) -> bytes:
        number, out = 2 * offset, b""  # zigzag
        while number >= 128:
            out, number = out + bytes([number % 128 + 128]), number // 128
        return out + bytes([number])

    path = tmp_path / "shard_00000.parquet"
    table = pa.table({"text": [f"document {number:04d}" for number in range(40)]})
    pq.write_table(table, path, row_group_size=10, use_dictionary=False, write_statistics=False)
    with open_shard(path) as file:
        second, third = (file.metadata.row_group(i).column(0).data_page_offset for i in (1, 2))
    raw = path.read_bytes()
    footer = len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")
    assert len(varint(second)) == len(varint(third))
    path.write_bytes(raw[:footer] + raw[footer:].replace(varint(third), varint(second)))
    with pytest.raises(UserError, match="its footer does not fit its content"), open_shard(path):
        pass


def build(path: Path, documents: int = 7) -> None:
    """A shard of seven documents and the `build.json` that says it has `documents`."""
    pq.write_table(pa.table({"text": [f"document {number}" for number in range(7)]}), path)
    entry = {"documents": documents, "footer_sha256": footer_sha256(path)}
    content = {"format": "nanochat-shards", "version": 1, "files": {path.name: entry}}
    (path.parent / "build.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(("listed", "is_damaged"), [(7, False), (8, True)])
def test_a_shard_holds_the_documents_that_were_built(tmp_path: Path, listed: int, is_damaged: bool) -> None:
    """A footer that fits itself and lost a row group says nothing; `build.json` counted them."""
    build(tmp_path / "shard_00000.parquet", listed)
    expected = pytest.raises(UserError, match="its footer does not fit") if is_damaged else nullcontext()
    with expected, open_shard(tmp_path / "shard_00000.parquet"):
        pass


def test_a_flipped_bit_in_any_byte_of_a_footer_is_told(tmp_path: Path) -> None:
    path = tmp_path / "shard_00000.parquet"
    build(path)
    whole = path.read_bytes()
    footer = 8 + int.from_bytes(whole[-8:-4], "little")
    for byte in range(footer):
        damaged = bytearray(whole)
        damaged[len(whole) - footer + byte] ^= 1 << byte % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"), open_shard(path):
            pass


@pytest.mark.parametrize(
    "manifest", ["", "{", "[]", "{}", '{"format": "other", "files": {"shard_00000.parquet": 1}}']
)
def test_a_manifest_of_another_tool_says_nothing(tmp_path: Path, manifest: str) -> None:
    path = tmp_path / "shard_00000.parquet"
    pq.write_table(pa.table({"text": ["one", "two"]}), path)
    (tmp_path / "build.json").write_text(manifest, encoding="utf-8")
    assert shard_info(path).documents == 2
